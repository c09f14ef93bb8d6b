// Leases and their handles: graph parts and user parts, roots and children, one thread and several; tables and
// pools that lend them.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <tandem/lease.hpp>
#include <tandem/lease_table.hpp>
#include <tandem/pool.hpp>
#include <tandem/segment.hpp>

#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

// Writes down what it is told.
class Book final : public LeaseOwner {
 public:
  void entered_graph() noexcept override { ++entered; }
  void left_graph(std::span<const Departure> messages) noexcept override {
    for (const Departure& message : messages) left_graph(message.sequence, message.sequencers);
  }
  void left_graph(std::uint64_t sequence, std::uint64_t sequencers) noexcept {
    ++left;
    last_sequence = sequence;
    last_sequencers = sequencers;
  }
  void ended(Lease& lease) noexcept override {
    ++ends;
    if (lease.root == &lease && children != nullptr) children_ends_at_own = children->ends.load();
  }

  std::atomic<std::uint64_t> entered{0};
  std::atomic<std::uint64_t> left{0};
  std::atomic<std::uint64_t> ends{0};
  std::atomic<std::uint64_t> last_sequence{0};
  std::atomic<std::uint64_t> last_sequencers{0};
  const Book* children = nullptr;
  std::atomic<std::uint64_t> children_ends_at_own{0};
};

// A message and what three producers made of it.
struct Family {
  static constexpr std::size_t kChildren = 3;
  Book of_root;
  Book of_children;
  Lease root;
  std::array<Lease, kChildren> children;

  Family() {
    of_root.children = &of_children;
    root.owner = &of_root;
    root.root = &root;
    for (Lease& child : children) {
      child.owner = &of_children;
      child.root = &root;
    }
  }
  // One graph handle to the root and one to each child, as a source and crews make them.
  std::vector<Handle> open(std::uint64_t sequence) {
    std::vector<Handle> handles;
    root.sequence = sequence;
    root.open();
    handles.emplace_back(&root, Part::graph);
    for (Lease& child : children) {
      child.sequence = sequence;
      root.add(Part::graph);
      child.open();
      handles.emplace_back(&child, Part::graph);
    }
    return handles;
  }
};

class LeaseTest : public TandemTest, public Family {};

TEST_F(LeaseTest, EndsWithItsLastHandle) {
  root.sequence = 7;
  root.open();
  Handle one{&root, Part::graph};
  Handle two = one;
  one = Handle{};
  EXPECT_EQ(of_root.ends, 0U);
  EXPECT_TRUE(root.held());
  two = Handle{};
  EXPECT_EQ(of_root.ends, 1U);
  EXPECT_EQ(of_root.left, 1U);
  EXPECT_EQ(of_root.last_sequence, 7U);
  EXPECT_FALSE(root.held());
}

TEST_F(LeaseTest, LeavesTheGraphWhenOnlyUsersHoldIt) {
  root.open();
  Handle handle{&root, Part::graph};
  handle.leave_graph();
  EXPECT_EQ(of_root.left, 1U);
  EXPECT_EQ(of_root.ends, 0U);
  EXPECT_EQ(handle.part(), Part::user);
  handle = Handle{};
  EXPECT_EQ(of_root.left, 1U);
  EXPECT_EQ(of_root.ends, 1U);
}

TEST_F(LeaseTest, ComesBackIntoTheGraphWithAUsersHandle) {
  root.open();
  Handle user{&root, Part::graph};
  user.leave_graph();
  Handle again = user.for_graph();
  EXPECT_EQ(of_root.entered, 1U);
  EXPECT_EQ(again.part(), Part::graph);
  again = Handle{};
  EXPECT_EQ(of_root.left, 2U);
  user = Handle{};
  EXPECT_EQ(of_root.ends, 1U);
  EXPECT_EQ(of_root.left, 2U);
}

TEST_F(LeaseTest, OfAChildKeepsTheRootsGraphPart) {
  auto handles = open(1);
  handles[0] = Handle{};
  handles[1] = Handle{};
  handles[2] = Handle{};
  EXPECT_EQ(of_root.left, 0U);
  handles[3].leave_graph();
  EXPECT_EQ(of_root.left, 1U);
  EXPECT_EQ(of_root.ends, 0U);
  EXPECT_EQ(of_children.ends, 2U);
  handles[3] = Handle{};
  EXPECT_EQ(of_children.ends, 3U);
  EXPECT_EQ(of_root.ends, 1U);
  EXPECT_EQ(of_root.children_ends_at_own, 3U);
}

TEST_F(LeaseTest, TellsWhichSequencersKnewOfItAtTheEnd) {
  root.open();
  root.sequencers = 0b101;
  { const Handle last{&root, Part::graph}; }
  EXPECT_EQ(of_root.last_sequencers, 0b101U);
}

TEST_F(LeaseTest, HandlesOfNothingDoNothing) {
  Handle none;
  none.leave_graph();
  const Handle copy = none;
  const Handle graph = none.for_graph();
  EXPECT_FALSE(copy);
  EXPECT_FALSE(graph);
}

// The counts as the head of lease.hpp defines them, from the handles that there are.
TEST_F(LeaseTest, CountsAsAPlainModelDoesForRandomHandles) {
  std::mt19937_64 random = random_generator();
  for (std::uint64_t life = 1; life <= 2000; ++life) {
    const std::uint64_t left_before = of_root.left;
    const std::uint64_t entered_before = of_root.entered;
    std::vector<Handle> handles = open(life);
    bool in_graph = true;
    std::uint64_t left = 0;
    std::uint64_t entered = 0;
    while (!handles.empty()) {
      const std::size_t which = random() % handles.size();
      switch (random() % 6) {
        case 0: {
          if (handles.size() > 12) break;
          Handle copy = handles[which];
          handles.push_back(std::move(copy));
          break;
        }
        case 1: handles[which].leave_graph(); break;
        case 2: {
          if (handles.size() > 12) break;
          Handle graph = handles[which].for_graph();
          handles.push_back(std::move(graph));
          break;
        }
        default: std::swap(handles[which], handles.back()); handles.pop_back();
      }
      const bool now = std::any_of(handles.begin(), handles.end(),
                                   [](const Handle& handle) { return handle.part() == Part::graph; });
      left += in_graph && !now ? 1 : 0;
      entered += !in_graph && now ? 1 : 0;
      in_graph = now;
      ASSERT_EQ(of_root.left - left_before, left);
      ASSERT_EQ(of_root.entered - entered_before, entered);
      const bool root_lives = !handles.empty();
      ASSERT_EQ(of_root.ends, root_lives ? life - 1 : life);
      for (const Lease& child : children) {
        const bool held = std::any_of(handles.begin(), handles.end(),
                                      [&](const Handle& handle) { return handle.get() == &child; });
        ASSERT_EQ(child.held(), held);
      }
    }
    ASSERT_EQ(of_children.ends, life * kChildren);
    ASSERT_EQ(of_root.children_ends_at_own, life * kChildren);
  }
}

// ---- several threads -----------------------------------------------------------------------------------------

// Several threads do as they please with handles of one family, life after life; `operations` of them.
void live_in_threads(Family& family, std::mt19937_64& random, std::uint64_t lives, std::uint64_t operations) {
  constexpr std::size_t kThreads = 3;
  std::array<std::vector<Handle>, kThreads> hands;
  std::barrier turn{kThreads + 1};
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread, seed = random()] {
      std::mt19937_64 own{seed};
      for (std::uint64_t life = 0; life < lives; ++life) {
        turn.arrive_and_wait();  // our hand is full
        std::vector<Handle>& hand = hands[thread];
        while (!hand.empty()) {
          const std::size_t which = own() % hand.size();
          const std::uint64_t operation = own() % operations;
          if (operation == 3 && hand.size() < 8) {
            Handle copy = hand[which];
            hand.push_back(std::move(copy));
          } else if (operation == 4) {
            hand[which].leave_graph();
          } else if (operation == 5 && hand.size() < 8) {
            Handle graph = hand[which].for_graph();
            hand.push_back(std::move(graph));
          } else {
            std::swap(hand[which], hand.back());
            hand.pop_back();
          }
        }
        turn.arrive_and_wait();  // our hand is empty
      }
    });
  }
  for (std::uint64_t life = 1; life <= lives; ++life) {
    std::vector<Handle> first = family.open(life);
    for (const Handle& handle : first) {
      for (auto& hand : hands) {
        hand.push_back(handle);
        if (random() % 3 == 0) hand.back().leave_graph();
      }
    }
    for (Handle& handle : first) hands[random() % kThreads].push_back(std::move(handle));
    first.clear();
    turn.arrive_and_wait();
    turn.arrive_and_wait();
    EXPECT_EQ(family.of_root.ends, life);
    EXPECT_EQ(family.of_children.ends, life * Family::kChildren);
    EXPECT_EQ(family.of_root.children_ends_at_own, life * Family::kChildren) << "the root ended before a child";
    EXPECT_EQ(family.of_root.left, life + family.of_root.entered);
    if (testing::Test::HasFailure()) break;
  }
  for (std::thread& thread : threads) {
    if (testing::Test::HasFailure()) std::_Exit(1);  // the others wait at the barrier
    thread.join();
  }
}

TEST_F(LeaseTest, EndsOnceWhenSeveralThreadsDropAndMoveHandles) {
  std::mt19937_64 random = random_generator();
  live_in_threads(*this, random, 10'000, 5);
  EXPECT_EQ(of_root.left, 10'000U);  // once for each life
  EXPECT_EQ(of_root.entered, 0U);
}

TEST_F(LeaseTest, EndsOnceWhenSeveralThreadsAlsoPutItemsBackIntoTheGraph) {
  std::mt19937_64 random = random_generator();
  live_in_threads(*this, random, 10'000, 6);
}

// ---- tables and pools ----------------------------------------------------------------------------------------

class Tables : public TandemTest {
 protected:
  Book book_;
};

TEST_F(Tables, LendTheLeaseThatCameBackLast) {
  LeaseTable table{book_, 8, 1, true};
  Lease* const first = table.take();
  Lease* const second = table.take();
  Lease* const third = table.take();
  EXPECT_EQ(first->index, 0U);
  table.put(*second);
  table.put(*first);
  table.put(*third);
  EXPECT_EQ(table.take(), third);
  EXPECT_EQ(table.take(), first);
  EXPECT_EQ(table.take(), second);
  EXPECT_EQ(table.take()->index, 3U);
}

TEST_F(Tables, OfSmallThingsLookForReturnsOnceTheyAreEmpty) {
  LeaseTable table{book_, 3};
  Lease* const first = table.take();
  Lease* const second = table.take();
  table.put(*first);
  table.put(*second);
  EXPECT_EQ(table.take()->index, 2U);
  EXPECT_EQ(table.take(), second);
  EXPECT_EQ(table.take(), first);
  EXPECT_EQ(table.take(), nullptr);
}

TEST_F(Tables, LendWhatTheTakerPutBackAtOnce) {
  LeaseTable table{book_, 4};
  Lease* const one = table.take();
  table.put_back(*one);
  EXPECT_EQ(table.take(), one);
}

TEST_F(Tables, LendNoMoreThanTheyHave) {
  LeaseTable table{book_, 3};
  Lease* last = nullptr;
  for (int lease = 0; lease < 3; ++lease) last = table.take();
  EXPECT_EQ(table.take(), nullptr);
  table.put(*last);
  EXPECT_EQ(table.take(), last);
  EXPECT_EQ(table.take(), nullptr);
}

// Each in its own list, the last that came back on top, before what was there.
TEST_F(Tables, SortWhatComesBackIntoTheirLists) {
  constexpr std::uint32_t kLists = 4;
  LeaseTable table{book_, 9, kLists, true};
  std::vector<Lease*> leases;
  while (Lease* const lease = table.take(kLists - 1)) leases.push_back(lease);
  ASSERT_EQ(leases.size(), 9U);
  for (std::size_t i = 0; i < leases.size(); ++i)
    leases[i]->list = static_cast<std::uint32_t>(i % 3);  // 3: none
  for (std::size_t i = 0; i < 3; ++i) table.put(*leases[i]);
  EXPECT_EQ(table.free(), 3U);
  for (std::size_t i = 3; i < 9; ++i) table.put(*leases[i]);
  EXPECT_EQ(table.free(), 9U);
  for (std::uint32_t list = 0; list < 3; ++list) EXPECT_EQ(table.length(list), 3U);
  EXPECT_FALSE(table.any(3));
  for (std::uint32_t list = 0; list < 3; ++list) {
    EXPECT_EQ(table.take(list), leases[6 + list]);
    EXPECT_EQ(table.take(list), leases[3 + list]);
    EXPECT_EQ(table.take(list), leases[list]);
    EXPECT_EQ(table.take(list), nullptr);
  }
  EXPECT_EQ(table.free(), 0U);
}

TEST_F(Tables, CountWhatComesBackWhateverTheTakerDoes) {
  LeaseTable table{book_, 4, 1, true};
  const auto counted = [](std::uint32_t count) {
    return (LeaseTable::kFirstCount + count) % LeaseTable::kCounts;
  };
  for (std::uint32_t count = 1; count <= 3000; ++count) {  // it overflows
    Lease* const lease = table.take();
    ASSERT_EQ(table.returns().count, counted(count - 1));
    ASSERT_EQ(table.put(*lease).count, counted(count));
    if (count % 2 == 0) table.put_back(*table.take());  // was never lent to anybody
    ASSERT_EQ(table.returns().count, counted(count));
    ASSERT_EQ(table.returns().marks, 0U);
  }
}

TEST_F(Tables, KeepTheirOwnersMarksUntilTheyAreTakenOff) {
  LeaseTable table{book_, 4, 1, true};
  EXPECT_EQ(table.mark(1).marks, 0U);
  EXPECT_EQ(table.mark(4).marks, 1U);
  Lease* const lease = table.take();
  const LeaseTable::Returns after = table.put(*lease);
  EXPECT_EQ(after.marks, 5U);
  EXPECT_EQ(after.count, LeaseTable::kFirstCount + 1);
  EXPECT_EQ(table.take(), lease) << "marks are no places";
  EXPECT_EQ(table.unmark(1).marks, 5U);
  EXPECT_EQ(table.returns().marks, 4U);
  EXPECT_EQ(table.returns().count, LeaseTable::kFirstCount + 1);
}

TEST_F(Tables, TakeALeaseBackOnlyIfTheirOwnerAgrees) {
  LeaseTable table{book_, 1};
  Lease* const lease = table.take();
  table.mark(2);
  const auto unmarked = [](LeaseTable::Returns now) {
    return now.marks == 0 && now.count == LeaseTable::kFirstCount + 1;
  };
  EXPECT_FALSE(table.put_if(*lease, unmarked));
  EXPECT_EQ(table.take(), nullptr);
  EXPECT_EQ(table.returns().count, LeaseTable::kFirstCount);
  table.unmark(2);
  EXPECT_TRUE(table.put_if(*lease, unmarked));
  EXPECT_EQ(table.take(), lease);
}

// A queue between the taker and the threads that give back.
template <class T>
class Hands {
 public:
  void give(T thing) {
    {
      const std::lock_guard lock{mutex_};
      things_.push_back(std::move(thing));
    }
    more_.notify_one();
  }
  bool take(T& thing, std::mt19937_64& random) {
    std::unique_lock lock{mutex_};
    more_.wait(lock, [this] { return !things_.empty() || closed_; });
    if (things_.empty()) return false;
    std::swap(things_[random() % things_.size()], things_.back());
    thing = std::move(things_.back());
    things_.pop_back();
    return true;
  }
  void close() {
    const std::lock_guard lock{mutex_};
    closed_ = true;
    more_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<T> things_;
  bool closed_ = false;
};

TEST_F(Tables, LendEachLeaseToOneHolderAtATimeThoughSeveralThreadsReturnThem) {
  constexpr std::uint32_t kLeases = 7;
  std::mt19937_64 random = random_generator();
  LeaseTable table{book_, kLeases};
  std::array<std::atomic<int>, kLeases> holders{};
  Hands<Lease*> hands;
  std::vector<std::thread> returners;
  for (int thread = 0; thread < 3; ++thread) {
    returners.emplace_back([&, seed = random()] {
      std::mt19937_64 own{seed};
      Lease* lease = nullptr;
      while (hands.take(lease, own)) {
        holders[lease->index]--;
        table.put(*lease);
      }
    });
  }
  for (int taken = 0; taken < 100'000;) {
    Lease* const lease = table.take();
    if (lease == nullptr) {
      std::this_thread::yield();
      continue;
    }
    ++taken;
    EXPECT_EQ(holders[lease->index]++, 0);
    hands.give(lease);
  }
  hands.close();
  for (std::thread& thread : returners) thread.join();
  std::uint32_t back = 0;
  while (table.take() != nullptr) ++back;
  EXPECT_EQ(back, kLeases);
}

class Pools : public TandemTest {
 protected:
  static constexpr std::uint32_t kBlocks = 5;
  static constexpr std::uint32_t kAreas = 3;
  static BlockLayout layout() {
    BlockLayout layout;
    layout.message_bytes = 40;
    layout.output_bytes = 100;
    return layout;
  }

  // As a crew lends: the child of a root that never ends.
  Lease* lend(std::uint32_t area = 0) {
    Lease* const lease = pool_->take(area);
    if (lease == nullptr) return nullptr;
    lease->root = &root_;
    root_.add(Part::graph);
    lease->open();
    return lease;
  }

  Pools() {
    root_.owner = &of_root_;
    root_.root = &root_;
    root_.open();
  }

  void TearDown() override {
    pool_.reset();
    segment_.reset();
    TandemTest::TearDown();
  }

  Book of_root_;
  Lease root_;
  std::unique_ptr<Segment> segment_ = std::make_unique<Segment>(8 << 20);
  std::unique_ptr<Pool> pool_ = pool_of(layout());

  std::unique_ptr<Pool> pool_of(const BlockLayout& layout) const {
    return std::make_unique<Pool>("node", *segment_, layout,
                                  BlockAreas{Segment::page_bytes(), layout.stride(), kBlocks, kAreas});
  }
};

TEST_F(Pools, CountWhatIsLent) {
  std::vector<Handle> items;
  for (std::uint32_t lent = 1; lent <= kBlocks; ++lent) {
    items.emplace_back(lend(), Part::graph);
    EXPECT_EQ(pool_->lent(), lent);
  }
  EXPECT_EQ(pool_->take(0), nullptr);
  EXPECT_EQ(pool_->take(1), nullptr);
  EXPECT_EQ(pool_->take_any(), nullptr);
  EXPECT_EQ(pool_->free(), 0U);
  items.clear();
  EXPECT_EQ(pool_->lent(), 0U);
}

TEST_F(Pools, LendBlocksThatDoNotOverlapAndAreAligned) {
  std::vector<Handle> items;
  std::set<std::byte*> blocks;
  for (std::uint32_t lent = 0; lent < kBlocks; ++lent) {
    Lease* const lease = lend(lent % kAreas);
    items.emplace_back(lease, Part::graph);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pool_->block(*lease)) % BlockLayout::kAlign, 0U);
    blocks.insert(pool_->block(*lease));
  }
  ASSERT_EQ(blocks.size(), kBlocks);
  for (auto next = std::next(blocks.begin()); next != blocks.end(); ++next) {
    EXPECT_GE(*next - *std::prev(next), 40 + 100);
  }
  EXPECT_GE(pool_->layout().output_offset(), 40U);
}

TEST_F(Pools, LendBlocksOfTheAreaThatWasAskedFor) {
  const BlockAreas where{Segment::page_bytes(), layout().stride(), kBlocks, kAreas};
  std::mt19937_64 random = random_generator();
  std::vector<Handle> items;
  for (int step = 0; step < 10'000; ++step) {
    const auto area = static_cast<std::uint32_t>(random() % kAreas);
    if (Lease* const lease = lend(area)) {
      const auto offset = static_cast<std::size_t>(pool_->block(*lease) - segment_->base());
      ASSERT_GE(offset, where.area_offset(area));
      ASSERT_LE(offset + layout().stride(), where.area_offset(area) + where.area_bytes());
      ASSERT_EQ(pool_->back(*lease), Pool::Backing::backed);
      std::memset(pool_->block(*lease), 1, layout().stride());
      items.emplace_back(lease, Part::graph);
    }
    while (items.size() == kBlocks || (!items.empty() && random() % 2 == 0)) {
      std::swap(items[random() % items.size()], items.back());
      items.pop_back();
    }
    Audit audit;
    pool_->audit(audit);
    ASSERT_TRUE(audit.balanced()) << audit.text();
  }
}

TEST_F(Pools, GiveUpTheBlockOfAnotherAreaOnlyWhenNoneIsLeft) {
  { const Handle first{lend(0), Part::graph}; }
  EXPECT_TRUE(pool_->has(0));
  EXPECT_TRUE(pool_->has(1));  // leases that have no block yet
  std::vector<Handle> items;
  for (std::uint32_t lent = 1; lent < kBlocks; ++lent) items.emplace_back(lend(1), Part::graph);
  EXPECT_TRUE(pool_->has(0));
  EXPECT_FALSE(pool_->has(1));
  EXPECT_GT(pool_->free(), 0U);

  items.emplace_back(lend(1), Part::graph);

  EXPECT_NE(items.back().get(), nullptr);
  EXPECT_EQ(pool_->free(), 0U);
}

// Pages exist for as many blocks as can be lent, whichever areas they were lent in.
TEST_F(Pools, HaveNoMorePagesThanBlocksThoughLargeOnesWanderBetweenAreas) {
  BlockLayout large;
  large.output_bytes = 10 * Segment::page_bytes();
  ASSERT_TRUE(large.is_large());
  pool_ = pool_of(large);
  for (std::uint32_t area = 0; area < kAreas; ++area) {
    std::vector<Handle> items;
    for (std::uint32_t lent = 0; lent < kBlocks; ++lent) {
      Lease* const lease = lend(area);
      ASSERT_NE(lease, nullptr);
      ASSERT_EQ(pool_->back(*lease), Pool::Backing::backed);
      std::memset(pool_->block(*lease), 1, large.stride());
      items.emplace_back(lease, Part::graph);
    }
  }
  struct stat file {};
  ASSERT_EQ(fstat(segment_->get_mapping_handle().handle, &file), 0);
  EXPECT_EQ(static_cast<std::size_t>(file.st_blocks) * 512, kBlocks * large.stride());
}

TEST_F(Pools, LendEachAreaItsPartOfALimit) {
  std::vector<Handle> items;
  const auto lends = [&](std::uint32_t area) {
    const bool has = pool_->has(area);
    Lease* const lease = lend(area);
    EXPECT_EQ(lease != nullptr, has);
    if (lease != nullptr) items.emplace_back(lease, Part::graph);
    return lease != nullptr;
  };
  pool_->limit(kAreas);
  for (std::uint32_t area = 0; area < kAreas; ++area) {
    EXPECT_TRUE(lends(area));
    EXPECT_FALSE(lends(area));
  }
  pool_->limit(kAreas + 1);
  EXPECT_FALSE(lends(1));
  EXPECT_TRUE(lends(0));
  EXPECT_FALSE(lends(0));
  items.clear();
  // One at least, whatever the limit: it may be the only area whose worker is left.
  pool_->limit(1);
  EXPECT_TRUE(lends(kAreas - 1));
  EXPECT_FALSE(lends(kAreas - 1));
}

TEST_F(Pools, GiveWhatIsOverToWhoIsFavoured) {
  pool_->limit(kAreas + 1, 2);
  const Handle first{lend(2), Part::graph};
  EXPECT_TRUE(pool_->has(2));
  const Handle other{lend(0), Part::graph};
  EXPECT_FALSE(pool_->has(0));
}

TEST_F(Pools, ShareALimitAmongTheAreasThatAreNotLeftOut) {
  pool_->limit(kAreas);
  pool_->leave_out(0);
  pool_->leave_out(2);
  std::vector<Handle> items;
  for (std::uint32_t lent = 0; lent < kAreas; ++lent) items.emplace_back(lend(1), Part::graph);
  EXPECT_NE(items.back().get(), nullptr);
  EXPECT_FALSE(pool_->has(1));
  pool_->leave_out(1);  // nobody is left
  EXPECT_FALSE(pool_->has(1));
}

TEST_F(Pools, LendAllToOneAreaWhereTheLimitIsAll) {
  std::vector<Handle> items;
  pool_->limit(kBlocks);
  while (Lease* const lease = lend(1)) items.emplace_back(lease, Part::graph);
  EXPECT_EQ(items.size(), kBlocks);
}

// Who fills them finds them in its cache.
TEST_F(Pools, LendTheSameBlocksAgainWithinALimit) {
  pool_->limit(kAreas);
  std::mt19937_64 random = random_generator();
  std::vector<Handle> items;
  std::set<std::byte*> blocks;
  for (int step = 0; step < 1000; ++step) {
    if (Lease* const lease = lend(static_cast<std::uint32_t>(random() % kAreas))) {
      blocks.insert(pool_->block(*lease));
      items.emplace_back(lease, Part::graph);
    }
    if (items.empty() || random() % 2 == 0) continue;
    std::swap(items[random() % items.size()], items.back());
    items.pop_back();
  }
  EXPECT_EQ(blocks.size(), kAreas);
}

TEST_F(Pools, GiveTheirBlocksPagesThatCanBeWritten) {
  Lease* const lease = lend();
  ASSERT_EQ(pool_->back(*lease), Pool::Backing::backed);
  std::memset(pool_->block(*lease), 1, layout().stride());
  const Handle end{lease, Part::graph};
}

TEST_F(Pools, LendNoMoreWhatWasWithdrawn) {
  Lease* const bad = lend();
  root_.drop(Part::graph);
  pool_->withdraw(*bad);
  EXPECT_EQ(pool_->usable(), kBlocks - 1);
  std::vector<Handle> items;
  while (Lease* const lease = lend()) {
    EXPECT_NE(lease, bad);
    items.emplace_back(lease, Part::graph);
  }
  EXPECT_EQ(items.size(), kBlocks - 1);
}

TEST_F(Pools, TellOfTheNextReturnAfterALendThatFoundNone) {
  int told = 0;
  pool_->on_returned = [&] { ++told; };
  std::vector<Handle> items;
  while (Lease* const lease = lend()) items.emplace_back(lease, Part::graph);
  EXPECT_EQ(told, 0);
  items.pop_back();
  EXPECT_EQ(told, 1);
  items.pop_back();
  EXPECT_EQ(told, 1);  // nobody asked in between
  while (Lease* const lease = lend()) items.emplace_back(lease, Part::graph);
  items.clear();
  EXPECT_EQ(told, 2);
}

TEST_F(Pools, LeaveNoTakerWaitingThoughSeveralThreadsReturnBlocks) {
  std::mt19937_64 random = random_generator();
  std::mutex mutex;
  std::condition_variable back;
  std::uint64_t told = 0;
  pool_->on_returned = [&] {
    const std::lock_guard lock{mutex};
    ++told;
    back.notify_one();
  };
  Hands<Handle> hands;
  std::vector<std::thread> returners;
  for (int thread = 0; thread < 3; ++thread) {
    returners.emplace_back([&, seed = random()] {
      std::mt19937_64 own{seed};
      Handle item;
      while (hands.take(item, own)) {
        if (own() % 2 == 0) item.leave_graph();
        item = Handle{};
      }
    });
  }
  std::uint64_t heard = 0;
  for (int taken = 0; taken < 100'000;) {
    {
      const std::lock_guard lock{mutex};
      heard = told;
    }
    if (Lease* const lease = lend()) {
      ++taken;
      hands.give(Handle{lease, Part::graph});
      continue;
    }
    std::unique_lock lock{mutex};
    if (!back.wait_for(lock, std::chrono::seconds{10}, [&] { return told != heard; })) {
      ADD_FAILURE() << "nobody told of a return, after " << taken;
      break;
    }
  }
  hands.close();
  for (std::thread& thread : returners) thread.join();
  EXPECT_EQ(pool_->lent(), 0U);
}

}  // namespace
}  // namespace tandem::test
