#include <tandem/parameter_cell.hpp>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace tandem {

ParameterCell::ParameterCell(std::span<const std::byte> initial)
    : bytes_{initial.size()},
      words_{(initial.size() + sizeof(Word) - 1) / sizeof(Word)},
      own_(initial.begin(), initial.end()) {}

std::size_t ParameterCell::shared_bytes() const noexcept {
  constexpr std::size_t kLine = 64;
  return kHeadBytes + (2 * words_ * sizeof(Word) + kLine - 1) / kLine * kLine;
}

void ParameterCell::move_to(std::byte* place) {
  const std::lock_guard lock{mutex_};
  place_ = place;
  new (place) Head;
  write(own_);
}

void ParameterCell::attach(std::byte* place) {
  const std::lock_guard lock{mutex_};
  read_only_ = true;
  place_ = place;
}

void ParameterCell::move_back() {
  std::vector<std::byte> last(bytes_);
  if (place_ == nullptr) return;
  get(last);
  const std::lock_guard lock{mutex_};
  own_ = std::move(last);
  place_ = nullptr;
}

void ParameterCell::set(std::span<const std::byte> value) {
  const std::lock_guard lock{mutex_};
  if (read_only_) return;
  if (place_ == nullptr) {
    own_.assign(value.begin(), value.end());
  } else {
    write(value);
  }
}

void ParameterCell::write(std::span<const std::byte> value) noexcept {
  const std::uint64_t version = head().published.load(std::memory_order_relaxed) + 1;
  head().announced.store(version, std::memory_order_relaxed);
  // ANNOUNCE: release, with the reader's acquire: who reads one word of this value sees the announcement too. Weaker: a
  // mixture of two values could pass for one.
  std::atomic_thread_fence(std::memory_order_release);
  Word* const place = words(version);
  for (std::size_t index = 0; index < words_; ++index) {
    Word word = 0;
    std::memcpy(&word, value.data() + index * sizeof(Word),
                std::min(sizeof(Word), bytes_ - index * sizeof(Word)));
    std::atomic_ref{place[index]}.store(word, std::memory_order_relaxed);
  }
  head().published.store(version, std::memory_order_release);  // after its words
}

void ParameterCell::get(std::span<std::byte> value) const {
  if (place_ == nullptr) {
    const std::lock_guard lock{mutex_};
    std::memcpy(value.data(), own_.data(), bytes_);
    return;
  }
  for (;;) {  // again only when the host has set it twice meanwhile
    const std::uint64_t version = head().published.load(std::memory_order_acquire);
    Word* const place = words(version);
    for (std::size_t index = 0; index < words_; ++index) {
      const Word word = std::atomic_ref{place[index]}.load(std::memory_order_relaxed);
      std::memcpy(value.data() + index * sizeof(Word), &word,
                  std::min(sizeof(Word), bytes_ - index * sizeof(Word)));
    }
    std::atomic_thread_fence(std::memory_order_acquire);  // ANNOUNCE
    if (head().announced.load(std::memory_order_relaxed) < version + 2) return;
  }
}

}  // namespace tandem
