// Reorder against a plain model: a map from each number to what was put under it, and a set of the skipped.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <tandem/reorder.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

class Model {
 public:
  void put(std::uint64_t number, std::uint64_t thing) {
    if (number < next_) {
      late_.push_back(thing);
    } else {
      things_[number].push_back(thing);
    }
  }
  void skip(std::uint64_t number) {
    if (number >= next_) skipped_.insert(number);
  }
  std::vector<std::uint64_t> take_due() {
    std::vector<std::uint64_t> due;
    due.swap(late_);
    while (things_.contains(next_) || skipped_.contains(next_)) {
      for (const std::uint64_t thing : things_[next_]) due.push_back(thing);
      things_.erase(next_);
      skipped_.erase(next_);
      ++next_;
    }
    return due;
  }
  std::uint64_t next() const { return next_; }

 private:
  std::uint64_t next_ = 0;
  std::vector<std::uint64_t> late_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> things_;
  std::set<std::uint64_t> skipped_;
};

class ReorderTest : public TandemTest {
 protected:
  static std::vector<std::uint64_t> due_of(Reorder<std::uint64_t>& reorder) {
    std::vector<std::uint64_t> due;
    reorder.take_due(due);
    return due;
  }
  using Things = std::vector<std::uint64_t>;
};

TEST_F(ReorderTest, OfNothingIsNothing) {
  Reorder<std::uint64_t> reorder;
  EXPECT_EQ(due_of(reorder), Things{});
  EXPECT_EQ(reorder.next(), 0U);
}

TEST_F(ReorderTest, HoldsBackWhatIsNotDue) {
  Reorder<std::uint64_t> reorder;
  reorder.put(1, 11);
  reorder.put(2, 12);
  EXPECT_EQ(due_of(reorder), Things{});
  reorder.put(0, 10);
  EXPECT_EQ(due_of(reorder), (Things{10, 11, 12}));
}

TEST_F(ReorderTest, PassesASkippedNumber) {
  Reorder<std::uint64_t> reorder;
  reorder.put(1, 11);
  reorder.skip(0);
  EXPECT_EQ(due_of(reorder), Things{11});
  EXPECT_EQ(reorder.next(), 2U);
}

TEST_F(ReorderTest, DoesNotSkipWhatHasCome) {
  Reorder<std::uint64_t> reorder;
  reorder.put(0, 10);
  reorder.skip(0);
  EXPECT_EQ(due_of(reorder), Things{10});
}

TEST_F(ReorderTest, LetsWhatComesAfterItsSkipGoAtOnce) {
  Reorder<std::uint64_t> reorder;
  reorder.skip(0);
  EXPECT_EQ(due_of(reorder), Things{});
  reorder.put(0, 10);
  EXPECT_EQ(due_of(reorder), Things{10});
}

TEST_F(ReorderTest, GivesBothOfTwoThingsWithOneNumberInTheOrderOfTheirComing) {
  Reorder<std::uint64_t> reorder;
  reorder.put(1, 100);
  reorder.put(1, 101);
  reorder.put(0, 0);
  reorder.put(2, 200);
  EXPECT_EQ(due_of(reorder), (Things{0, 100, 101, 200}));
}

TEST_F(ReorderTest, GivesBothOfTwoThingsWithOneNumberThatWasFarAwayForTheFirst) {
  constexpr std::uint64_t kFar = 1 << 17;
  Reorder<std::uint64_t> reorder;
  reorder.put(kFar, 1);
  for (std::uint64_t number = 0; number < kFar - 1; ++number) reorder.skip(number);
  EXPECT_EQ(due_of(reorder), Things{});
  reorder.put(kFar, 2);
  reorder.skip(kFar - 1);
  EXPECT_EQ(due_of(reorder), (Things{1, 2}));
}

TEST_F(ReorderTest, GivesFarNumbersInTheirTurn) {
  Reorder<std::uint64_t> reorder;
  reorder.put(1'000'000, 2);
  reorder.put(999'999, 1);
  reorder.skip(1'000'001);
  reorder.put(1'000'002, 3);
  EXPECT_EQ(due_of(reorder), Things{});
  for (std::uint64_t number = 0; number < 999'999; ++number) {
    reorder.skip(number);
    if (number % 1000 == 0) { EXPECT_EQ(due_of(reorder), Things{}); }
  }
  EXPECT_EQ(due_of(reorder), (Things{1, 2, 3}));
  EXPECT_EQ(reorder.next(), 1'000'003U);
}

TEST_F(ReorderTest, PassesWhatIsAwaitedUnlessSomethingGoesBefore) {
  Reorder<std::uint64_t> reorder;
  EXPECT_FALSE(reorder.pass(1));
  EXPECT_TRUE(reorder.pass(0));
  EXPECT_EQ(reorder.next(), 1U);
  EXPECT_FALSE(reorder.pass(0)) << "it came before";
  reorder.put(0, 100);
  EXPECT_FALSE(reorder.pass(1)) << "what came late goes first";
  EXPECT_EQ(due_of(reorder), Things{100});
  reorder.put(2, 2);
  EXPECT_TRUE(reorder.pass(1));
  EXPECT_FALSE(reorder.pass(2)) << "there is one already, which goes first";
  EXPECT_EQ(due_of(reorder), Things{2});
  reorder.skip(3);
  EXPECT_FALSE(reorder.pass(3)) << "it was skipped, so this one is late";
  reorder.put(1'000'000, 5);  // far away
  EXPECT_EQ(due_of(reorder), Things{});
  EXPECT_FALSE(reorder.pass(4)) << "the far ones must be looked through";
}

TEST_F(ReorderTest, KeepsNothingOfWhatItGave) {
  Reorder<std::shared_ptr<int>> reorder;
  const auto thing = std::make_shared<int>(1);
  for (std::uint64_t number = 100; number-- > 0;) reorder.put(number, thing);
  std::vector<std::shared_ptr<int>> due;
  reorder.take_due(due);
  EXPECT_EQ(due.size(), 100U);
  due.clear();
  EXPECT_EQ(thing.use_count(), 1);
}

TEST_F(ReorderTest, DoesAsAPlainModelDoes) {
  std::mt19937_64 random = random_generator();
  for (int round = 0; round < 60; ++round) {
    Reorder<std::uint64_t> reorder;
    Model model;
    const std::uint64_t spread = std::uint64_t{1} << (random() % 20);  // beyond the largest ring, now and then
    std::uint64_t thing = 0;
    std::set<std::uint64_t> used;
    Things due;
    for (int step = 0; step < 3000; ++step) {
      const std::uint64_t number = model.next() + random() % spread - (model.next() > 3 ? random() % 3 : 0);
      bool passed = false;
      switch (random() % 5) {
        case 0:
          reorder.skip(number);
          model.skip(number);
          break;
        case 1:  // what is awaited, so that there is progress
          reorder.skip(model.next());
          model.skip(model.next());
          break;
        default:
          // Each number once here: the order of doubles has tests of its own.
          if (number >= model.next() && !used.insert(number).second) break;
          passed = reorder.pass(number);
          if (passed) {
            due.push_back(thing);
          } else {
            reorder.put(number, thing);
          }
          model.put(number, thing++);
      }
      if (passed || random() % 4 == 0) {
        reorder.take_due(due);
        ASSERT_EQ(due, model.take_due());
        due.clear();
        ASSERT_EQ(reorder.next(), model.next());
      }
    }
  }
}

TEST_F(ReorderTest, GivesEachNumberOnceForAnyOrderOfComing) {
  std::mt19937_64 random = random_generator();
  for (const std::size_t count : {1U, 15U, 16U, 17U, 1000U, 100'000U}) {
    std::vector<std::uint64_t> numbers(count);
    for (std::size_t number = 0; number < count; ++number) numbers[number] = number;
    std::shuffle(numbers.begin(), numbers.end(), random);
    Reorder<std::uint64_t> reorder;
    Things all;
    for (const std::uint64_t number : numbers) {
      if (number % 7 == 3) {
        reorder.skip(number);
      } else {
        reorder.put(number, number);
      }
      reorder.take_due(all);
    }
    ASSERT_EQ(reorder.next(), count);
    Things wanted;
    for (std::uint64_t number = 0; number < count; ++number) {
      if (number % 7 != 3) wanted.push_back(number);
    }
    ASSERT_EQ(all, wanted);
  }
}

}  // namespace
}  // namespace tandem::test
