#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include <tandem/core.hpp>
#include <tandem/source.hpp>

namespace tandem {

/// Which round (epoch) the messages of a source belong to, and the marks of the rounds' ends.
/// Threads   one, the source's emitter.
class Rounds {
 public:
  /// who: "commander 'sampler'".
  Rounds(const Core& core, std::string who) : core_{core}, who_{std::move(who)} {}

  std::uint64_t number() const noexcept { return number_; }
  /// The next message is the first of this round.
  void begin(const Source& source, std::uint64_t number) noexcept {
    number_ = number;
    begin_ = source.emitted();
  }
  void stamp(Lease& lease) const noexcept {
    lease.epoch = number_;
    lease.epoch_begin = begin_;
    lease.round = Round::inside;
  }
  /// The mark of the round's end, and the next round begins. It goes through the graph like a message, so that it comes out
  /// behind the round's last one: where no order is restored, this waits until the graph is done with all of them.
  /// Returns   null when the source was stopped, or `cancelled`, which is asked now and then.
  [[nodiscard]] Lease* wait_mark(Source& source, const std::function<bool()>& cancelled) noexcept;

 private:
  void wait_round(Source& source, const std::function<bool()>& cancelled) const noexcept;

  const Core& core_;
  const std::string who_;
  std::uint64_t number_ = 0;
  std::uint64_t begin_ = 0;  // the number of the round's first message
};

}  // namespace tandem
