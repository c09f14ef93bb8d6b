// Death at any instruction: a worker process is killed before, and in another run after, every single store that it
// makes to shared memory, from its fork to its end. Each time the host delivers every message once, in order, with the
// right bytes, and nothing stays lent.
// labels: no_asan no_tsan
//
// The method: one run without a death tells how many stores a worker makes; then comes one run for each store and each
// moment, in which the worker is killed there. support/stepper.hpp says how the stores are caught. Nothing but a store
// to shared memory and a system call of a worker can reach the host; so between two stores only the system calls
// matter, and the last test kills at single instructions, where those are.
//
// What the host must make of a death:
//
//     at this store                     dead before it             dead after it
//     commit word = 0, reply "ready"    another worker is started  another worker is started
//     sleep word                        no message was begun: nothing is made again
//     output, error's text, reply       the message is made again  the message is made again
//     commit word of the reply          the message is made again  it is not: the reply counts
//
// So one store makes a message happen. The test finds it from the runs alone, and it must be the same for each message.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/line.hpp"
#include "support/stepper.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

constexpr std::uint64_t kMessages = 4;

class StepperTest : public TandemTest {
 protected:
  void SetUp() override {
    TandemTest::SetUp();
    if (!kCanStep) GTEST_SKIP() << "stepping over stores needs x86-64 and no sanitizer";
  }
};

// ---- messages and what is made of them -----------------------------------------------------------------------------

struct Letter {  // too large for a request: it lies in the item's block
  std::uint64_t value;
  std::uint64_t rest[7] = {};
};
static_assert(sizeof(Number) <= kInlineBytes && kInlineBytes < sizeof(Letter));

struct Made {
  std::uint64_t words[3];
};

template <class In>
In message(std::uint64_t number) {
  In in{number};
  if constexpr (std::is_same_v<In, Letter>) std::fill(std::begin(in.rest), std::end(in.rest), number * 77);
  return in;
}

std::uint64_t sum_of(const Number& in) { return in.value; }
std::uint64_t sum_of(const Letter& in) {
  std::uint64_t sum = in.value;
  for (const std::uint64_t word : in.rest) sum = sum * 3 + word;
  return sum;
}

std::uint64_t after(std::uint64_t word) { return word * 6364136223846793005U + 1442695040888963407U; }
template <class Words>
void fill(Words&& words, std::uint64_t sum) {
  for (std::uint64_t& word : words) word = sum = after(sum);
}
template <class Words>
bool is_filled(const Words& words, std::uint64_t sum) {
  return std::all_of(std::begin(words), std::end(words),
                     [&](std::uint64_t word) { return word == (sum = after(sum)); });
}

void make(std::uint64_t sum, Made& out) { fill(out.words, sum); }
void make(std::uint64_t sum, Arrays& out) { fill(out.span<std::uint64_t>("words"), sum); }
bool is_made(const Made& out, std::uint64_t sum) { return is_filled(out.words, sum); }
bool is_made(const Arrays& out, std::uint64_t sum) { return is_filled(out.span<std::uint64_t>("words"), sum); }

std::string text_of(std::uint64_t number) {
  std::string text = "no " + std::to_string(number) + ":";
  for (std::uint64_t word = 0; word < 3; ++word) text += " " + std::to_string(after(number + word));
  return text;
}

// ---- one life of a graph -------------------------------------------------------------------------------------------

struct Trial {
  bool at_once = false;  // several messages wait in the ring; otherwise one comes when the last one is back
  bool spare = false;
  bool odd_ones_fail = false;
  bool start_fails = false;
  bool wants_memory = false;         // each body asks for shared memory, and waits for it
  bool grows = false;                // the words' array is made larger, three times
  bool counts_instructions = false;  // from the end of message 1 to the beginning of message 2

  std::ptrdiff_t processes() const { return spare ? 2 : 1; }
  // Whether the stores are the same in each run: one process makes them all, and it sleeps before each message.
  // Not when it asks for memory: the pump, which answers, rings once more before it sleeps again, if it has not seen the end of the
  // message by then.
  bool exact() const { return !at_once && !spare && !wants_memory && !grows; }
  bool fails(std::uint64_t number) const { return start_fails || (odd_ones_fail && number % 2 == 1); }
  std::string reason(std::uint64_t number) const {
    return start_fails ? "start: " + text_of(0) : text_of(number);
  }
};

// What workers and host tell each other beside Tandem.
struct Witness {
  static constexpr std::size_t kMostProcesses = 8;
  std::array<std::atomic<pid_t>, kMostProcesses> processes{};  // as they were started
  std::atomic<std::size_t> started{0};
  Gate came_back;                                  // an item, to the consumer
  std::array<std::atomic<int>, kMessages> made{};  // how often each message was
};

bool is_asleep(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string number;
  std::string name;
  std::string state;
  return file >> number >> name >> state && state == "S";
}

// Nothing announces that a process sleeps, so this looks again and again. For one that is dead, another one comes.
// False when that does not happen for long: a broken library, but no hang.
bool wait_asleep(const Witness& witness, std::ptrdiff_t how_many) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{Gate::kPatienceSeconds};
  const auto& processes = witness.processes;
  while (std::count_if(processes.begin(), processes.end(), is_asleep) < how_many) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

template <class In>
struct Emitter {
  Witness* witness;
  Trial trial;
  std::uint64_t next = 0;

  std::optional<In> operator()() {
    if (!trial.at_once) {
      witness->came_back.wait(static_cast<std::uint32_t>(next));
      if (!wait_asleep(*witness, trial.processes())) return std::nullopt;
    }
    if (next == kMessages) return std::nullopt;
    return message<In>(next++);
  }
};

template <class In, class Out>
struct Maker {
  Witness* witness;
  Trial trial;

  void start() {
    Stepper::must_see_all();
    witness->processes.at(witness->started++) = getpid();
    if (trial.start_fails) throw std::runtime_error(text_of(0));
  }
  void operator()(const In& in, Out& out, Context& context) {
    Stepper::count_instructions(false);
    Stepper::must_see_all();
    ++witness->made.at(in.value);
    if (trial.wants_memory && array<std::uint64_t>(context, Shape{1000}).size() != 1000) std::abort();
    if constexpr (std::is_same_v<Out, Arrays>) {
      if (trial.grows) grow(sum_of(in), out);
    }
    make(sum_of(in), out);
    if (trial.fails(in.value)) throw std::runtime_error(text_of(in.value));
    Stepper::count_instructions(trial.counts_instructions && in.value == 1);
  }

  // Into a second piece and into a third, when the first goes back.
  static void grow(std::uint64_t sum, Arrays& out) {
    for (const std::size_t rows : {1U, 600U, 1200U}) {
      out.grow("words", rows);
      if (rows == 1) out.span<std::uint64_t>("words")[0] = sum;
      if (out.span<std::uint64_t>("words")[0] != sum) std::abort();
      out.set_extent("words", 4);
    }
  }
};

struct Life {
  std::vector<Stepper::Store> stores;
  std::uint32_t instructions = 0;
  std::uint32_t deaths = 0;
  std::vector<int> made;  // how often each message was

  bool begins_with(const std::vector<Stepper::Store>& others) const {
    return others.size() <= stores.size() && std::equal(others.begin(), others.end(), stores.begin());
  }
  std::optional<std::size_t> made_again() const {
    for (std::size_t number = 0; number < made.size(); ++number) {
      if (made[number] > 1) return number;
    }
    return std::nullopt;
  }
};

class DeathAtEveryStore : public StepperTest {
 protected:
  static Config config(const Trial& trial) {
    return placed({"process", 1}, {"work"},
                  {{"in_flight", std::to_string(kMessages)},
                   {"grace", "20 s"},
                   {"node.work.spares", trial.spare ? "1" : "0"}});
  }

  // Whatever the deaths, all comes out as it should.
  template <class In, class Out>
  static Life live(const Trial& trial, const std::vector<Death>& deaths) {
    const Stepper stepper{deaths};
    const Shared<Witness> witness;
    const Emitter<In> emitter{witness.get(), trial};
    const Maker<In, Out> maker{witness.get(), trial};
    if constexpr (std::is_same_v<Out, Arrays>) {
      const ArraySpec words =
          trial.grows ? array<std::uint64_t>("words", {0}).grows() : array<std::uint64_t>("words", {4});
      Line<Out, In> line{config(trial), emitter, {words}, maker};
      expect_all(line, trial, *witness);
      EXPECT_EQ(line.runtime.arrays().size(), 0U);
    } else {
      Line<Out, In> line{config(trial), emitter, maker};
      const auto kept = trial.wants_memory ? line.runtime.template array<int>(Shape{1}) : SharedArray<int>{};
      expect_all(line, trial, *witness);
      EXPECT_EQ(line.runtime.arrays().size(), trial.wants_memory ? 1U : 0U);
    }
    Life life{stepper.stores(),
              stepper.instructions(),
              stepper.deaths(),
              {witness->made.begin(), witness->made.end()}};
    for (const int times : life.made) EXPECT_LE(times, 1 + static_cast<int>(life.deaths));
    return life;
  }

  template <class In, class Out>
  static void expect_all(Line<Out, In>& line, const Trial& trial, Witness& witness) {
    for (std::uint64_t number = 0; number < kMessages; ++number) {
      try {
        const auto item = line.stream.next();
        ASSERT_TRUE(item) << "the end came before message " << number;
        ASSERT_EQ(item->sequence(), number);
        ASSERT_FALSE(trial.fails(number));
        ASSERT_TRUE(is_made(**item, sum_of(message<In>(number)))) << "message " << number;
      } catch (const ProducerError& error) {
        ASSERT_EQ(error.sequence(), number);
        ASSERT_TRUE(trial.fails(number)) << error.what();
        ASSERT_EQ(error.failure().reason, trial.reason(number));
      }
      witness.came_back.open();
    }
    ASSERT_FALSE(line.stream.next()) << "a message more than there were";
    line.runtime.stop();
    ASSERT_EQ(line.runtime.lent_blocks(), 0U);
    ASSERT_EQ(line.runtime.live_messages(), 0U);
    ASSERT_TRUE(line.runtime.audit().balanced()) << line.runtime.audit().text();
  }

  // A bell that is rung late lets the worker look once more for nothing, and the stores that follow come two later.
  // Such a life must be as good as any, but another one takes its place in the count.
  static constexpr int kMostLate = 20;
  static inline int disturbed = 0;  // lives
  // Late bells only add stores, but two lives may have the same ones by chance: so the one with the fewest counts, of so many at least.
  static constexpr int kLeastLives = 4;

  template <class In, class Out>
  static Life live_undisturbed(const Trial& trial) {
    Life life = live<In, Out>(trial, {});
    EXPECT_EQ(life.deaths, 0U);
    if (!trial.exact()) return life;
    bool seen_twice = false;
    for (int lives = 1; lives < kMostLate && !HasFailure(); ++lives) {
      if (lives >= kLeastLives && seen_twice) return life;
      Life next = live<In, Out>(trial, {});
      const bool fewer = next.stores.size() < life.stores.size();
      seen_twice = !fewer && (seen_twice || next.stores == life.stores);
      if (fewer) life = std::move(next);
    }
    ADD_FAILURE() << "the stores of two runs are never the same";
    return life;
  }

  // Where the machine was held up during all of the first lives, these had the same late bells: then one without a death that has fewer
  // stores takes the place of the life that the others are compared with.
  template <class In, class Out>
  static Life die(const Trial& trial, Death death, Life& undisturbed) {
    SCOPED_TRACE((death.at == Death::before_store ? "dead before store " : "dead after store ") +
                 std::to_string(death.number));
    for (int late = 0; late < kMostLate; ++late) {
      Life life = live<In, Out>(trial, {death});
      if (HasFailure() || !trial.exact() || life.deaths == 0) return life;
      life.stores.resize(death.number);  // those up to its death
      if (undisturbed.begins_with(life.stores)) return life;
      ++disturbed;
    }
    Life again = live_undisturbed<In, Out>(trial);
    EXPECT_LT(again.stores.size(), undisturbed.stores.size())
        << "the stores before it are never those of the run without a death";
    undisturbed = std::move(again);
    return {};
  }

  // A life for each store and each moment, until there is no such store.
  template <class In, class Out>
  static void die_everywhere(const Trial& trial, std::size_t least_stores) {
    const auto begin = std::chrono::steady_clock::now();
    disturbed = 0;
    Life undisturbed = live_undisturbed<In, Out>(trial);
    std::vector<Life> lives;
    std::set<std::uintptr_t> instructions;
    for (std::uint32_t store = 1;; ++store) {
      const std::size_t stores = undisturbed.stores.size();
      Life before = die<In, Out>(trial, {Death::before_store, store}, undisturbed);
      Life after = die<In, Out>(trial, {Death::after_store, store}, undisturbed);
      if (trial.exact() && undisturbed.stores.size() < stores && !HasFailure()) {  // all over again
        store = 0;
        lives.clear();
        instructions.clear();
        continue;
      }
      if (HasFailure() || before.deaths == 0 || after.deaths == 0) break;
      instructions.insert(before.stores.at(store - 1).instruction);
      lives.push_back(std::move(before));
      lives.push_back(std::move(after));
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << "a worker died before and after each of " << lives.size() / 2 << " stores, made by "
              << instructions.size() << " instructions (" << static_cast<int>(took.count()) << " ms); "
              << disturbed << " lives were disturbed\n";
    EXPECT_GE(lives.size() / 2, least_stores) << "not all of its stores were seen";
    if (!trial.exact() || HasFailure()) return;
    EXPECT_EQ(lives.size() / 2, undisturbed.stores.size());
    expect_one_store_makes_each_happen(lives);
  }

  // lives[2 * n] died before the store of number n + 1, and lives[2 * n + 1] after it.
  static void expect_one_store_makes_each_happen(const std::vector<Life>& lives) {
    std::set<std::size_t> places;
    for (std::size_t number = 0; number < kMessages; ++number) {
      const auto made_again = [number](const Life& life) { return life.made_again() == number; };
      const auto first = std::find_if(lives.begin(), lives.end(), made_again);
      const auto end = std::find_if_not(first, lives.end(), made_again);
      ASSERT_NE(first, end) << "message " << number << " was never under way at a death";
      EXPECT_EQ(std::count_if(end, lives.end(), made_again), 0)
          << "message " << number << " happened, and was made again";
      const auto last = static_cast<std::size_t>(end - lives.begin()) - 1;
      EXPECT_EQ(last % 2, 0U) << "message " << number << ": no store makes it happen";
      places.insert(lives[last].stores.at(last / 2).offset);
    }
    EXPECT_EQ(places.size(), 1U) << "messages happen by stores to several places";
  }
};

// At least, a worker's start stores its reply and that one's commit word; and each message its output or text, its reply,
// the commit word, and the sleep word twice.
constexpr std::size_t kLeast = 2 + kMessages * 3;
constexpr std::size_t kLeastWithSleep = 2 + kMessages * 5;

TEST_F(DeathAtEveryStore, LosesNothingOfAStruct) { die_everywhere<Number, Made>({}, kLeastWithSleep); }

TEST_F(DeathAtEveryStore, LosesNothingOfArrays) { die_everywhere<Number, Arrays>({}, kLeastWithSleep); }

TEST_F(DeathAtEveryStore, LosesNoMemoryThatABodyAsksFor) {
  die_everywhere<Number, Made>({.wants_memory = true}, kLeastWithSleep + kMessages * 2);
}

TEST_F(DeathAtEveryStore, LosesNoMemoryOfArraysThatGrow) {
  die_everywhere<Number, Arrays>({.grows = true}, kLeastWithSleep + kMessages * 3 * 2);
}

TEST_F(DeathAtEveryStore, LosesNoMessageInABlock) { die_everywhere<Letter, Made>({}, kLeastWithSleep); }

TEST_F(DeathAtEveryStore, LosesNoError) {
  die_everywhere<Number, Made>({.odd_ones_fail = true}, kLeastWithSleep);
}

TEST_F(DeathAtEveryStore, LosesNoMessageThatWaitsInTheRing) {
  die_everywhere<Number, Made>({.at_once = true}, kLeast);
}

TEST_F(DeathAtEveryStore, LosesNoErrorOfAStart) {
  die_everywhere<Number, Made>({.at_once = true, .start_fails = true}, 3);
}

TEST_F(DeathAtEveryStore, LosesNothingWithASpare) { die_everywhere<Number, Made>({.spare = true}, kLeast); }

TEST_F(DeathAtEveryStore, LosesNothingIfTheNextWorkerDiesToo) {
  std::mt19937_64 random = random_generator();
  const auto at = [&] { return random() % 2 == 0 ? Death::before_store : Death::after_store; };
  const auto stores = static_cast<std::uint32_t>(live_undisturbed<Number, Made>({}).stores.size());
  std::uint32_t deaths = 0;
  for (std::uint32_t store = 1; store <= stores && !HasFailure(); ++store) {
    const std::uint32_t second = store + 1 + static_cast<std::uint32_t>(random() % stores);
    SCOPED_TRACE("dead at stores " + std::to_string(store) + " and " + std::to_string(second));
    deaths += live<Number, Made>({}, {{at(), store}, {at(), second}}).deaths;
  }
  std::cout << deaths << " deaths in " << stores << " runs\n";
  EXPECT_GT(deaths, stores + stores / 4);
}

class DeathAtAnyInstruction : public DeathAtEveryStore {};

// TANDEM_TEST_EVERY_INSTRUCTION=1: not only some of them, but all.
TEST_F(DeathAtAnyInstruction, BetweenTwoMessagesLosesNothing) {
  const Trial trial{.counts_instructions = true};
  const std::uint32_t all = live<Number, Made>(trial, {}).instructions;
  constexpr std::uint32_t kSome = 200;
  const bool each = std::getenv("TANDEM_TEST_EVERY_INSTRUCTION") != nullptr || all < kSome;
  const std::uint32_t stride = each ? 1 : all / kSome;
  std::uint32_t deaths = 0;
  std::mt19937_64 random = random_generator();
  for (auto next = static_cast<std::uint32_t>(1 + random() % stride); next <= all && !HasFailure();
       next += stride) {
    SCOPED_TRACE("dead after instruction " + std::to_string(next));
    deaths += live<Number, Made>(trial, {{Death::after_instruction, next}}).deaths;
  }
  std::cout << "a worker died after " << deaths << " of " << all << " instructions\n";
  EXPECT_GT(deaths, all / stride / 2);
}

// ---- the stepper itself --------------------------------------------------------------------------------------------

#if defined(__x86_64__)

struct Effect {
  std::size_t offset;
  std::size_t bytes;
};
constexpr std::size_t kPage = 4096;
const std::vector<Effect> kEffects{{0, 8}, {kPage - 4, 8}, {64, 1}, {65, 1}, {66, 1}, {0, 0}, {128, 16}};

// Sets the bytes of each effect in its turn, by an instruction of another sort.
void store_in_many_ways(std::byte* memory) {
  const std::uint64_t ones = ~std::uint64_t{0};
  asm volatile("movq %1, %0" : "=m"(memory[0]) : "r"(ones) : "memory");
  asm volatile("movq %1, %0" : "=m"(memory[kPage - 4]) : "r"(ones) : "memory");  // into two pages
  void* to = memory + 64;
  std::size_t count = 3;
  asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0xFF) : "memory");
  std::uint64_t wanted = 1;  // it holds another number, and keeps it
  asm volatile("lock cmpxchgq %2, %1" : "+a"(wanted), "+m"(memory[0]) : "r"(std::uint64_t{2}) : "memory", "cc");
  asm volatile("pcmpeqd %%xmm0, %%xmm0\n\tmovups %%xmm0, %0" : "=m"(memory[128]) : : "memory", "xmm0");
}

class StoresOfAChild : public StepperTest {
 protected:
  void SetUp() override {
    StepperTest::SetUp();
    if (IsSkipped()) return;
    const int file = memfd_create("tandem", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(file, 2 * kPage), 0);
    memory_ = static_cast<std::byte*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    close(file);
    ASSERT_NE(memory_, MAP_FAILED);
  }
  void TearDown() override {
    if (memory_ != nullptr) munmap(memory_, 2 * kPage);
    StepperTest::TearDown();
  }

  // The status of a watched child that calls this.
  template <class Call>
  static int status_of(Call call) {
    const pid_t child = fork();
    if (child == 0) {
      Stepper::watch();
      Stepper::must_see_all();
      _exit(call() ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
  }

  void expect_effects(std::size_t how_many) const {
    std::vector<std::byte> wanted(2 * kPage);
    for (std::size_t number = 0; number < how_many; ++number) {
      std::memset(&wanted[kEffects[number].offset], 0xFF, kEffects[number].bytes);
    }
    EXPECT_EQ(std::memcmp(memory_, wanted.data(), wanted.size()), 0) << how_many;
  }

  std::byte* memory_ = nullptr;
};

TEST_F(StoresOfAChild, AreCountedOnceEachOfAnySort) {
  const Stepper stepper;
  EXPECT_EQ(status_of([this] { return store_in_many_ways(memory_), true; }), 0);
  std::vector<std::size_t> offsets;
  for (const Stepper::Store& store : stepper.stores()) offsets.push_back(store.offset);
  EXPECT_EQ(offsets, (std::vector<std::size_t>{0, kPage - 4, 64, 65, 66, 0, 128}));
  expect_effects(kEffects.size());
}

TEST_F(StoresOfAChild, EndWhereItDies) {
  for (std::uint32_t number = 1; number <= kEffects.size(); ++number) {
    for (const Death::At at : {Death::before_store, Death::after_store}) {
      std::memset(memory_, 0, 2 * kPage);
      const Stepper stepper{{{at, number}}};
      EXPECT_EQ(status_of([this] { return store_in_many_ways(memory_), true; }), SIGKILL);
      EXPECT_EQ(stepper.deaths(), 1U);
      expect_effects(at == Death::before_store ? number - 1 : number);
    }
  }
}

TEST_F(StoresOfAChild, AreSeenAfterItsMemoryWasClosedAndOpened) {
  const Stepper stepper;
  EXPECT_EQ(status_of([this] {
              mprotect(memory_, 2 * kPage, PROT_READ);
              mprotect(memory_, kPage, PROT_READ | PROT_WRITE);
              memory_[5] = std::byte{1};
              Stepper::must_see_all();
              return true;
            }),
            0);
  EXPECT_EQ(stepper.stores().size(), 1U);
}

TEST_F(StoresOfAChild, ToMemoryThatItClosedEndIt) {
  const Stepper stepper;
  EXPECT_EQ(status_of([this] {
              mprotect(memory_ + kPage, kPage, PROT_READ);
              memory_[kPage] = std::byte{1};
              return true;
            }),
            SIGSEGV);
  EXPECT_EQ(stepper.stores().size(), 0U);
}

TEST_F(StoresOfAChild, ByTheKernelAreRefused) {
  const Stepper stepper;
  EXPECT_EQ(status_of([this] {
              const int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
              return read(zeros, memory_, 8) == -1 && errno == EFAULT;
            }),
            0);
}

#endif

}  // namespace
}  // namespace tandem::test
