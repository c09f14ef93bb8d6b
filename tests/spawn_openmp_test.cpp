// A host with OpenMP at work, and bodies that use it, in workers that are spawned: the threads of a forked one's are not
// there. A test of its own, because what is compiled with OpenMP takes no precompiled header of others.
// labels: no_tsan
#include <atomic>
#include <cstdint>
#include <thread>

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

class SpawnedWorker : public TandemTest {};

#ifdef _OPENMP
std::uint64_t sum_in_parallel() {
  std::uint64_t sum = 0;
#pragma omp parallel for num_threads(4) reduction(+ : sum)
  for (int number = 0; number < 10'000; ++number) sum += static_cast<std::uint64_t>(number);
  return sum;
}

TEST_F(SpawnedWorker, MayUseOpenMPWhileTheHostDoes) {
  const std::uint64_t sum = sum_in_parallel();  // in the worker's main, too
  std::atomic<bool> over{false};
  std::atomic<bool> wrong{false};
  std::thread host{[&] {
    while (!over) wrong = wrong || sum_in_parallel() != sum;
  }};
  std::uint64_t items = 0;
  {
    Line<Number> line{placed({"spawn", 2}, {"work"}), CountTo{60},
                      [](const Number&) { return Number{sum_in_parallel()}; }};
    for (const auto& item : line.stream) {
      EXPECT_EQ(item->value, sum);
      ++items;
    }
  }
  over = true;
  host.join();
  EXPECT_EQ(items, 60U);
  EXPECT_FALSE(wrong);
}
#else
TEST_F(SpawnedWorker, MayUseOpenMPWhileTheHostDoes) { GTEST_SKIP() << "the compiler has no OpenMP"; }
#endif

}  // namespace
}  // namespace tandem::test
