#pragma once

#include <ucontext.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

// Runs a few small threads one step at a time, on a memory of its own, in all the ways that C++ allows.
//
// A step is an operation on a simulated atomic. Before each one, the scheduler chooses which thread goes on; at
// a load, also which of the values that the memory model lets this thread see is read. The choices are tried
// depth first, up to a number of *deviations* (a thread interrupted although it could go on, a value read that
// is not the newest, a sleep that ends early), then at random.
//
// The memory: each word has the list of the values that were stored to it, in order. Each thread has a view:
// how old a value it may still see of each word. A release store carries its thread's view, an acquire load
// takes it over, and sequentially consistent fences pass views on in their order. This is the C++ model without
// loads that run ahead of earlier ones, and with stores to a word in the order in which they are executed; that
// is exact where only one thread stores to a word, or all do it by read-modify-write, as everywhere in Tandem.
// Plain bytes are real memory, with vector clocks: two accesses that nothing orders are a failure.
//
// Fibers run the threads. An execution may be given up in the middle, so what lies on a thread's stack must
// not need its destructor.

namespace tandem::test {

inline constexpr std::size_t kMostThreads = 4;  // with the one that sets the scene, which is number 0
inline constexpr std::size_t kMostWords = 12;

struct Bounds {
  int deviations;
  std::uint64_t executions;  // of the search with bounded deviations, at most
  std::uint64_t random;      // further ones, without a bound on deviations
};

struct Exploration {
  std::uint64_t executions = 0;
  bool complete = false;                         // all executions within the bound on deviations were run
  std::string failure;                           // with the steps that led to it; empty when there was none
  std::map<std::string, std::uint64_t> reached;  // how many executions said so
};

/// The futexes, fences and bytes are SharedMemory's; see <tandem/shared_memory.hpp>.
class Scheduler {
 public:
  /// What a thread knows: how many values of each word it has seen go by, and of the others' steps.
  struct View {
    std::array<std::uint16_t, kMostWords> seen{};
    std::array<std::uint16_t, kMostThreads> clock{};
    void join(const View& other) noexcept;
  };
  struct Mutex {
    bool locked = false;
    View view;
  };

  /// Runs Scenes, each of which is made anew, until one fails or the bounds are reached. Its constructor makes
  /// its threads; its end(), if all of them came to their end, checks what is left.
  template <class Scene>
  static Exploration explore(const Bounds& bounds, std::mt19937_64 random) {
    Scheduler scheduler{bounds, random};
    std::optional<Scene> scene;
    while (scheduler.next_execution()) {
      scene.emplace();
      try {
        if (scheduler.run_threads()) scene->end();
      } catch (const Failed&) {}
      scene.reset();
    }
    return std::move(scheduler.result_);
  }

  static Scheduler& now();

  // For scenes.
  int thread(const char* name, std::function<void()> body);
  /// The thread may die before any of its steps, and in the middle of a plain write.
  void make_mortal(int thread);
  /// The thread begins only when another calls start().
  void make_late(int thread);

  // For threads.
  /// Ends the execution, and the exploration: a failure.
  [[noreturn]] void fail(const std::string& what);
  void check(bool right, const std::string& what) {
    if (!right) fail(what);
  }
  void reach(const char* what) { reached_[what] = true; }
  /// Waits until something was stored that this thread has not seen; from then on it sees all that is there. A
  /// loop that looks again and again needs it: every store is seen after a finite time.
  void pause();
  /// Waits for a thread's end or death, as a pidfd does: all that it has done is seen.
  void wait_end(int thread);
  void start(int thread);
  void lock(Mutex& mutex);
  void unlock(Mutex& mutex);
  /// An eventfd: its counter is the scene's.
  void ring_event(std::uint32_t& count);
  void wait_event(const std::uint32_t& count);

  // For simulated memory.
  std::uint32_t new_word(std::uint64_t value);
  void name_word(std::uint32_t word, const char* name) { words_[word].name = name; }
  std::uint64_t load(std::uint32_t word, std::memory_order order);
  void store(std::uint32_t word, std::uint64_t value, std::memory_order order);
  std::uint64_t fetch_add(std::uint32_t word, std::uint64_t more, std::memory_order order);
  void fence();
  /// compare: false for a sleep that does not look at the word, which no futex is.
  void futex_wait(std::uint32_t word, std::uint64_t heard, bool compare);
  void futex_wake(std::uint32_t word);
  void write(std::byte* to, const void* from, std::size_t bytes);
  void read(void* to, const std::byte* from, std::size_t bytes);

 private:
  static constexpr std::uint32_t kNoWord = ~std::uint32_t{0};
  struct Failed {};
  struct Message {
    std::uint64_t value;
    View view;
  };
  struct Word {
    const char* name = nullptr;
    std::vector<Message> messages;
  };
  struct Thread {
    const char* name = "scene";
    std::function<void()> body;
    std::function<bool()> until;  // set while it is blocked
    const char* blocked_in = nullptr;
    View view;
    View acquired;  // by relaxed loads: takes effect at the next fence
    View released;  // at the last fence: goes with relaxed stores
    bool mortal = false;
    bool started = true;
    bool ended = false;
    bool dead = false;
    std::uint32_t sleeps_on = kNoWord;  // in a futex
    ucontext_t context{};
    std::unique_ptr<std::byte[]> stack;
  };
  struct Data {  // plain bytes
    const std::byte* address;
    std::size_t bytes;
    std::size_t writer;
    std::uint16_t written;
    std::array<std::uint16_t, kMostThreads> read;
  };
  struct Choice {
    std::uint32_t taken;
    std::uint32_t options;
  };
  struct Step {
    std::size_t thread;
    const char* what;
    std::uint32_t word;
    std::uint64_t value;
    const char* more;
  };

  Scheduler(const Bounds& bounds, std::mt19937_64 random);
  bool next_execution();
  bool advance();
  bool run_threads();
  [[noreturn]] static void enter();

  Thread& me() { return threads_[current_]; }
  std::uint32_t choose(std::uint32_t options, int cost);
  static bool runnable(const Thread& thread) {
    return thread.started && !thread.ended && !thread.dead && (!thread.until || thread.until());
  }
  void step();
  void block(const char* in, std::function<bool()> until);
  void go_on(bool preempts);
  void switch_to(std::size_t thread);
  void leave();
  void die_or_not();
  void tick() { ++me().view.clock[current_]; }
  std::size_t read_message(std::uint32_t word, std::memory_order order);
  void pass_on_views();
  Data& data_at(const std::byte* address, std::size_t bytes);
  void note(const char* what, std::uint32_t word, std::uint64_t value, const char* more = "") {
    steps_.push_back({current_, what, word, value, more});
  }
  void record_failure(const std::string& what);
  std::string describe_steps() const;

  const Bounds bounds_;
  std::mt19937_64 random_;
  Exploration result_;

  // The search.
  std::vector<Choice> path_;
  std::size_t depth_ = 0;
  int deviations_ = 0;
  bool at_random_ = false;
  std::uint64_t random_left_;
  std::uint64_t boldness_ = 1;

  // One execution.
  std::array<Thread, kMostThreads> threads_;
  std::size_t thread_count_ = 1;
  std::size_t current_ = 0;
  std::vector<Word> words_;
  std::size_t word_count_ = 0;
  std::vector<Data> data_;
  View fences_;
  std::vector<Step> steps_;
  std::map<std::string, bool> reached_;
  bool failed_ = false;
};

/// The part of std::atomic that Tandem's shared words use. Registers itself in the current execution.
template <class T>
class SimulatedAtomic {
 public:
  explicit SimulatedAtomic(T value) : word_{Scheduler::now().new_word(value)} {}
  SimulatedAtomic(const SimulatedAtomic&) = delete;
  SimulatedAtomic& operator=(const SimulatedAtomic&) = delete;

  T load(std::memory_order order) const { return static_cast<T>(Scheduler::now().load(word_, order)); }
  void store(T value, std::memory_order order) { Scheduler::now().store(word_, value, order); }
  T fetch_add(T more, std::memory_order order) {
    return static_cast<T>(Scheduler::now().fetch_add(word_, more, order));
  }
  void name(const char* name) const { Scheduler::now().name_word(word_, name); }
  std::uint32_t word() const noexcept { return word_; }

 private:
  std::uint32_t word_;
};

/// Stands where SharedMemory stands in the product.
struct SimulatedMemory {
  template <class T>
  using Atomic = SimulatedAtomic<T>;

  static void fence() { Scheduler::now().fence(); }
  template <class T>
  static void write(std::byte* to, const T& value) {
    Scheduler::now().write(to, &value, sizeof value);
  }
  static void read(void* to, const std::byte* from, std::size_t bytes) {
    Scheduler::now().read(to, from, bytes);
  }
  static void wait(const SimulatedAtomic<std::uint32_t>& word, std::uint32_t heard) {
    Scheduler::now().futex_wait(word.word(), heard, true);
  }
  static void wake(const SimulatedAtomic<std::uint32_t>& word) { Scheduler::now().futex_wake(word.word()); }
};

// Weakened copies of the memory: for one side of a protocol, where both sides must see the same words.

struct WithoutFences : SimulatedMemory {
  static void fence() {}
};

template <class T>
struct RelaxedAtomic : SimulatedAtomic<T> {
  using SimulatedAtomic<T>::SimulatedAtomic;
  T load(std::memory_order) const { return SimulatedAtomic<T>::load(std::memory_order_relaxed); }
  void store(T value, std::memory_order) { SimulatedAtomic<T>::store(value, std::memory_order_relaxed); }
};
struct RelaxedOrders : SimulatedMemory {
  template <class T>
  using Atomic = RelaxedAtomic<T>;
};

/// A bell that wakes whoever sleeps just then, and leaves nothing for who comes later.
struct BareWakeUps : SimulatedMemory {
  static void wait(const SimulatedAtomic<std::uint32_t>& word, std::uint32_t heard) {
    Scheduler::now().futex_wait(word.word(), heard, false);
  }
};

}  // namespace tandem::test
