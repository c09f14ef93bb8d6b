// Streams that run on while their processes are killed and stopped at random moments, and whole hosts that are
// killed: nothing is lost, nothing is left. tandem_soak does the same for longer.
// labels: no_tsan
#include <iostream>
#include <random>

#include "support/death_soak.hpp"
#include "support/host_death.hpp"
#include "support/sanitized.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

class DeathSoak : public TandemTest {};

TEST_F(DeathSoak, LosesNothingAndLeavesNothing) {
  std::mt19937_64 random = random_generator();
  const std::uint64_t kills = kSanitized ? 60 : 400;
  Toll all;
  while (all.kills < kills && all.clean()) {
    const std::uint64_t seed = random();
    SCOPED_TRACE("seed of the stream: " + std::to_string(seed));
    const Toll toll = soak_run(seed, kSanitized ? 15 : 50);
    EXPECT_TRUE(toll.clean()) << toll;
    all += toll;
  }
  std::cout << all << '\n';
}

// The count itself must see what it is there to see.
TEST(DeathSoakRoll, NoticesWhatIsLostTwiceOrOutOfOrder) {
  Toll toll;
  Roll roll;
  for (const std::uint64_t number : {0, 1, 3, 2, 2, 6}) roll.saw(number, toll);
  roll.end(9, toll);
  EXPECT_EQ(toll.reordered, 1U);   // 2
  EXPECT_EQ(toll.duplicated, 1U);  // 2 again
  EXPECT_EQ(toll.lost, 4U);        // 4, 5, 7, 8
  EXPECT_FALSE(toll.clean());
}

constexpr std::uint64_t kHeldBytes = 256 << 20;
HOST_PROGRAM(large_arrays) { return stream_large_arrays(kHeldBytes); }

class KilledHostsMemory : public TandemTest {};

TEST_F(KilledHostsMemory, IsFreeAgain) {
  std::mt19937_64 random = random_generator();
  for (int run = 0; run < 5; ++run) {
    const HostDeath death =
        kill_host([](int output) { return start_host_program("large_arrays", output); }, 16 + random() % 32,
                  [&random] { busy(random() % 1'000'000); }, kHeldBytes);
    ASSERT_EQ(death.failure, "") << "run " << run;
  }
}

}  // namespace
}  // namespace tandem::test
