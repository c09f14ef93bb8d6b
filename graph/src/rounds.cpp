#include <tandem/rounds.hpp>

#include <chrono>

#include <tandem/log.hpp>

namespace tandem {

// A plain node that keeps items until the mark comes would wait for ever, and so would this. It may as well be slow: so it
// is told, and no error.
void Rounds::wait_round(Source& source, const std::function<bool()>& cancelled) const noexcept {
  using Clock = std::chrono::steady_clock;
  std::uint32_t seen = 0;
  Clock::time_point since{};
  bool told = false;
  source.wait_empty([&] {
    const std::uint32_t left = source.in_graph();
    if (left != seen) since = Clock::now();
    seen = left;
    if (!told && Clock::now() - since >= core_.config().hold_timeout) {
      told = true;
      log_warning(who_ + ": the end of round " + std::to_string(number_) + " waits for " +
                  std::to_string(left) +
                  " of its items, which are still in the graph; a plain node must not keep items until the "
                  "round's mark comes where no order is restored: put a sequencer_node before it, with "
                  "deterministic = true");
    }
    return cancelled();
  });
}

Lease* Rounds::wait_mark(Source& source, const std::function<bool()>& cancelled) noexcept {
  if (!core_.orders()) wait_round(source, cancelled);
  Lease* const lease = source.wait_acquire(cancelled);
  if (lease == nullptr) return nullptr;
  stamp(*lease);
  lease->skipped = true;
  lease->round = Round::end;
  begin(source, number_ + 1);
  return lease;
}

}  // namespace tandem
