#include <tandem/descriptor.hpp>

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace tandem {
namespace {

// A bit for each number that is owned. No lock: a copy of the process may be made by any thread at any time.
// Numbers beyond are not closed in copies, which is as good as it was before.
constexpr std::size_t kNumbers = 65536;
std::array<std::atomic<std::uint64_t>, kNumbers / 64> owned;

void set_owned(int number, bool is_owned) noexcept {
  const auto place = static_cast<std::size_t>(number);
  if (number < 0 || place >= kNumbers) return;
  const std::uint64_t bit = std::uint64_t{1} << (place % 64);
  if (is_owned) {
    owned[place / 64].fetch_or(bit, std::memory_order_relaxed);
  } else {
    owned[place / 64].fetch_and(~bit, std::memory_order_relaxed);
  }
}

void close_owned(int number) noexcept {
  if (number < 0) return;
  set_owned(number, false);
  close(number);
}

}  // namespace

Descriptor::Descriptor(int number) noexcept : number_{number} { set_owned(number, true); }

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    close_owned(number_);
    number_ = std::exchange(other.number_, -1);
  }
  return *this;
}

Descriptor::~Descriptor() { close_owned(number_); }

void Descriptor::close_all_but(int kept) noexcept {
  for (std::size_t word = 0; word < owned.size(); ++word) {
    for (std::uint64_t left = owned[word].load(std::memory_order_relaxed); left != 0; left &= left - 1) {
      const auto number = static_cast<int>(64 * word) + std::countr_zero(left);
      if (number != kept) close_owned(number);
    }
  }
}

}  // namespace tandem
