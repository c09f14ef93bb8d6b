#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <tandem/archive.hpp>
#include <tandem/call.hpp>
#include <tandem/call_queue.hpp>
#include <tandem/call_traits.hpp>
#include <tandem/runtime.hpp>

namespace tandem {

/// The result of a call that may not be over yet. Results live on when the Executor and the Runtime are gone.
/// Threads   one at a time.
template <class R>
class Future {
 public:
  /// Of no call.
  Future() noexcept = default;
  explicit Future(std::shared_ptr<CallState> state) noexcept : state_{std::move(state)} {}

  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }
  [[nodiscard]] bool ready() const { return held().wait_until(CallState::Clock::time_point::min()); }
  /// Returns when the call is over. Woken by its result, or by the end of the run.
  void wait() const { held().wait_until(CallState::Clock::time_point::max()); }
  /// False when it was not over in time.
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds timeout) const {
    return held().wait_until(CallState::after(timeout));
  }
  /// Waits for the result and hands it over, once.
  /// Errors    throws ProducerError when the function threw, or its worker ended in it; Error when the call was cancelled, the
  ///           run was stopped, or there is no call or no result any more.
  R get() {
    const std::shared_ptr<CallState> state = std::exchange(state_, nullptr);
    if (!state) CallState::refuse();
    state->wait_until(CallState::Clock::time_point::max());
    if constexpr (std::is_void_v<R>) {
      state->result([](ArchiveReader&) {});
    } else {
      R result{};
      state->result([&result](ArchiveReader& reader) { reader(result); });
      return result;
    }
  }
  /// Takes a call back that no worker has begun. False when it is too late.
  bool cancel() { return held().cancel(); }

 private:
  CallState& held() const {
    if (!state_) CallState::refuse();
    return *state_;
  }
  std::shared_ptr<CallState> state_;
};

struct MapOptions {
  bool ordered = true;     ///< results in the order of the inputs; else as they come
  std::size_t chunk = 1;   ///< so many inputs in one call
  std::size_t window = 0;  ///< so many calls at a time, at most; 0: four for each worker
};

/// The results of map() and repeat(), made as they are taken: a window of calls is under way ahead of the consumer.
/// An error is thrown at its call's place; the next call goes on with the next result. A call that could not even be submitted is the
/// last one.
/// Lifetime  the Executor's.
/// Threads   one at a time.
template <class R>
class Results {
 public:
  /// submit: the next call, told to this queue; or none when there is no further input.
  using Submit = std::function<std::optional<Future<std::vector<R>>>(const std::shared_ptr<CallQueue>&)>;

  Results(Submit submit, bool ordered, std::size_t window)
      : submit_{std::move(submit)}, queue_{std::make_shared<CallQueue>()}, ordered_{ordered}, window_{window} {}
  ~Results() {
    for (auto& [number, coming] : pending_) {
      if (auto* const future = std::get_if<Coming>(&coming)) future->cancel();
    }
  }
  Results(Results&&) = default;
  Results& operator=(Results&&) = delete;

  /// The next result; none after the last.
  /// Errors    as Future::get().
  std::optional<R> next() { return next_until(CallState::Clock::time_point::max()); }
  /// None also when there was none in time; ended() tells which.
  std::optional<R> next_for(std::chrono::nanoseconds timeout) { return next_until(CallState::after(timeout)); }
  /// The next result of what has no end.
  /// Errors    as Future::get(); Error after the last.
  R get() {
    std::optional<R> result = next();
    if (!result) throw Error("there is no further result");
    return std::move(*result);
  }
  [[nodiscard]] bool ended() const noexcept { return done_ && pending_.empty() && ready_.empty(); }

  /// For range-for loops.
  class Iterator {
   public:
    using value_type = R;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    Iterator() = default;
    explicit Iterator(Results& results) : results_{&results} { ++*this; }
    R& operator*() const { return *current_; }
    Iterator& operator++() {
      current_ = results_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return !current_.has_value(); }

   private:
    Results* results_ = nullptr;
    mutable std::optional<R> current_;
  };
  Iterator begin() { return Iterator{*this}; }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  using Coming = Future<std::vector<R>>;

  std::optional<R> next_until(CallState::Clock::time_point until) {
    for (;;) {
      if (!ready_.empty()) {
        std::optional<R> result{std::move(ready_.front())};
        ready_.pop_front();
        return result;
      }
      fill();
      if (pending_.empty()) return std::nullopt;
      const auto which = ordered_ ? first_ready(until) : queue_->next(until);
      if (!which) return std::nullopt;
      auto node = pending_.extract(*which);
      fill();  // before the wait for the consumer
      if (const auto* const why = std::get_if<std::exception_ptr>(&node.mapped())) std::rethrow_exception(*why);
      std::vector<R> made = std::get<Coming>(node.mapped()).get();
      for (std::size_t i = 0; i < made.size(); ++i) ready_.push_back(std::move(made[i]));  // also of bool
    }
  }
  std::optional<std::uint64_t> first_ready(CallState::Clock::time_point until) {
    auto& [number, coming] = *pending_.begin();
    if (auto* const future = std::get_if<Coming>(&coming)) {
      if (until == CallState::Clock::time_point::max()) {
        future->wait();
      } else if (!future->wait_for(until - CallState::Clock::now())) {
        return std::nullopt;
      }
    }
    return number;
  }
  void fill() {
    while (!done_ && pending_.size() < window_) {
      queue_->name_next(next_);
      try {
        std::optional<Coming> future = submit_(ordered_ ? nullptr : queue_);
        if (!future) {
          done_ = true;
        } else {
          pending_.emplace(next_++, std::move(*future));
        }
      } catch (...) {
        // At its place, behind the results of those before it. It is the last: what its input was is not known any more.
        done_ = true;
        pending_.emplace(next_, std::current_exception());
        if (!ordered_) queue_->push(next_);
        ++next_;
      }
    }
  }

  Submit submit_;
  std::shared_ptr<CallQueue> queue_;
  bool ordered_;
  std::size_t window_;
  std::uint64_t next_ = 0;
  bool done_ = false;
  std::map<std::uint64_t, std::variant<Coming, std::exception_ptr>>
      pending_;  // or why it could not be submitted
  std::deque<R> ready_;
};

/// Calls functions in workers, which are threads or processes as [node.NAME] says, and hands their results over as futures.
///
///     Executor adders{runtime, "adders"};
///     auto ones = runtime.array<double>({20'000'000}, 1.0);
///     Future<SharedArray<double>> sums = adders.submit(add_one, ones);
///
/// Functions  of the program or of a library that it has loaded: plain functions, and callables without members. A last
///            parameter of type Context& gets the worker's context. What would be captured is an argument.
/// Values     arguments and results: shared arrays, of which only a token crosses; whatever cereal serialises (numbers, strings,
///            containers, structs with a serialize()), also with shared arrays in it; structs that are trivially copyable.
/// Order      calls are begun in the order of submit(). Any number may wait; `in_flight` of them are with the workers.
/// Errors     arrive in the future. A call whose worker ends is begun again, up to `attempts` times; but not when it may have
///            written to an array, which is when a parameter is neither const SharedArray<T>& nor SharedArray<const T>.
/// Waiting    a function that waits for another call of its own Executor may wait for ever: with all workers at such calls
///            nobody is left to make it.
/// Lifetime   the destructor stops the runtime, as that of a node does.
/// Threads    all functions by any thread.
class Executor {
 public:
  /// initialise: run once in each worker, before its first call.
  Executor(Runtime& runtime, std::string name);
  template <class Initialise>
    requires std::invocable<Initialise&, Context&> || std::invocable<Initialise&>
  Executor(Runtime& runtime, std::string name, Initialise initialise)
      : calls_{runtime.core(), std::move(name), [initialise = std::move(initialise)](Context& context) mutable {
                 if constexpr (std::invocable<Initialise&, Context&>) {
                   initialise(context);
                 } else {
                   initialise();
                 }
               }} {}

  /// Has `function` called with these arguments. Never waits, but for the start of the runtime at the first call.
  /// Errors    throws Error after shutdown() or the end of the run, MemoryError when the arguments find no room, and what
  ///           Runtime::start() throws.
  template <class F, class... Args>
  auto submit(F function, Args&&... arguments) {
    using Traits = CallTraits<F, Args...>;
    auto state = std::make_shared<CallState>();
    ArchiveWriter writer;
    const bool may_write = Traits::write(writer, function, std::forward<Args>(arguments)...);
    calls_.submit(state, detail::address_of<Traits>(), writer, may_write);
    return Future<typename Traits::Result>{std::move(state)};
  }

  /// Calls `function` with each of the inputs, which are read as results are taken. Of a function that returns nothing each
  /// result is `true`.
  template <class F, std::ranges::input_range Inputs>
  auto map(F function, Inputs inputs, MapOptions options = {}) {
    using Input = std::ranges::range_value_t<Inputs>;
    using Traits = MapTraits<F, Input>;
    using R = typename Traits::Result;
    struct State {
      Inputs inputs;
      std::optional<std::ranges::iterator_t<Inputs>> next;
    };
    auto state = std::make_shared<State>(std::move(inputs), std::nullopt);
    const std::size_t chunk = std::max<std::size_t>(options.chunk, 1);
    auto submit = [this, function, state,
                   chunk](const std::shared_ptr<CallQueue>& queue) -> std::optional<Future<std::vector<R>>> {
      if (!state->next) state->next = std::ranges::begin(state->inputs);
      std::vector<std::decay_t<Input>> some;
      for (auto& next = *state->next; some.size() < chunk && next != std::ranges::end(state->inputs); ++next)
        some.push_back(*next);
      if (some.empty()) return std::nullopt;
      return call_chunk<Traits>(function, some, queue);
    };
    return Results<R>{std::move(submit), options.ordered,
                      options.window == 0 ? calls_.usual_window() : options.window};
  }

  /// Calls `function` with the same arguments again and again, and hands the results over in the order of the calls.
  template <class F, class... Args>
  auto repeat(F function, Args&&... arguments) {
    using Values = std::tuple<std::decay_t<Args>...>;
    using Traits = MapTraits<Spread<F>, Values>;
    using R = typename Traits::Result;
    static_assert(std::is_empty_v<F> && std::default_initializable<F>,
                  "repeat() takes a callable without members; for a plain function write [](auto... x) { "
                  "return f(x...); }");
    auto submit = [this, values = std::vector<Values>{Values{std::forward<Args>(arguments)...}}](
                      const std::shared_ptr<CallQueue>& queue) -> std::optional<Future<std::vector<R>>> {
      return call_chunk<Traits>(Spread<F>{}, values, queue);
    };
    static_cast<void>(function);
    return Results<R>{std::move(submit), true, calls_.usual_window()};
  }

  /// Makes one call and tells what arrays it returns, for a producer_node: a shared array, or a map of named ones.
  /// Errors    as Future::get().
  template <class F, class... Args>
  std::vector<ArraySpec> trial(F function, Args&&... arguments) {
    return specs_of(submit(function, std::forward<Args>(arguments)...).get());
  }

  /// No further call is accepted; returns when all are over. Those that no worker has begun are cancelled first, if wanted.
  /// Woken by the last of them, or by the end of the run.
  void shutdown(bool cancel_waiting = false) { calls_.shutdown(cancel_waiting); }

 private:
  template <class Traits, class F, class Inputs>
  Future<std::vector<typename Traits::Result>> call_chunk(const F& function, const Inputs& inputs,
                                                          const std::shared_ptr<CallQueue>& queue) {
    auto state = std::make_shared<CallState>();
    if (queue) state->tell(queue);
    ArchiveWriter writer;
    const bool may_write = Traits::write(writer, function, inputs);
    calls_.submit(state, detail::address_of<Traits>(), writer, may_write);
    return Future<std::vector<typename Traits::Result>>{std::move(state)};
  }

  template <class T>
  static std::vector<ArraySpec> specs_of(const SharedArray<T>& array) {
    return {tandem::array<std::remove_const_t<T>>("result", array.shape())};
  }
  template <class T>
  static std::vector<ArraySpec> specs_of(const std::map<std::string, SharedArray<T>>& arrays) {
    std::vector<ArraySpec> specs;
    for (const auto& [name, array] : arrays)
      specs.push_back(tandem::array<std::remove_const_t<T>>(name, array.shape()));
    return specs;
  }

  Calls calls_;
};

}  // namespace tandem
