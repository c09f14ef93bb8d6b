#include "scheduler.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <fmt/format.h>

namespace tandem::test {
namespace {

constexpr std::size_t kStackBytes = 256 * 1024;  // formatting a failure takes most
constexpr std::size_t kMostSteps = 2'000;        // more means threads that run round in circles

Scheduler* current_scheduler = nullptr;

bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_acq_rel;
}
bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel;
}
const char* name_of(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed: return "relaxed";
    case std::memory_order_acquire: return "acquire";
    case std::memory_order_release: return "release";
    case std::memory_order_acq_rel: return "acq_rel";
    default: throw std::logic_error("an order that the simulated memory does not have");
  }
}

}  // namespace

void Scheduler::View::join(const View& other) noexcept {
  for (std::size_t i = 0; i < kMostWords; ++i) seen[i] = std::max(seen[i], other.seen[i]);
  for (std::size_t i = 0; i < kMostThreads; ++i) clock[i] = std::max(clock[i], other.clock[i]);
}

Scheduler& Scheduler::now() { return *current_scheduler; }

Scheduler::Scheduler(const Bounds& bounds, std::mt19937_64 random)
    : bounds_{bounds}, random_{random}, random_left_{bounds.random} {
  words_.resize(kMostWords);
}

// ---- the search ----------------------------------------------------------------------------------------------

bool Scheduler::next_execution() {
  current_scheduler = this;
  if (result_.executions > 0) {
    for (const auto& [what, is_so] : reached_) ++result_.reached[what];
    if (failed_ || !advance()) return false;
  }
  ++result_.executions;
  depth_ = 0;
  deviations_ = 0;
  for (std::size_t thread = 0; thread < thread_count_; ++thread) {
    std::unique_ptr<std::byte[]> stack = std::move(threads_[thread].stack);
    threads_[thread] = Thread{};
    threads_[thread].stack = std::move(stack);
  }
  thread_count_ = 1;
  current_ = 0;
  threads_[0].view.clock[0] = 1;
  for (Word& word : words_) word.messages.clear();
  word_count_ = 0;
  data_.clear();
  fences_ = View{};
  steps_.clear();
  reached_.clear();
  return true;
}

bool Scheduler::advance() {
  if (!at_random_) {
    while (!path_.empty() && path_.back().taken + 1 == path_.back().options) path_.pop_back();
    result_.complete = path_.empty();
    if (!path_.empty()) {
      ++path_.back().taken;
      if (result_.executions < bounds_.executions) return true;
    }
    at_random_ = true;
  }
  if (random_left_ == 0) return false;
  --random_left_;
  boldness_ = std::uint64_t{2} << (random_() % 4);  // from one deviation in two choices to one in sixteen
  return true;
}

// Of `options`, of which all but the first cost so many deviations.
std::uint32_t Scheduler::choose(std::uint32_t options, int cost) {
  if (options == 1) return 0;
  if (at_random_) {
    if (cost > 0 && random_() % boldness_ != 0) return 0;
    return static_cast<std::uint32_t>(random_() % options);
  }
  if (deviations_ + cost > bounds_.deviations) return 0;
  if (depth_ == path_.size()) path_.push_back({0, options});
  const Choice choice = path_[depth_++];
  if (choice.options != options) throw std::logic_error("a scene that does not repeat itself");
  if (choice.taken != 0) deviations_ += cost;
  return choice.taken;
}

// ---- threads -------------------------------------------------------------------------------------------------

int Scheduler::thread(const char* name, std::function<void()> body) {
  if (thread_count_ == kMostThreads) throw std::logic_error("more threads than kMostThreads");
  Thread& made = threads_[thread_count_];
  made.name = name;
  made.body = std::move(body);
  return static_cast<int>(thread_count_++);
}

void Scheduler::make_mortal(int thread) { threads_[static_cast<std::size_t>(thread)].mortal = true; }

void Scheduler::make_late(int thread) { threads_[static_cast<std::size_t>(thread)].started = false; }

void Scheduler::start(int thread) {
  Thread& other = threads_[static_cast<std::size_t>(thread)];
  step();
  note("starts", kNoWord, 0, other.name);
  other.started = true;
  other.view.join(me().view);
  tick();
}

// Returns true when all threads came to their end, or died where they may.
bool Scheduler::run_threads() {
  failed_ = false;
  for (std::size_t number = 1; number < thread_count_; ++number) {
    Thread& made = threads_[number];
    made.view = threads_[0].view;  // what the scene did has happened before
    made.view.clock[number] = 1;
    if (!made.stack) made.stack = std::make_unique<std::byte[]>(kStackBytes);
    getcontext(&made.context);
    made.context.uc_stack.ss_sp = made.stack.get();
    made.context.uc_stack.ss_size = kStackBytes;
    made.context.uc_link = nullptr;
    makecontext(&made.context, reinterpret_cast<void (*)()>(&Scheduler::enter), 0);
  }
  go_on(false);
  // Back here: failed, or nobody can go on.
  if (failed_) return false;
  for (std::size_t number = 1; number < thread_count_; ++number) {
    if (!threads_[number].ended && !threads_[number].dead) {
      record_failure("nobody can go on: a lost wake-up");
      return false;
    }
    threads_[0].view.join(threads_[number].view);
  }
  return true;
}

void Scheduler::enter() {
  now().me().body();
  now().me().ended = true;
  now().leave();
  std::abort();
}

void Scheduler::leave() { go_on(false); }

// Chooses who goes on. preempts: the current thread could.
void Scheduler::go_on(bool preempts) {
  std::array<std::size_t, kMostThreads> able{};
  std::uint32_t count = 0;
  if (preempts) able[count++] = current_;
  for (std::size_t number = 1; number < thread_count_; ++number) {
    if (preempts && number == current_) continue;
    if (runnable(threads_[number])) able[count++] = number;
  }
  if (count == 0) return switch_to(0);
  switch_to(able[choose(count, preempts ? 1 : 0)]);
}

void Scheduler::switch_to(std::size_t thread) {
  if (thread == current_) return;
  Thread& from = me();
  current_ = thread;
  swapcontext(&from.context, &me().context);
}

void Scheduler::die_or_not() {
  if (!me().mortal || choose(2, 0) == 0) return;
  note("dies", kNoWord, 0);
  me().dead = true;
  leave();
}

// Before each operation that others can see.
void Scheduler::step() {
  if (current_ == 0) return;
  if (steps_.size() > kMostSteps) fail("threads run round in circles");
  go_on(true);
  die_or_not();
}

void Scheduler::block(const char* in, std::function<bool()> until) {
  if (until()) return;
  me().blocked_in = in;
  me().until = std::move(until);
  go_on(false);
  me().until = nullptr;
}

void Scheduler::pause() {
  block("pause", [this, &view = me().view] {
    for (std::size_t word = 0; word < word_count_; ++word) {
      if (view.seen[word] + 1U != words_[word].messages.size()) return true;
    }
    return false;
  });
  for (std::size_t word = 0; word < word_count_; ++word) {
    me().view.seen[word] = static_cast<std::uint16_t>(words_[word].messages.size() - 1);
  }
}

void Scheduler::wait_end(int thread) {
  const Thread& other = threads_[static_cast<std::size_t>(thread)];
  step();
  block("wait_end", [&other] { return other.ended || other.dead; });
  note("learns the end of", kNoWord, 0, other.name);
  me().view.join(other.view);
}

void Scheduler::lock(Mutex& mutex) {
  step();
  block("lock", [&mutex] { return !mutex.locked; });
  note("lock", kNoWord, 0);
  mutex.locked = true;
  me().view.join(mutex.view);
}

void Scheduler::unlock(Mutex& mutex) {
  note("unlock", kNoWord, 0);
  mutex.locked = false;
  mutex.view.join(me().view);
  tick();
}

void Scheduler::wait_event(const std::uint32_t& count) {
  step();
  pass_on_views();
  note("wait event", kNoWord, count);
  if (count == 0 && choose(2, 1) == 1) return note("ends early", kNoWord, 0);
  block("wait event", [&count] { return count > 0; });
}

void Scheduler::ring_event(std::uint32_t& count) {
  step();
  pass_on_views();
  ++count;
  note("ring event", kNoWord, count);
}

// ---- memory --------------------------------------------------------------------------------------------------

std::uint32_t Scheduler::new_word(std::uint64_t value) {
  if (word_count_ == kMostWords) throw std::logic_error("more words than kMostWords");
  const auto word = static_cast<std::uint32_t>(word_count_++);
  words_[word].name = nullptr;
  words_[word].messages.push_back({value, View{}});
  return word;
}

std::size_t Scheduler::read_message(std::uint32_t word, std::memory_order order) {
  const std::vector<Message>& messages = words_[word].messages;
  std::uint16_t& seen = me().view.seen[word];
  const std::size_t newest = messages.size() - 1;
  const std::size_t read = newest - choose(static_cast<std::uint32_t>(newest - seen + 1), 1);
  seen = static_cast<std::uint16_t>(read);
  (acquires(order) ? me().view : me().acquired).join(messages[read].view);
  return read;
}

std::uint64_t Scheduler::load(std::uint32_t word, std::memory_order order) {
  step();
  const std::size_t read = read_message(word, order);
  const std::uint64_t value = words_[word].messages[read].value;
  const bool newest = read + 1 == words_[word].messages.size();
  note(newest ? "load" : "load OLD", word, value, name_of(order));
  return value;
}

void Scheduler::store(std::uint32_t word, std::uint64_t value, std::memory_order order) {
  step();
  std::vector<Message>& messages = words_[word].messages;
  me().view.seen[word] = static_cast<std::uint16_t>(messages.size());
  Message made{value, releases(order) ? me().view : me().released};
  made.view.seen[word] = me().view.seen[word];
  messages.push_back(made);
  note("store", word, value, name_of(order));
  tick();
}

std::uint64_t Scheduler::fetch_add(std::uint32_t word, std::uint64_t more, std::memory_order order) {
  step();
  std::vector<Message>& messages = words_[word].messages;
  const Message last = messages.back();
  (acquires(order) ? me().view : me().acquired).join(last.view);
  me().view.seen[word] = static_cast<std::uint16_t>(messages.size());
  Message made{last.value + more, releases(order) ? me().view : me().released};
  made.view.seen[word] = me().view.seen[word];
  made.view.join(last.view);  // the release sequence goes on
  messages.push_back(made);
  note("fetch_add", word, made.value, name_of(order));
  tick();
  return last.value;
}

// What a sequentially consistent fence adds to one that acquires and releases, and what a system call's
// barrier does: which words are seen, but not what happened before what.
void Scheduler::pass_on_views() {
  for (std::size_t i = 0; i < kMostWords; ++i) {
    fences_.seen[i] = me().view.seen[i] = std::max(fences_.seen[i], me().view.seen[i]);
  }
}

void Scheduler::fence() {
  step();
  me().view.join(me().acquired);
  pass_on_views();
  me().released = me().view;
  note("fence", kNoWord, 0);
  tick();
}

// The kernel reads the word under a lock that the waker's side takes too; both have a full barrier before.
void Scheduler::futex_wait(std::uint32_t word, std::uint64_t heard, bool compare) {
  step();
  pass_on_views();
  const std::size_t read = read_message(word, std::memory_order_relaxed);
  note("futex wait", word, heard);
  if (compare && words_[word].messages[read].value != heard) return note("was rung before", word, heard);
  if (choose(2, 1) == 1) return note("ends early", word, heard);
  me().sleeps_on = word;
  block("a futex", [&sleeper = me()] { return sleeper.sleeps_on == kNoWord; });
}

void Scheduler::futex_wake(std::uint32_t word) {
  step();
  pass_on_views();
  note("futex wake", word, 0);
  for (Thread& other : threads_) {
    if (other.sleeps_on == word) other.sleeps_on = kNoWord;
  }
}

Scheduler::Data& Scheduler::data_at(const std::byte* address, std::size_t bytes) {
  for (Data& data : data_) {
    if (data.address == address && data.bytes == bytes) return data;
    if (data.address < address + bytes && address < data.address + data.bytes)
      fail("plain accesses that overlap in part");
  }
  return data_.emplace_back(Data{address, bytes, 0, 0, {}});
}

void Scheduler::write(std::byte* to, const void* from, std::size_t bytes) {
  die_or_not();
  note("write", kNoWord, 0);
  Data& data = data_at(to, bytes);
  check(data.written <= me().view.clock[data.writer],
        fmt::format("a data race: written by {} before, and nothing orders the two",
                    threads_[data.writer].name));
  for (std::size_t other = 0; other < thread_count_; ++other) {
    check(data.read[other] <= me().view.clock[other],
          fmt::format("a data race: read by {}, and nothing orders the two", threads_[other].name));
  }
  data.writer = current_;
  data.written = me().view.clock[current_];
  std::memcpy(to, from, bytes / 2);
  die_or_not();
  std::memcpy(to + bytes / 2, static_cast<const std::byte*>(from) + bytes / 2, bytes - bytes / 2);
}

void Scheduler::read(void* to, const std::byte* from, std::size_t bytes) {
  note("read", kNoWord, 0);
  Data& data = data_at(from, bytes);
  check(data.written <= me().view.clock[data.writer],
        fmt::format("a data race: written by {}, and nothing orders the two", threads_[data.writer].name));
  data.read[current_] = me().view.clock[current_];
  std::memcpy(to, from, bytes);
}

// ---- failures ------------------------------------------------------------------------------------------------

void Scheduler::fail(const std::string& what) {
  record_failure(what);
  if (current_ == 0) throw Failed{};
  switch_to(0);
  std::abort();
}

void Scheduler::record_failure(const std::string& what) {
  failed_ = true;
  result_.failure = fmt::format("{}: {}\nafter these steps of execution {}{}:\n{}", me().name, what,
                                result_.executions, at_random_ ? " (random)" : "", describe_steps());
}

std::string Scheduler::describe_steps() const {
  std::string text;
  for (const Step& step : steps_) {
    text += fmt::format("  {:{}}{:10} {}", "", step.thread * 4, threads_[step.thread].name, step.what);
    if (step.word != kNoWord) {
      const char* const name = words_[step.word].name;
      text += fmt::format(" {} {}", name != nullptr ? name : fmt::format("word {}", step.word), step.value);
    }
    text += fmt::format(" {}\n", step.more);
  }
  for (std::size_t number = 1; number < thread_count_; ++number) {
    const Thread& thread = threads_[number];
    text += fmt::format("  {} {}\n", thread.name,
                        thread.dead    ? "is dead"
                        : thread.ended ? "has ended"
                        : thread.until ? fmt::format("waits in {}", thread.blocked_in)
                                       : "could go on");
  }
  return text;
}

}  // namespace tandem::test
