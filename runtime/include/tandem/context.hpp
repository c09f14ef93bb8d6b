#pragma once

#include <Random123/philox.h>  // first: MicroURNG.hpp needs its macros

#include <Random123/MicroURNG.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

namespace tandem {

class ArrayBlock;
class Shape;
enum class Dtype : std::uint8_t;

/// A repeatable stream of random numbers, one per message; works with every std::..._distribution.
/// Method    Philox4x64-10 of Random123 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
/// Same      numbers for the same (seed, node, sequence), whatever the worker, attempt or placement.
/// Cost      construction and copy O(1), no allocation; numbers are made four at a time when asked for.
class Random {
 public:
  using result_type = std::uint64_t;

  /// What a stream is for: streams for different uses share no number.
  enum class Use : std::uint64_t { message = 0, start = 1 };

  /// The stream of one message.
  /// stream_key  from stream_key(seed, node)
  Random(std::uint64_t stream_key, std::uint64_t sequence, Use use = Use::message)
      : stream_{{{sequence, 0, static_cast<std::uint64_t>(use), 0}}, {{stream_key, 0}}},
        stream_key_{stream_key} {}

  [[nodiscard]] static constexpr result_type min() noexcept { return 0; }
  [[nodiscard]] static constexpr result_type max() noexcept { return std::numeric_limits<result_type>::max(); }

  /// The next number of the stream.
  result_type operator()() {
    if (left_in_lap_ == 0) next_lap();
    --left_in_lap_;
    return stream_();
  }

 protected:
  // MicroURNG counts 2^32 blocks of four numbers in the upper half of the counter's last word, which must
  // therefore start as zero, and then repeats silently. A new lap goes on under another counter.
  static constexpr std::uint64_t kNumbersPerLap = std::uint64_t{4} << 32;
  std::uint64_t left_in_lap_ = kNumbersPerLap;

 private:
  using Stream = r123::MicroURNG<r123::Philox4x64>;

  void next_lap();

  Stream stream_;
  std::uint64_t stream_key_;
};

/// The key of a node's random streams, from the run's seed and the node's name (XXH3, 64 bits).
[[nodiscard]] std::uint64_t stream_key(std::uint64_t seed, std::string_view node);

/// What a body may know about the message it works on; made and kept by the runtime, one per worker.
/// Lifetime  the worker's; a body must not keep a reference past its return.
/// Threads   the worker's own thread only.
class Context {
 public:
  /// A worker's context as start() sees it: sequence() is 0, attempt() is 1, and random() is a stream that
  /// no message has and that every worker of the node shares, so that a restarted worker starts the same way.
  /// stop_flag  not zero once the run is being stopped; may be null; must outlive the context, as node must
  Context(std::string_view node, std::uint64_t key, int worker, const std::atomic<std::uint32_t>* stop_flag)
      : node_{node}, key_{key}, random_{key, 0, Random::Use::start}, stop_flag_{stop_flag}, worker_{worker} {}

  /// Turns to a message: its number, its attempt, and its random stream from the beginning.
  void begin(std::uint64_t sequence, int attempt) {
    sequence_ = sequence;
    attempt_ = attempt;
    skipped_ = false;
    random_is_old_ = true;
  }

  /// The message's place in the order, from 0.
  [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_; }
  /// How often this message has been tried, this time included: from 1.
  [[nodiscard]] int attempt() const noexcept { return attempt_; }
  /// This worker's number within its node, from 0 to `workers` - 1; no two that are alive have the same.
  /// A replacement that is started ahead of its need has no number yet: in its start() this waits until it has one.
  [[nodiscard]] int worker() const {
    if (worker_ < 0 && ask_worker_ != nullptr) worker_ = (*ask_worker_)();
    return worker_;
  }
  /// For the runtime: whom worker() asks while the number is not known. Lifetime: the context's.
  void ask_worker_from(const std::function<int()>& ask) noexcept { ask_worker_ = &ask; }
  void set_worker(int worker) noexcept { worker_ = worker; }
  /// For the runtime: whether a worker ended that may have been at this message.
  void set_begun(bool begun) noexcept { begun_ = begun; }
  [[nodiscard]] bool begun() const noexcept { return begun_; }
  /// For the runtime: who gives shared memory to the body. done_with: what it was given for this message and does not need
  /// any more; null: nothing. Lifetime: the context's.
  using Grant = std::function<std::shared_ptr<ArrayBlock>(std::size_t bytes, Dtype dtype, const Shape& shape,
                                                          const std::shared_ptr<ArrayBlock>& done_with)>;
  void grant_from(const Grant& grant) noexcept { grant_ = &grant; }
  /// For the runtime: where this process sees the shared arrays, and how many bytes.
  void set_arrays(std::byte* arrays, std::size_t bytes) noexcept {
    arrays_ = arrays;
    arrays_bytes_ = bytes;
  }
  [[nodiscard]] std::byte* arrays() const noexcept { return arrays_; }
  [[nodiscard]] std::size_t arrays_bytes() const noexcept { return arrays_bytes_; }
  /// For array<T>(context, shape), and Arrays::grow().
  [[nodiscard]] std::shared_ptr<ArrayBlock> grant(std::size_t bytes, Dtype dtype, const Shape& shape,
                                                  const std::shared_ptr<ArrayBlock>& done_with = nullptr) const;
  /// The node's name.
  [[nodiscard]] std::string_view node() const noexcept { return node_; }

  /// True once the run is being stopped: a long body may look now and then, and return early.
  /// Cost  one load.
  [[nodiscard]] bool stopping() const noexcept {
    // Relaxed: the flag carries no data, and a body that sees it one look later only returns one look later.
    return stop_flag_ != nullptr && stop_flag_->load(std::memory_order_relaxed) != 0;
  }

  /// For a producer: this message makes no item. What the body writes is dropped; the message keeps its place in the
  /// order, later producers do not see it, and streams pass it over without counting it as an error.
  void skip() noexcept { skipped_ = true; }
  [[nodiscard]] bool skipped() const noexcept { return skipped_; }

  /// The message's own stream of random numbers.
  [[nodiscard]] Random& random() noexcept {
    if (std::exchange(random_is_old_, false)) random_ = Random{key_, sequence_};  // made when it is asked for
    return random_;
  }

 private:
  std::string_view node_;
  std::uint64_t key_;
  Random random_;
  bool random_is_old_ = false;  // another message's
  const std::atomic<std::uint32_t>* stop_flag_;
  std::uint64_t sequence_ = 0;
  mutable int worker_;
  const std::function<int()>* ask_worker_ = nullptr;
  const Grant* grant_ = nullptr;
  std::byte* arrays_ = nullptr;
  std::size_t arrays_bytes_ = 0;
  int attempt_ = 1;
  bool begun_ = false;
  bool skipped_ = false;
};

}  // namespace tandem
