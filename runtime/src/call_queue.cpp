#include <tandem/call_queue.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include <tandem/error.hpp>
#include <tandem/run.hpp>

namespace tandem {

// ---- what somebody waits for ----------------------------------------------------------------------------------

void CallQueue::push(std::uint64_t number) {
  {
    const std::lock_guard lock{mutex_};
    ended_.push_back(number);
  }
  wake_.notify_one();
}

std::optional<std::uint64_t> CallQueue::next(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock{mutex_};
  const auto any = [this] { return !ended_.empty(); };
  if (until == std::chrono::steady_clock::time_point::max()) {
    wake_.wait(lock, any);
  } else if (!wake_.wait_until(lock, until, any)) {
    return std::nullopt;
  }
  const std::uint64_t number = ended_.front();
  ended_.pop_front();
  return number;
}

CallState::Clock::time_point CallState::after(std::chrono::nanoseconds timeout) {
  const Clock::time_point now = Clock::now();
  return timeout >= Clock::time_point::max() - now ? Clock::time_point::max() : now + timeout;
}

void CallState::refuse() { throw Error("this future has no call, or its result was taken already"); }

bool CallState::wait_until(Clock::time_point until) const {
  std::unique_lock lock{mutex_};
  const auto over = [this] { return phase_ == Phase::over; };
  if (until == Clock::time_point::max()) {
    wake_.wait(lock, over);
    return true;
  }
  return until == Clock::time_point::min() ? over() : wake_.wait_until(lock, until, over);
}

void CallState::result(const std::function<void(ArchiveReader&)>& read) {
  // Over: nobody else looks at any of this from here on.
  if (given_up_) std::rethrow_exception(why_);
  const auto lent_arrays = std::exchange(arrays, {});
  const auto granted = std::exchange(granted_, {});
  spilled = nullptr;
  if (why_) std::rethrow_exception(why_);
  LentArrays lent{lent_arrays, granted};
  if (result_.bytes <= CallResult::kInline) {
    ArchiveReader reader{{result_.result, result_.bytes}, lent};
    read(reader);
    return;
  }
  const auto block = lent.find({.offset = result_.place});
  if (result_.bytes > block->bytes()) throw Error("its worker returned more than it was lent");
  // Once: its worker may go on writing there.
  const std::vector<std::byte> copy{block->readable(), block->readable() + result_.bytes};
  ArchiveReader reader{copy, lent};
  read(reader);
}

void CallState::tell(std::shared_ptr<CallQueue> queue) {
  name_ = queue->next_name();
  queue_ = std::move(queue);
}

bool CallState::begin() {
  const std::lock_guard lock{mutex_};
  if (phase_ != Phase::waiting) return false;
  phase_ = Phase::begun;
  return true;
}

// Who ends the call; nobody else does.
bool CallState::claim(bool only_waiting) {
  const std::lock_guard lock{mutex_};
  if (phase_ != Phase::waiting && (only_waiting || phase_ != Phase::begun)) return false;
  phase_ = Phase::ending;
  return true;
}

void CallState::end() {
  if (ending) ending();
  {
    const std::lock_guard lock{mutex_};
    phase_ = Phase::over;
  }
  wake_.notify_all();
  if (queue_) queue_->push(name_);
}

bool CallState::finish(const CallResult& result, std::vector<std::shared_ptr<ArrayBlock>> granted) {
  if (!claim()) return false;
  spilled = nullptr;
  result_ = result;
  granted_ = std::move(granted);
  end();
  return true;
}

bool CallState::fail(std::exception_ptr why) {
  if (!claim()) return false;
  spilled = nullptr;
  why_ = std::move(why);
  end();
  return true;
}

bool CallState::give_up(std::exception_ptr why) {
  if (!claim()) return false;
  given_up_ = true;
  why_ = std::move(why);
  end();
  return true;
}

bool CallState::cancel() {
  if (!claim(true)) return false;
  why_ = std::make_exception_ptr(Error("the call was cancelled before it was begun"));
  if (const auto first = std::exchange(ending, nullptr)) first();
  arrays.clear();
  spilled = nullptr;
  end();
  if (cancelled) cancelled();
  return true;
}

// ---- the workers that are threads -----------------------------------------------------------------------------

// Where there is no flow graph, nobody else brings threads. Started at the first task, which comes after the fork.
class Calls::TaskThreads {
 public:
  TaskThreads(int count, std::weak_ptr<Core> core) : count_{count}, core_{std::move(core)} {}
  ~TaskThreads() {
    {
      const std::lock_guard lock{mutex_};
      ending_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  TaskThreads(const TaskThreads&) = delete;
  TaskThreads& operator=(const TaskThreads&) = delete;

  void run(std::function<void()> task) {
    {
      const std::lock_guard lock{mutex_};
      tasks_.push_back(std::move(task));
      while (std::ssize(threads_) < count_) threads_.emplace_back([this] { serve(); });
    }
    wake_.notify_one();
  }

 private:
  void serve() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock lock{mutex_};
        // Woken by run(), and by the end.
        wake_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      const std::shared_ptr<Core> core = core_.lock();
      if (!core) return;
      const Core* const before = std::exchange(Core::inside(), core.get());
      task();
      Core::inside() = before;
    }
  }

  const int count_;
  const std::weak_ptr<Core> core_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
  bool ending_ = false;
};

// ---- the calls ------------------------------------------------------------------------------------------------

// What a credit's message is kept by: Calls itself.
class Calls::Store final : public MessageStore {
 public:
  explicit Store(Calls& calls) : calls_{calls} {}
  void destroy(std::uint32_t index) noexcept override {
    std::shared_ptr<CallState> over;  // dropped after the lock
    const std::lock_guard lock{calls_.mutex_};
    over = std::move(calls_.begun_[index]);
  }

 private:
  Calls& calls_;
};

Calls::Calls(std::shared_ptr<Core> core, std::string name, std::function<void(Context&)> initialise)
    : core_{std::move(core)}, name_{std::move(name)}, arrays_{core_->arrays()} {
  Core::NewNode node;
  node.name = name_;
  node.message_bytes = sizeof(CallMessage);
  node.layout = BlockLayout::of_struct<CallResult>();
  node.layout.message_bytes = sizeof(CallMessage);
  node.make_body = [initialise = std::move(initialise)] {
    return make_call_body(initialise, [](std::uint64_t call) {
      return std::span<const std::shared_ptr<ArrayBlock>>{reinterpret_cast<const CallState*>(call)->arrays};
    });
  };
  node.outlet = this;
  const NodeConfig config = core_->config().node(name_);
  window_ = 4 * static_cast<std::size_t>(config.workers);
  if (config.placement == Placement::thread) {
    threads_ = std::make_unique<TaskThreads>(config.workers, core_);
    node.spawn = [threads = threads_.get()](std::function<void()> task) { threads->run(std::move(task)); };
    node.may_sleep = [] { return true; };  // they are the crew's own
  }
  core_->add_member(*this);
  index_ = core_->add_calls(std::move(node), [this](std::uint32_t credits) {
    begun_.resize(credits);
    return std::make_unique<Store>(*this);
  });
  source_id_ = core_->own_source(index_).id();
}

Calls::~Calls() {
  core_->stop();
  core_->remove_member(*this);
  threads_.reset();
  // Whoever has claimed the end of a call, as by cancel(), still looks here; it waits for nobody.
  std::unique_lock lock{mutex_};
  all_over_.wait(lock, [this] { return unfinished_ == 0; });
}

void Calls::submit(const std::shared_ptr<CallState>& state, const CodeAddress& thunk, ArchiveWriter& arguments,
                   bool may_write) {
  core_->start();
  CallMessage& message = state->message;
  message.thunk = thunk;
  message.bytes = arguments.bytes().size();
  message.once = may_write ? 1 : 0;
  message.call = reinterpret_cast<std::uintptr_t>(state.get());
  state->arrays = std::move(arguments.arrays());
  for (const auto& array : state->arrays) {
    if (!arrays_->owns(*array))
      throw Error(name_ + ": an argument is a shared array of another Runtime; make it with this one");
  }
  if (message.bytes <= CallMessage::kInline) {
    std::memcpy(message.arguments, arguments.bytes().data(), message.bytes);
  } else {
    state->spilled = arrays_->allocate(message.bytes, Dtype::uint8, Shape{message.bytes});
    std::memcpy(state->spilled->writable(), arguments.bytes().data(), message.bytes);
    message.place = state->spilled->offset();
  }
  {
    const std::lock_guard lock{mutex_};
    if (closed_) throw Error(name_ + ": the run was stopped; no call can follow");
    if (refusing_) throw Error(name_ + ": shutdown() was called; no call can follow");
    const std::uint64_t number = made_++;
    if (!state->arrays.empty() || state->spilled) {
      state->holder = fmt::format("node '{}', call {}", name_, number);
      for (const auto& array : state->arrays) arrays_->note_holder(*array, state->holder);
      if (state->spilled) arrays_->note_holder(*state->spilled, state->holder);  // until it goes
      state->ending = [this, state = state.get()] {
        for (const auto& array : state->arrays) arrays_->forget_holder(*array, state->holder);
      };
    }
    state->cancelled = [this] { one_is_over(); };
    ++unfinished_;
    waiting_.push_back(state);
  }
  feed();
}

void Calls::feed() noexcept {
  if (feeding_.fetch_add(1, std::memory_order_acq_rel) > 0) return;
  std::uint32_t served = 1;
  do {
    feed_all();
    served = feeding_.fetch_sub(served, std::memory_order_acq_rel) - served;
  } while (served > 0);
}

void Calls::feed_all() noexcept {
  const Run run;  // one bell for all
  Source& source = core_->own_source(index_);
  for (;;) {
    Lease* lease = nullptr;
    std::shared_ptr<CallState> cancelled;  // dropped after the lock
    {
      const std::lock_guard lock{mutex_};
      if (waiting_.empty() || closed_) return;
      lease = source.try_acquire();
      if (lease == nullptr) {
        source.tell_next_credit();  // TELL
        lease = source.try_acquire();
      }
      if (lease == nullptr) return;
      std::shared_ptr<CallState> state = std::move(waiting_.front());
      waiting_.pop_front();
      if (state->begin()) {
        lease->payload = &state->message;
        begun_[lease->index] = std::move(state);
      } else {
        cancelled = std::move(state);
      }
    }
    if (cancelled) {
      lease->payload = nullptr;
      source.discard(*lease);
    } else {
      Handle call{lease, Part::graph};
      core_->crew(index_).submit({&call, 1});
    }
  }
}

void Calls::emit(std::span<Handle> items) noexcept {
  for (Handle& item : items) take(std::move(item));
}

void Calls::take(Handle item) noexcept {
  std::shared_ptr<CallState> state;
  {
    const std::lock_guard lock{mutex_};
    state = std::move(begun_[item->root->index]);
  }
  if (!state) return;
  std::vector<std::shared_ptr<ArrayBlock>> granted;
  if (item->granted) granted = std::move(item->grants);
  if (item->failure || item->skipped) granted.clear();  // before anybody can see the end
  bool is_over = false;
  if (item->failure) {
    is_over = state->fail(std::make_exception_ptr(ProducerError{*item->failure}));
  } else if (item->skipped) {
    is_over = state->fail(std::make_exception_ptr(
        Error(name_ + ": the function called Context::skip(), and a call has no place to skip")));
  } else {
    is_over = state->finish(*static_cast<const CallResult*>(item->payload), std::move(granted));
  }
  state.reset();  // before shutdown() returns: nothing of a call that nobody asks for is left then
  if (is_over) one_is_over();
}

void Calls::credit_free(std::uint32_t source) noexcept {
  if (source == source_id_) feed();
}

void Calls::one_is_over() noexcept {
  const std::lock_guard lock{mutex_};
  if (--unfinished_ == 0) all_over_.notify_all();
}

void Calls::shutdown(bool cancel_waiting) {
  std::deque<std::shared_ptr<CallState>> waiting;
  {
    const std::lock_guard lock{mutex_};
    refusing_ = true;
    if (cancel_waiting) waiting = waiting_;
  }
  for (const auto& state : waiting) state->cancel();
  std::unique_lock lock{mutex_};
  all_over_.wait(lock, [this] { return unfinished_ == 0; });
}

// The run is ending: what is with a worker may still be finished, and nobody would be told.
void Calls::fail_all() noexcept {
  std::deque<std::shared_ptr<CallState>> all;
  {
    const std::lock_guard lock{mutex_};
    closed_ = true;
    all.swap(waiting_);
    for (const auto& state : begun_) {
      if (state) all.push_back(state);
    }
  }
  const auto why = std::make_exception_ptr(Error(name_ + ": the run was stopped before the call was over"));
  std::size_t over = 0;
  for (auto& state : all) {
    over += state->give_up(why) ? 1 : 0;
    state.reset();
  }
  for (; over > 0; --over) one_is_over();
}

void Calls::close() noexcept { fail_all(); }
void Calls::join() noexcept { fail_all(); }

}  // namespace tandem
