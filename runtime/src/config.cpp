#include <tandem/config.hpp>
#include <tandem/error.hpp>
#include <tandem/values.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <toml++/toml.h>
#include <utility>

namespace tandem {
namespace {

constexpr std::uint64_t kMostWorkers = 1024;
constexpr std::uint64_t kMostAttempts = 100;
constexpr std::uint64_t kMostSpares = 64;
constexpr std::uint64_t kMostInFlight = 1'000'000;
constexpr std::uint64_t kMostErrors = 1'000'000'000;

constexpr const char* kDefaultFile = "tandem.toml";
constexpr const char* kFileVariable = "TANDEM_CONFIG";
constexpr std::string_view kVariablePrefix = "TANDEM_";
constexpr std::string_view kNodeVariablePrefix = "NODE_";
constexpr std::string_view kArgumentPrefix = "--tandem.";
constexpr std::string_view kNodeKeyPrefix = "node.";

std::vector<std::string> global_keys() {
  return {"deterministic", "in_flight", "memory", "arrays", "seed", "grace", "hold_timeout"};
}

std::vector<std::string> node_keys() {
  return {"placement",  "workers", "start",         "attempts",          "deadline", "on_error",
          "max_errors", "spares",  "worker_memory", "wait_for_debugger", "full",     "start_within"};
}

bool contains(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

[[noreturn]] void refuse(std::string_view key, std::string_view value, std::string_view source,
                         std::string_view problem) {
  throw ConfigError{fmt::format("{} = {} ({}): {}", visible(key), shown(value), visible(source), problem)};
}

// A node's name as the environment can spell it.
std::string folded(std::string_view name) {
  std::string text = changed_case(name, true);
  for (char& letter : text) {
    const bool kept = (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
    if (!kept) letter = '_';
  }
  return text;
}

Placement read_placement(std::string_view text) {
  if (text == "thread") return Placement::thread;
  if (text == "process") return Placement::process;
  throw Refused{"not a placement; write \"thread\" or \"process\""};
}

Start read_start(std::string_view text) {
  if (text == "fork") return Start::fork;
  if (text == "spawn") return Start::spawn;
  throw Refused{"not a way to start workers; write \"fork\" or \"spawn\""};
}

OnError read_on_error(std::string_view text) {
  if (text == "throw") return OnError::throws;
  if (text == "skip") return OnError::skips;
  if (text == "deliver") return OnError::delivers;
  throw Refused{"nothing that can be done about an error; write \"throw\", \"skip\" or \"deliver\""};
}

WhenFull read_full(std::string_view text) {
  if (text == "block") return WhenFull::block;
  if (text == "drop_newest") return WhenFull::drop_newest;
  if (text == "drop_oldest") return WhenFull::drop_oldest;
  throw Refused{
      "nothing that can be done when there is no room; write \"block\", \"drop_newest\" or \"drop_oldest\""};
}

// Stores one setting of a node; the key is one of node_keys().
void apply(NodeConfig& node, std::string_view key, std::string_view text) {
  if (key == "placement") node.placement = read_placement(text);
  if (key == "workers") node.workers = static_cast<int>(read_whole(text, 1, kMostWorkers));
  if (key == "attempts") node.attempts = static_cast<int>(read_whole(text, 1, kMostAttempts));
  if (key == "spares") node.spares = static_cast<int>(read_whole(text, 0, kMostSpares));
  if (key == "worker_memory") {
    const std::size_t bytes = read_bytes(text);
    if (bytes == 0) throw Refused{"must be more than 0; leave it out for no limit"};
    node.worker_memory = bytes;
  }
  if (key == "wait_for_debugger")
    node.wait_for_debugger = static_cast<int>(read_whole(text, 0, kMostWorkers - 1));
  if (key == "start") node.start = read_start(text);
  if (key == "start_within") {
    node.start_within = read_duration(text);
    if (node.start_within == node.start_within.zero()) throw Refused{"must be more than 0"};
  }
  if (key == "deadline") {
    const auto deadline = read_duration(text);
    if (deadline == deadline.zero()) throw Refused{"must be more than 0; leave it out for no deadline"};
    node.deadline = deadline;
  }
  if (key == "on_error") node.on_error = read_on_error(text);
  if (key == "full") node.full = read_full(text);
  if (key == "max_errors") node.max_errors = read_whole(text, 0, kMostErrors);
}

// The whole file; nothing when there is none. named_by says who asked for it, and is empty for the default.
std::optional<std::string> file_text(const std::string& path, const std::string& named_by) {
  const std::string shown_name =
      named_by.empty() ? fmt::format("'{}'", visible(path)) : fmt::format("'{}' ({})", visible(path), named_by);
  const auto refuse_file = [&](int reason) {
    throw ConfigError{fmt::format("cannot read the configuration {}: {}; name a readable TOML file", shown_name,
                                  std::generic_category().message(reason))};
  };
  struct Closer {
    void operator()(std::FILE* file) const { static_cast<void>(std::fclose(file)); }
  };
  const std::unique_ptr<std::FILE, Closer> file{std::fopen(path.c_str(), "rbe")};
  if (file == nullptr) {
    if (errno == ENOENT && named_by.empty()) return std::nullopt;
    refuse_file(errno);
  }
  std::string text;
  std::array<char, 4096> part{};
  while (const std::size_t count = std::fread(part.data(), 1, part.size(), file.get()))
    text.append(part.data(), count);
  if (std::ferror(file.get()) != 0) refuse_file(errno);
  return text;
}

std::string place(const std::string& source_name, const toml::source_region& region) {
  return fmt::format("{}:{}", source_name, region.begin.line);
}

// A TOML value as the setters take it.
std::string value_text(const toml::node& value, std::string_view key, const std::string& where) {
  if (value.is_table() || value.is_array()) {
    throw ConfigError{fmt::format("{} ({}): found {}, wanted a single value", visible(key), visible(where),
                                  value.is_table() ? "a table" : "a list")};
  }
  if (const auto* text = value.as_string()) return text->get();
  if (const auto* number = value.as_integer()) return std::to_string(number->get());
  std::ostringstream text;
  value.visit([&](const auto& typed) { text << typed; });
  return text.str();
}

const toml::table& wanted_table(const toml::node& value, std::string_view name, const std::string& where) {
  if (const auto* table = value.as_table()) return *table;
  throw ConfigError{fmt::format("{0} ({1}): wanted a table; write [{0}] and its settings below", visible(name),
                                visible(where))};
}

[[noreturn]] void refuse_table(std::string_view name, bool is_table, const std::string& where) {
  if (!is_table && contains(global_keys(), name)) {
    throw ConfigError{fmt::format("{} ({}): outside of any table; put it below [tandem]", name, where)};
  }
  const std::array<std::string, 2> known{"tandem", "node"};
  throw ConfigError{fmt::format("[{}] ({}): no such table; {}", visible(name), visible(where),
                                suggestion(name, known, "known tables"))};
}

// One line of a file: a setting of [tandem], or of a node; a node's table without settings has an empty key.
struct FileEntry {
  std::optional<std::string> node;
  std::string key;
  std::string value;
  std::string where;
};

void append_nodes(const toml::table& nodes, const std::string& source_name, std::vector<FileEntry>& entries) {
  for (const auto& [name, node] : nodes) {
    const std::string label = fmt::format("node.{}", name.str());
    const std::string where = place(source_name, name.source());
    const toml::table& settings = wanted_table(node, label, where);
    if (settings.empty()) entries.push_back({std::string{name.str()}, "", "", where});
    for (const auto& [key, value] : settings) {
      const std::string at = place(source_name, key.source());
      const std::string full_key = fmt::format("{}.{}", label, key.str());
      entries.push_back({std::string{name.str()}, std::string{key.str()}, value_text(value, full_key, at), at});
    }
  }
}

std::vector<FileEntry> file_entries(std::string_view toml, const std::string& source_name) {
  toml::table root;
  try {
    root = toml::parse(toml, source_name);
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    throw ConfigError{fmt::format("{}:{}:{}: not valid TOML: {}", visible(source_name), at.line, at.column,
                                  visible(error.description()))};
  }
  std::vector<FileEntry> entries;
  for (const auto& [name, value] : root) {
    const std::string where = place(source_name, name.source());
    if (name == "node") {
      append_nodes(wanted_table(value, "node.NAME", where), source_name, entries);
    } else if (name == "tandem") {
      for (const auto& [key, setting] : wanted_table(value, "tandem", where)) {
        const std::string at = place(source_name, key.source());
        entries.push_back({std::nullopt, std::string{key.str()}, value_text(setting, key.str(), at), at});
      }
    } else {
      refuse_table(name.str(), value.is_table(), where);
    }
  }
  return entries;
}

// The beginning of a node's variable, up to its unknown key: names and keys may both hold an underscore, so the
// key is taken to be the shortest ending that is near to a known one.
std::string_view before_key(std::string_view variable, std::size_t prefix) {
  std::vector<std::string> keys;
  for (const std::string& key : node_keys()) keys.push_back(changed_case(key, true));
  for (std::size_t cut = variable.rfind('_'); cut != variable.npos && cut > prefix;
       cut = variable.rfind('_', cut - 1)) {
    if (!nearest(variable.substr(cut + 1), keys).empty()) return variable.substr(0, cut + 1);
  }
  return variable.substr(0, variable.rfind('_') + 1);
}

// An unknown TANDEM_... variable, with the name that it was most likely meant to have.
[[noreturn]] void refuse_variable(std::string_view variable, std::string_view value) {
  std::vector<std::string> known;
  for (const std::string& key : global_keys()) {
    known.push_back(fmt::format("{}{}", kVariablePrefix, changed_case(key, true)));
  }
  known.emplace_back(kFileVariable);
  const std::string prefix = fmt::format("{}{}", kVariablePrefix, kNodeVariablePrefix);
  const std::string_view name = before_key(variable, prefix.size());
  const bool of_node = variable.starts_with(prefix) && name.size() > prefix.size();
  for (const std::string& key : node_keys()) {
    known.push_back(fmt::format("{}{}", of_node ? std::string{name} : prefix + "NAME_",
                                changed_case(key, true)));
  }
  throw ConfigError{fmt::format("{} = {} (environment): no such setting; {}", visible(variable), shown(value),
                                suggestion(variable, known, "known variables"))};
}

// The key and the value of "--tandem.KEY=VALUE".
std::pair<std::string_view, std::string_view> key_and_value(std::string_view argument) {
  const std::size_t equals = argument.find('=');
  if (equals == std::string_view::npos) {
    throw ConfigError{
        fmt::format("argument {}: no value; write {}KEY=VALUE", visible(argument), kArgumentPrefix)};
  }
  return {argument.substr(kArgumentPrefix.size(), equals - kArgumentPrefix.size()),
          argument.substr(equals + 1)};
}

}  // namespace

Config::Config() = default;

bool Config::NodeSetting::matches(std::string_view node) const {
  return folded ? tandem::folded(node) == tandem::folded(name) : node == name;
}

void Config::set(std::string_view key, std::string_view value, std::string source) {
  if (!key.starts_with(kNodeKeyPrefix)) return set_global(key, value, source);
  const std::string_view rest = key.substr(kNodeKeyPrefix.size());
  const std::size_t dot = rest.rfind('.');
  if (dot == std::string_view::npos) {
    refuse(key, value, source,
           "no key of a node; write node.NAME.KEY; " + suggestion("", node_keys(), "known keys"));
  }
  set_node({std::string{rest.substr(0, dot)}, false, std::string{rest.substr(dot + 1)}, std::string{value},
            std::move(source)});
}

void Config::set_global(std::string_view key, std::string_view value, const std::string& source) {
  if (!contains(global_keys(), key)) {
    const std::string nodes = key.find('.') == key.npos ? "" : "; a node's are written node.NAME.KEY";
    refuse(key, value, source, "no such key; " + suggestion(key, global_keys(), "known keys") + nodes);
  }
  const std::string_view text = trimmed(value);
  try {
    if (key == "deterministic") deterministic = read_bool(text);
    if (key == "in_flight") in_flight = read_whole(text, 1, kMostInFlight);
    if (key == "seed") seed = read_whole(text, 0, std::numeric_limits<std::uint64_t>::max());
    if (key == "grace") grace = read_duration(text);
    if (key == "hold_timeout") hold_timeout = read_duration(text);
    if (key == "memory" || key == "arrays") {
      const std::size_t bytes = read_bytes(text);
      if (bytes == 0) throw Refused{"must be more than 0; leave it out to let the machine decide"};
      (key == "memory" ? memory : arrays) = bytes;
    }
  } catch (const Refused& refused) { refuse(key, value, source, refused.what()); }
}

void Config::set_node(NodeSetting setting) {
  const std::string key = fmt::format("node.{}.{}", setting.name, setting.key);
  if (setting.name.empty())
    refuse(key, setting.value, setting.source, "the node has no name; write node.NAME.KEY");
  if (!contains(node_keys(), setting.key)) {
    refuse(key, setting.value, setting.source,
           "no such key; " + suggestion(setting.key, node_keys(), "known keys"));
  }
  const std::string text{trimmed(setting.value)};
  try {
    NodeConfig scratch;
    apply(scratch, setting.key, text);
  } catch (const Refused& refused) { refuse(key, setting.value, setting.source, refused.what()); }
  setting.value = text;
  std::erase_if(node_settings_, [&](const NodeSetting& other) {
    return other.name == setting.name && other.folded == setting.folded && other.key == setting.key;
  });
  node_settings_.push_back(std::move(setting));
}

NodeConfig Config::node(std::string_view name) const {
  NodeConfig node;
  for (const NodeSetting& setting : node_settings_) {
    if (setting.matches(name)) apply(node, setting.key, setting.value);
  }
  return node;
}

void Config::check_node_names(std::span<const std::string> known) const {
  for (const NodeSetting& setting : node_settings_) {
    const auto is_meant = [&](const std::string& name) { return setting.matches(name); };
    if (std::any_of(known.begin(), known.end(), is_meant)) continue;
    throw ConfigError{fmt::format("node.{} ({}): no node has this name; {}", visible(setting.name),
                                  visible(setting.source), suggestion(setting.name, known, "nodes"))};
  }
}

void Config::check_error_budgets(std::span<const std::string> nodes) const {
  for (const std::string& name : nodes) {
    const NodeConfig settings = node(name);
    if (settings.on_error != OnError::skips || settings.max_errors) continue;
    std::string source;  // of the setting that holds
    for (const NodeSetting& setting : node_settings_) {
      if (setting.key == "on_error" && setting.matches(name)) source = setting.source;
    }
    refuse(fmt::format("node.{}.on_error", name), "skip", source,
           "without a bound; write max_errors too, the number of items that may be skipped before that is an "
           "error, for instance max_errors = 100");
  }
}

void Config::read_text(std::string_view toml, const std::string& source_name) {
  for (FileEntry& entry : file_entries(toml, source_name)) {
    if (!entry.node) {
      set_global(entry.key, entry.value, entry.where);
    } else if (entry.key.empty()) {
      node_settings_.push_back({*entry.node, false, "", "", entry.where});  // for check_node_names() alone
    } else {
      set_node({*entry.node, false, entry.key, entry.value, entry.where});
    }
  }
}

void Config::read_file(const std::string& path, const std::string& named_by) {
  if (const auto text = file_text(path, named_by)) read_text(*text, path);
}

void Config::read_environment() {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text{*entry};
    const std::size_t equals = text.find('=');
    if (!text.starts_with(kVariablePrefix) || equals == text.npos) continue;
    read_variable(text.substr(0, equals), text.substr(equals + 1));
  }
}

void Config::read_variable(std::string_view variable, std::string_view value) {
  if (variable == kFileVariable) return;
  const std::string source = fmt::format("environment variable {}", variable);
  const std::string_view rest = variable.substr(kVariablePrefix.size());
  if (rest.starts_with(kNodeVariablePrefix)) {
    const std::string_view name_and_key = rest.substr(kNodeVariablePrefix.size());
    for (const std::string& key : node_keys()) {
      const std::string suffix = "_" + changed_case(key, true);
      if (!name_and_key.ends_with(suffix)) continue;
      const std::string_view name = name_and_key.substr(0, name_and_key.size() - suffix.size());
      return set_node({std::string{name}, true, key, std::string{value}, source});
    }
  }
  for (const std::string& key : global_keys()) {
    if (rest == changed_case(key, true)) return set_global(key, value, source);
  }
  refuse_variable(variable, value);
}

Config Config::load(int& argc, char** argv) {
  std::vector<std::pair<std::string_view, std::string_view>> settings;
  std::string path;
  std::string named_by;
  if (const char* const named = std::getenv(kFileVariable)) {
    path = named;
    named_by = fmt::format("named by the environment variable {}", kFileVariable);
  }
  int kept = 0;
  bool ours = true;
  for (int i = 0; i < argc; ++i) {
    const std::string_view argument{argv[i]};
    ours = ours && argument != "--";
    if (!ours || i == 0 || !argument.starts_with(kArgumentPrefix)) {
      argv[kept++] = argv[i];
      continue;
    }
    const auto [key, value] = key_and_value(argument);
    if (key == "config") {
      path = value;
      named_by = "named by the argument --tandem.config";
    } else {
      settings.emplace_back(key, value);
    }
  }
  if (kept < argc) argv[kept] = nullptr;
  argc = kept;

  Config config;
  config.read_file(named_by.empty() ? kDefaultFile : path, named_by);
  config.read_environment();
  for (const auto& [key, value] : settings)
    config.set(key, value, fmt::format("argument {}{}", kArgumentPrefix, key));
  return config;
}

Config Config::load() {
  int argc = 0;
  char* argv[] = {nullptr};
  return load(argc, argv);
}

Config Config::parse(std::string_view toml, const std::string& source_name) {
  Config config;
  config.read_text(toml, source_name);
  return config;
}

}  // namespace tandem
