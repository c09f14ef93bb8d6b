// The mutex that whoever holds it tells nobody of.
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include <tandem/spin_mutex.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

class SpinMutexTest : public TandemTest {};

TEST_F(SpinMutexTest, LetsOneInAtATime) {
  constexpr int kThreads = 4;
  constexpr int kTimes = 100'000;
  SpinMutex mutex;
  int count = 0;  // a race, where two are in
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&] {
      for (int time = 0; time < kTimes; ++time) {
        const std::lock_guard lock{mutex};
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, kThreads * kTimes);
}

TEST_F(SpinMutexTest, IsNotTakenFromItsHolder) {
  SpinMutex mutex;
  mutex.lock();
  EXPECT_FALSE(mutex.try_lock());
  mutex.unlock();
  EXPECT_TRUE(mutex.try_lock());
  mutex.unlock();
}

TEST_F(SpinMutexTest, IsWaitedForHoweverLongItsHolderSleeps) {
  SpinMutex mutex;
  bool is_over = false;
  mutex.lock();
  std::thread waiter{[&] {
    const std::lock_guard lock{mutex};
    EXPECT_TRUE(is_over);
  }};
  std::this_thread::sleep_for(std::chrono::milliseconds{50});
  is_over = true;
  mutex.unlock();
  waiter.join();
}

}  // namespace
}  // namespace tandem::test
