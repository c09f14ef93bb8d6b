#include <tandem/parameter_cell.hpp>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include <tandem/error.hpp>
#include <tandem/role.hpp>

namespace tandem {

ParameterCell::ParameterCell(std::span<const std::byte> initial)
    : bytes_{initial.size()},
      words_{(initial.size() + sizeof(Word) - 1) / sizeof(Word)},
      own_{std::make_unique<Word[]>(shared_bytes() / sizeof(Word))},
      seen_{reinterpret_cast<std::byte*>(own_.get())} {
  new (own_.get()) Head;
  write(seen_.load(std::memory_order_relaxed), initial);
}

std::size_t ParameterCell::shared_bytes() const noexcept {
  constexpr std::size_t kLine = 64;
  return kHeadBytes + (2 * words_ * sizeof(Word) + kLine - 1) / kLine * kLine;
}

void ParameterCell::share(std::byte* place) {
  const std::lock_guard lock{mutex_};
  std::vector<std::byte> now(bytes_);
  read(seen_.load(std::memory_order_relaxed), now);
  new (place) Head;
  write(place, now);
  shared_.store(place, std::memory_order_release);  // after its words
}

void ParameterCell::attach(std::byte* place) {
  const std::lock_guard lock{mutex_};
  read_only_ = true;
  shared_.store(place, std::memory_order_release);
  seen_.store(place, std::memory_order_release);
}

void ParameterCell::unshare() {
  const std::lock_guard lock{mutex_};
  shared_.store(nullptr, std::memory_order_relaxed);
}

void ParameterCell::set(std::span<const std::byte> value) {
  const std::lock_guard lock{mutex_};
  if (read_only_) return;
  write(seen_.load(std::memory_order_relaxed), value);
  if (std::byte* const place = shared_.load(std::memory_order_relaxed)) write(place, value);
}

void ParameterCell::write(std::byte* at, std::span<const std::byte> value) noexcept {
  const std::uint64_t version = head(at).published.load(std::memory_order_relaxed) + 1;
  head(at).announced.store(version, std::memory_order_relaxed);
  // ANNOUNCE: release, with the reader's acquire: who reads one word of this value sees the announcement too. Weaker: a
  // mixture of two values could pass for one.
  std::atomic_thread_fence(std::memory_order_release);
  Word* const place = words(at, version);
  for (std::size_t index = 0; index < words_; ++index) {
    Word word = 0;
    std::memcpy(&word, value.data() + index * sizeof(Word),
                std::min(sizeof(Word), bytes_ - index * sizeof(Word)));
    std::atomic_ref{place[index]}.store(word, std::memory_order_relaxed);
  }
  head(at).published.store(version, std::memory_order_release);  // after its words
}

void ParameterCell::get(std::span<std::byte> value) const {
  const bool in_worker = is_worker_process();
  if (in_worker && !serves(owner_)) {
    throw Error(
        "a Parameter of another Runtime is read in a worker process, which does not hear of its new values; "
        "make it "
        "with the Runtime of the node");
  }
  std::byte* const shared = in_worker ? shared_.load(std::memory_order_acquire) : nullptr;
  read(shared != nullptr ? shared : seen_.load(std::memory_order_acquire), value);
}

void ParameterCell::read(std::byte* at, std::span<std::byte> value) const {
  for (;;) {  // again only when the host has set it twice meanwhile
    const std::uint64_t version = head(at).published.load(std::memory_order_acquire);
    Word* const place = words(at, version);
    for (std::size_t index = 0; index < words_; ++index) {
      const Word word = std::atomic_ref{place[index]}.load(std::memory_order_relaxed);
      std::memcpy(value.data() + index * sizeof(Word), &word,
                  std::min(sizeof(Word), bytes_ - index * sizeof(Word)));
    }
    std::atomic_thread_fence(std::memory_order_acquire);  // ANNOUNCE
    if (head(at).announced.load(std::memory_order_relaxed) < version + 2) return;
  }
}

}  // namespace tandem
