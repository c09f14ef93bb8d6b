#include <tandem/plan.hpp>

#include <algorithm>
#include <chrono>
#include <optional>

#include <fmt/format.h>

#include <tandem/array.hpp>
#include <tandem/values.hpp>

namespace tandem {
namespace {

constexpr char kSeparator = '\t';  // visible() leaves none in a part
constexpr char kEnd = '\n';

template <class Number>
std::string text_of(const std::optional<Number>& number) {
  return number ? fmt::format("{}", *number) : "not set";
}
std::string text_of(const std::optional<std::chrono::nanoseconds>& span) {
  return span ? describe_duration(*span) : "not set";
}

struct Fact {
  std::string_view about;
  std::string_view what;
  std::string_view value;
};

// Takes the first line off; nothing at the end.
std::optional<Fact> next_fact(std::string_view& text) {
  if (text.empty()) return std::nullopt;
  const std::string_view line = text.substr(0, text.find(kEnd));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  const std::size_t first = line.find(kSeparator);
  const std::size_t second = line.find(kSeparator, first + 1);
  if (second == line.npos) return Fact{line, {}, {}};
  return Fact{line.substr(0, first), line.substr(first + 1, second - first - 1), line.substr(second + 1)};
}

std::string told(const std::optional<Fact>& fact) {
  return fact ? fmt::format("{}: {} = {}", fact->about, fact->what, fact->value) : "nothing more";
}

std::string text_of(const ArraySpec& spec) {
  std::string text =
      fmt::format("{} {} of {} bytes{}", name_of(spec.dtype), to_string(spec.shape), spec.item_bytes,
                  spec.partial ? ", at most" : (spec.growing ? ", growing" : ""));
  for (const Field& field : spec.fields)
    text += fmt::format("; {} {}x{} at {}", field.name, field.count, name_of(field.dtype), field.offset);
  return text;
}

}  // namespace

void Plan::add(std::string_view about, std::string_view what, std::string_view value) {
  text_ +=
      fmt::format("{}{}{}{}{}{}", visible(about), kSeparator, visible(what), kSeparator, visible(value), kEnd);
}

void Plan::add(const Config& config) {
  const std::string about = "the configuration";
  add(about, "deterministic", config.deterministic ? "true" : "false");
  add(about, "in_flight", text_of(config.in_flight));
  add(about, "memory", text_of(config.memory));
  add(about, "seed", fmt::format("{}", config.seed));
  add(about, "grace", describe_duration(config.grace));
  add(about, "hold_timeout", describe_duration(config.hold_timeout));
}

void Plan::add(const NodeInfo& node) {
  add(fmt::format("node {}", node.index), "name", fmt::format("'{}'", node.name));
  const std::string about = fmt::format("node '{}'", node.name);
  const NodeConfig& config = node.config;
  add(about, "type", node.type);
  add(about, "placement", config.placement == Placement::thread ? "thread" : "process");
  add(about, "workers", fmt::format("{}", config.workers));
  add(about, "spares", fmt::format("{}", config.spares));
  add(about, "start", config.start == Start::fork ? "fork" : "spawn");
  add(about, "start_within", describe_duration(config.start_within));
  add(about, "attempts", fmt::format("{}", config.attempts));
  add(about, "deadline", text_of(config.deadline));
  add(about, "worker_memory", text_of(config.worker_memory));
  add(about, "wait_for_debugger", text_of(config.wait_for_debugger));
  add(about, "on_error", fmt::format("{}", static_cast<int>(config.on_error)));
  add(about, "max_errors", text_of(config.max_errors));
  add(about, "full", fmt::format("{}", static_cast<int>(config.full)));
  add(about, "bytes of a message", fmt::format("{}", node.message_bytes));
  add(about, "bytes of an output", fmt::format("{}", node.layout.output_bytes));
  if (node.output_is_arrays()) {
    for (const ArraySpec& spec : node.layout.arrays->specs())
      add(about, fmt::format("array '{}'", spec.name), text_of(spec));
  }
  const BlockAreas& blocks = node.blocks;
  add(about, "blocks",
      fmt::format("{} areas of {} blocks, {} bytes apart, from byte {}", blocks.areas, blocks.count,
                  blocks.stride, blocks.offset));
}

std::string Plan::first_difference(std::string_view here, std::string_view wanted) {
  if (here == wanted) return {};
  for (;;) {
    const std::optional<Fact> found = next_fact(here);
    const std::optional<Fact> asked = next_fact(wanted);
    if (!found && !asked) return {};
    if (found && asked && found->about == asked->about && found->what == asked->what) {
      if (found->value == asked->value) continue;
      return fmt::format("{}: {} = {} in this process and {} in the program that started it", asked->about,
                         asked->what, found->value, asked->value);
    }
    return fmt::format("this process has {}, where the program that started it has {}", told(found),
                       told(asked));
  }
}

}  // namespace tandem
