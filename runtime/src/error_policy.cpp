#include <tandem/error_policy.hpp>

#include <algorithm>
#include <cstddef>
#include <string_view>

#include <fmt/format.h>

namespace tandem {
namespace {

// Bounds on a summary: so many reasons, so many messages for each, so many bytes of each reason.
constexpr std::size_t kReasonsTold = 5;
constexpr std::size_t kMessagesTold = 3;
constexpr std::size_t kReasonBytesTold = 160;
// So many skips of one node are logged.
constexpr std::uint64_t kSkipsLogged = 10;

std::string shortened(std::string_view reason) {
  if (reason.size() <= kReasonBytesTold) return std::string{reason};
  return fmt::format("{}...", reason.substr(0, kReasonBytesTold - 3));
}

std::string one(const Failure& failure) {
  const std::string worker = failure.worker < 0 ? "" : fmt::format("worker {}, ", failure.worker);
  return fmt::format("message {} ({}attempt {}): {}", failure.sequence, worker, failure.attempt,
                     shortened(failure.reason));
}

}  // namespace

ErrorPolicy::Ruling ErrorPolicy::rule(const Failure& failure) {
  auto place = tallies_.find(failure.node);
  if (place == tallies_.end()) {
    place = tallies_.emplace(failure.node, Tally{config_.node(failure.node), {}, {}, 0}).first;
    place->second.record.node = failure.node;
    place->second.record.max_errors = place->second.settings.max_errors.value_or(0);
  }
  Tally& tally = place->second;
  if (tally.settings.on_error == OnError::throws) throw ProducerError{failure};
  if (tally.settings.on_error == OnError::delivers) return {};
  count(tally, failure);
  if (tally.skipped == tally.record.max_errors) throw TooManyErrors{summary(tally), tally.record};
  ++tally.skipped;
  skipped_.fetch_add(1, std::memory_order_relaxed);
  if (tally.skipped <= kSkipsLogged) {
    return {true, fmt::format("{}; skipped, {} of at most {}", describe(failure), tally.skipped,
                              tally.record.max_errors)};
  }
  if (tally.skipped > kSkipsLogged + 1) return {true, {}};
  return {true,
          fmt::format("node '{}': message {} is skipped too; further skipped messages of this node are not "
                      "logged",
                      failure.node, failure.sequence)};
}

void ErrorPolicy::count(Tally& tally, const Failure& failure) {
  ++tally.record.failed;
  std::vector<Failure>& kept = tally.record.failures;
  if (kept.size() == TooManyErrors::kKept) kept.pop_back();
  kept.push_back(failure);

  std::vector<Group>& groups = tally.groups;
  auto group = std::find_if(groups.begin(), groups.end(),
                            [&](const Group& known) { return known.first.reason == failure.reason; });
  if (group == groups.end()) {
    if (groups.size() == kReasonsTold) return;
    group = groups.insert(groups.end(), {failure, {}, 0});
  }
  ++group->count;
  if (group->messages.size() < kMessagesTold) group->messages.push_back(failure.sequence);
}

std::string ErrorPolicy::summary(const Tally& tally) {
  const TooManyErrors::Record& record = tally.record;
  std::string text = fmt::format("node '{}': {} {} failed and max_errors = {}", record.node, record.failed,
                                 record.failed == 1 ? "message" : "messages", record.max_errors);
  const Failure& last = record.failures.back();
  std::uint64_t told = 0;
  for (const Group& group : tally.groups) {
    told += group.count;
    if (group.count == 1) {
      if (record.failed > 1 && group.first.reason == last.reason) continue;  // it comes at the end
      text += fmt::format("; {}", one(group.first));
      continue;
    }
    text += fmt::format("; {}: messages {}", shortened(group.first.reason), fmt::join(group.messages, ", "));
    if (const std::uint64_t more = group.count - group.messages.size(); more > 0) {
      text += fmt::format(" and {} more", more);
    }
  }
  if (told < record.failed) text += fmt::format("; {} for other reasons", record.failed - told);
  if (record.failed > 1) text += fmt::format("; the last: {}", one(last));
  return text + "; raise max_errors, or mend the cause";
}

}  // namespace tandem
