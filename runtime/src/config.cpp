#include <tandem/config.hpp>
#include <tandem/error.hpp>

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
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 60;  // far from overflow when rounded or added
constexpr std::chrono::hours kLongest{8760};                  // far from overflow when added to a clock's now

constexpr const char* kDefaultFile = "tandem.toml";
constexpr const char* kFileVariable = "TANDEM_CONFIG";
constexpr std::string_view kVariablePrefix = "TANDEM_";
constexpr std::string_view kNodeVariablePrefix = "NODE_";
constexpr std::string_view kArgumentPrefix = "--tandem.";
constexpr std::string_view kNodeKeyPrefix = "node.";

std::vector<std::string> global_keys() {
  return {"deterministic", "in_flight", "memory", "seed", "grace", "hold_timeout"};
}

std::vector<std::string> node_keys() {
  return {"placement", "workers",    "start",  "attempts",      "deadline",
          "on_error",  "max_errors", "spares", "worker_memory", "wait_for_debugger"};
}

bool contains(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A value that its key does not take; carries only what is wrong, for refuse() to complete.
class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Text of any origin, on one line.
std::string one_line(std::string_view text) {
  std::string line;
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (code >= 0x20 && code != 0x7f) {
      line += letter;
    } else {
      line += fmt::format("\\x{:02x}", code);
    }
  }
  return line;
}

// A value as it would be written in the file: 64, true, "lots".
std::string shown(std::string_view value) {
  const bool number = !value.empty() && value.find_first_not_of("0123456789.+-") == std::string_view::npos;
  if (number || value == "true" || value == "false") return std::string{value};
  return fmt::format("\"{}\"", one_line(value));
}

[[noreturn]] void refuse(std::string_view key, std::string_view value, std::string_view source,
                         std::string_view problem) {
  throw ConfigError{fmt::format("{} = {} ({}): {}", one_line(key), shown(value), one_line(source), problem)};
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string changed_case(std::string_view text, bool upper) {
  std::string changed{text};
  for (char& letter : changed) {
    const bool changes = upper ? (letter >= 'a' && letter <= 'z') : (letter >= 'A' && letter <= 'Z');
    if (changes)
      letter = static_cast<char>(letter ^ 0x20);  // the two cases of an ASCII letter differ in one bit
  }
  return changed;
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

bool read_bool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  throw Refused{"not a truth value; write true or false"};
}

std::uint64_t read_whole(std::string_view text, std::uint64_t least, std::uint64_t most) {
  const std::string wanted = fmt::format("write a whole number from {} to {}", least, most);
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) {
    throw Refused{"not a whole number; " + wanted};
  }
  std::uint64_t value = 0;
  const bool overflows = std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc{};
  if (negative || (!overflows && value < least)) {
    throw Refused{fmt::format("must be at least {}; {}", least, wanted)};
  }
  if (overflows || value > most) throw Refused{fmt::format("must be at most {}; {}", most, wanted)};
  return value;
}

struct Unit {
  std::string_view name;
  std::uint64_t size;
};

// "1.5 GiB" is 1.5 and the unit "gib"; the number is digits with at most one point.
struct Quantity {
  std::string_view number;
  std::string unit;
};

std::optional<Quantity> split(std::string_view text) {
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string_view number = text.substr(0, end);
  const auto points = std::count(number.begin(), number.end(), '.');
  if (number.size() == static_cast<std::size_t>(points) || points > 1) return std::nullopt;
  return Quantity{number, changed_case(trimmed(text.substr(end)), false)};
}

// number * scale, rounded down; nothing when that is more than most. Exact for whole numbers.
std::optional<std::uint64_t> scaled(std::string_view number, std::uint64_t scale, std::uint64_t most) {
  const char* const end = number.data() + number.size();
  if (number.find('.') == std::string_view::npos) {
    std::uint64_t whole = 0;
    if (std::from_chars(number.data(), end, whole).ec != std::errc{} || whole > most / scale)
      return std::nullopt;
    return whole * scale;
  }
  double fraction = 0;
  if (std::from_chars(number.data(), end, fraction, std::chars_format::fixed).ec != std::errc{}) {
    return std::nullopt;
  }
  const double product = fraction * static_cast<double>(scale);
  if (product > static_cast<double>(most)) return std::nullopt;
  return static_cast<std::uint64_t>(product);
}

template <std::size_t Count>
std::uint64_t read_quantity(std::string_view text, const std::array<Unit, Count>& units, std::uint64_t most,
                            const char* not_one, const char* too_much) {
  if (const auto quantity = split(text)) {
    for (const Unit& unit : units) {
      if (unit.name != quantity->unit) continue;
      if (unit.size == 1 && quantity->number.find('.') != std::string_view::npos) break;
      if (const auto value = scaled(quantity->number, unit.size, most)) return *value;
      throw Refused{too_much};
    }
  }
  throw Refused{not_one};
}

std::size_t read_bytes(std::string_view text) {
  constexpr std::uint64_t kKibi = 1024;
  constexpr std::uint64_t kKilo = 1000;
  static constexpr std::array<Unit, 17> kUnits{{
      {"", 1},
      {"b", 1},
      {"kb", kKilo},
      {"mb", kKilo * kKilo},
      {"gb", kKilo * kKilo * kKilo},
      {"tb", kKilo * kKilo * kKilo * kKilo},
      {"pb", kKilo * kKilo * kKilo * kKilo * kKilo},
      {"kib", kKibi},
      {"mib", kKibi * kKibi},
      {"gib", kKibi * kKibi * kKibi},
      {"tib", kKibi * kKibi * kKibi * kKibi},
      {"pib", kKibi * kKibi * kKibi * kKibi * kKibi},
      {"k", kKibi},
      {"m", kKibi * kKibi},
      {"g", kKibi * kKibi * kKibi},
      {"t", kKibi * kKibi * kKibi * kKibi},
      {"p", kKibi * kKibi * kKibi * kKibi * kKibi},
  }};
  return read_quantity(text, kUnits, kMostBytes,
                       "not a size; write a number and a unit, such as \"2 GiB\" or \"512 MiB\"",
                       "must be at most 1 EiB; write a smaller size");
}

std::chrono::nanoseconds read_duration(std::string_view text) {
  static constexpr std::array<Unit, 7> kUnits{{
      {"ns", 1},
      {"us", 1'000},
      {"\xc2\xb5s", 1'000},  // the micro sign, in UTF-8
      {"ms", 1'000'000},
      {"s", 1'000'000'000},
      {"min", 60'000'000'000},
      {"h", 3'600'000'000'000},
  }};
  constexpr auto kMost = static_cast<std::uint64_t>(std::chrono::nanoseconds{kLongest}.count());
  const std::uint64_t value =
      read_quantity(text, kUnits, kMost,
                    "not a span of time; write a number and a unit, such as \"10 s\" or \"250 ms\"",
                    "must be at most 8760 h; write a shorter one");
  return std::chrono::nanoseconds{value};
}

Placement read_placement(std::string_view text) {
  if (text == "thread") return Placement::thread;
  if (text == "process") return Placement::process;
  throw Refused{"not a placement; write \"thread\" or \"process\""};
}

OnError read_on_error(std::string_view text) {
  if (text == "throw") return OnError::throws;
  if (text == "skip") return OnError::skips;
  if (text == "deliver") return OnError::delivers;
  throw Refused{"nothing that can be done about an error; write \"throw\", \"skip\" or \"deliver\""};
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
  if (key == "start" && text != "fork") {
    throw Refused{"not a way to start workers in this version; write \"fork\""};
  }
  if (key == "deadline") {
    const auto deadline = read_duration(text);
    if (deadline == deadline.zero()) throw Refused{"must be more than 0; leave it out for no deadline"};
    node.deadline = deadline;
  }
  if (key == "on_error") node.on_error = read_on_error(text);
  if (key == "max_errors") node.max_errors = read_whole(text, 0, kMostErrors);
}

// The whole file; nothing when there is none. named_by says who asked for it, and is empty for the default.
std::optional<std::string> file_text(const std::string& path, const std::string& named_by) {
  const std::string shown_name = named_by.empty() ? fmt::format("'{}'", one_line(path))
                                                  : fmt::format("'{}' ({})", one_line(path), named_by);
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
    throw ConfigError{fmt::format("{} ({}): found {}, wanted a single value", one_line(key), one_line(where),
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
  throw ConfigError{fmt::format("{0} ({1}): wanted a table; write [{0}] and its settings below", one_line(name),
                                one_line(where))};
}

[[noreturn]] void refuse_table(std::string_view name, bool is_table, const std::string& where) {
  if (!is_table && contains(global_keys(), name)) {
    throw ConfigError{fmt::format("{} ({}): outside of any table; put it below [tandem]", name, where)};
  }
  const std::array<std::string, 2> known{"tandem", "node"};
  throw ConfigError{fmt::format("[{}] ({}): no such table; {}", one_line(name), one_line(where),
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
    throw ConfigError{fmt::format("{}:{}:{}: not valid TOML: {}", one_line(source_name), at.line, at.column,
                                  one_line(error.description()))};
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
  throw ConfigError{fmt::format("{} = {} (environment): no such setting; {}", one_line(variable), shown(value),
                                suggestion(variable, known, "known variables"))};
}

// The key and the value of "--tandem.KEY=VALUE".
std::pair<std::string_view, std::string_view> key_and_value(std::string_view argument) {
  const std::size_t equals = argument.find('=');
  if (equals == std::string_view::npos) {
    throw ConfigError{
        fmt::format("argument {}: no value; write {}KEY=VALUE", one_line(argument), kArgumentPrefix)};
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
    if (key == "memory") {
      const std::size_t bytes = read_bytes(text);
      if (bytes == 0) throw Refused{"must be more than 0; leave it out to let the machine decide"};
      memory = bytes;
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
    throw ConfigError{fmt::format("node.{} ({}): no node has this name; {}", one_line(setting.name),
                                  one_line(setting.source), suggestion(setting.name, known, "nodes"))};
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

std::size_t parse_bytes(std::string_view text) {
  try {
    return read_bytes(trimmed(text));
  } catch (const Refused& refused) { throw ConfigError{fmt::format("{}: {}", shown(text), refused.what())}; }
}

std::chrono::nanoseconds parse_duration(std::string_view text) {
  try {
    return read_duration(trimmed(text));
  } catch (const Refused& refused) { throw ConfigError{fmt::format("{}: {}", shown(text), refused.what())}; }
}

std::string describe_duration(std::chrono::nanoseconds duration) {
  static constexpr std::array<Unit, 5> kUnits{{{"h", 3'600'000'000'000},
                                               {"min", 60'000'000'000},
                                               {"s", 1'000'000'000},
                                               {"ms", 1'000'000},
                                               {"us", 1'000}}};
  const std::int64_t count = duration.count();
  for (const Unit& unit : kUnits) {
    const auto size = static_cast<std::int64_t>(unit.size);
    if (count != 0 && count % size == 0) return fmt::format("{} {}", count / size, unit.name);
  }
  return fmt::format("{} ns", count);
}

}  // namespace tandem
