#pragma once

#include <pthread.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/context.hpp>
#include <tandem/core.hpp>
#include <tandem/graph_access.hpp>
#include <tandem/graph_hold.hpp>
#include <tandem/ports.hpp>
#include <tandem/rounds.hpp>
#include <tandem/runtime.hpp>

namespace tandem {

/// Makes the messages: a callable that returns the next one, and nothing when there is none left.
/// Optional: start() or start(Context&) before the first; a Context& as its argument. With begin_epoch(number) or
/// begin_epoch(number, Context&) there are rounds: it is called before each of them, with 0, 1, ..., and says whether
/// there is another one.
template <class Body, class T>
concept CommanderBody =
    std::is_invocable_r_v<std::optional<T>, Body&> || std::is_invocable_r_v<std::optional<T>, Body&, Context&>;

/// The source of a graph: calls its body for one message after another, as long as credits are free.
///
/// Messages  numbered from 0 in the order of the calls; each ends exactly once downstream. The mark of a round's end takes
///           a number, too.
/// Rounds    (epochs) follow each other in one run, with the same workers: while the consumer still has items of one, the
///           messages of the next are made. Numbers go on, so no random stream comes twice; Item::epoch() and index() count
///           by round. A stream tells the end of each. Where no order is restored (deterministic = false, or no
///           sequencer), the mark of a round's end is made when the graph is done with all its messages: there a plain
///           node must not keep items until the mark comes, or both wait for ever (a line in the log says so after
///           `hold_timeout`).
/// Threads   the body runs in one thread of the node's own, so it may wait; a body that waits for long
///           should look at Context::stopping(), because stop() and the destructor wait for its return.
/// Errors    a body that throws ends the stream: its exception is an error item in the next message's
///           place, and nothing follows.
/// Lifetime  the destructor stops the runtime.
template <class T>
class commander_node : public flow::composite_node<std::tuple<>, std::tuple<Item<T>>>, private Member {
  static_assert(std::is_object_v<T> && !std::is_same_v<T, Arrays>,
                "a message is a value; Arrays come from producers");
  using base_type = flow::composite_node<std::tuple<>, std::tuple<Item<T>>>;

 public:
  template <CommanderBody<T> Body>
  commander_node(flow::graph& graph, Runtime& runtime, std::string name, Body body)
      : base_type{graph},
        graph_{graph},
        core_{runtime.core()},
        name_{std::move(name)},
        output_{graph, *core_},
        body_{std::make_unique<BodyOf<Body>>(std::move(body))},
        rounds_{*core_, "commander '" + name_ + "'"} {
    base_type::set_external_ports(typename base_type::output_ports_type{output_});
    core_->add_member(*this);
    source_ = &core_->add_source(name_, [this](std::uint32_t credits) {
      auto store = std::make_unique<Store>(credits);
      store_ = store.get();
      return store;
    });
  }

  ~commander_node() {
    leave_run(*core_, *this, graph_);
    output_.wait_idle();
  }

  /// Starts the runtime, for a graph without a stream_node: then wait with graph.wait_for_all().
  /// Errors    as Runtime::start().
  void activate() { core_->start(); }

 private:
  // One message for each credit, at the place of its lease.
  class Store final : public MessageStore {
   public:
    explicit Store(std::uint32_t credits) : places_{std::make_unique<Place[]>(credits)} {}
    T* make(std::uint32_t index, T&& message) {
      return std::construct_at(reinterpret_cast<T*>(places_[index].bytes), std::move(message));
    }
    void destroy(std::uint32_t index) noexcept override {
      std::destroy_at(std::launder(reinterpret_cast<T*>(places_[index].bytes)));
    }

    bool destroys() const noexcept override { return !std::is_trivially_destructible_v<T>; }
    const std::type_info* type() const noexcept override { return &typeid(T); }

   private:
    struct Place {
      alignas(T) std::byte bytes[sizeof(T)];
    };
    std::unique_ptr<Place[]> places_;
  };

  struct AnyBody {
    virtual ~AnyBody() = default;
    virtual void start(Context& context) = 0;
    virtual std::optional<T> next(Context& context) = 0;
    virtual bool has_epochs() const noexcept = 0;
    virtual bool begin_epoch(std::uint64_t epoch, Context& context) = 0;
  };
  template <class Body>
  struct BodyOf final : AnyBody {
    explicit BodyOf(Body body_in) : body{std::move(body_in)} {}
    void start(Context& context) override {
      if constexpr (requires { body.start(context); }) {
        body.start(context);
      } else if constexpr (requires { body.start(); }) {
        body.start();
      }
    }
    std::optional<T> next(Context& context) override {
      if constexpr (std::is_invocable_r_v<std::optional<T>, Body&, Context&>) {
        return body(context);
      } else {
        return body();
      }
    }
    static constexpr bool kEpochs =
        requires(Body& one, Context& context) { one.begin_epoch(std::uint64_t{0}, context); };
    static constexpr bool kPlainEpochs = requires(Body& one) { one.begin_epoch(std::uint64_t{0}); };
    bool has_epochs() const noexcept override { return kEpochs || kPlainEpochs; }
    bool begin_epoch([[maybe_unused]] std::uint64_t epoch, [[maybe_unused]] Context& context) override {
      if constexpr (kEpochs) {
        return body.begin_epoch(epoch, context);
      } else if constexpr (kPlainEpochs) {
        return body.begin_epoch(epoch);
      } else {
        return epoch == 0;
      }
    }
    Body body;
  };

  void opened() override {
    hold_.take(*source_);
    if (core_->has_one_source())
      feed(output_.crews());  // another one's messages could keep the crews busy without end
    thread_ = std::thread{[this] { run(); }};
  }

  void feed(const std::vector<Crew*>& crews) {
    for (Crew* const crew : crews) crew->feed_from(*source_);
    source_->feed({crews.begin(), crews.end()});
  }

  void join() noexcept override {
    if (thread_.joinable()) thread_.join();
    hold_.let_go();
  }

  void source_drained() noexcept override { hold_.let_go_of(*source_); }

  void run() noexcept {
    Core::inside() = core_.get();
    pthread_setname_np(pthread_self(), ("tandem:" + name_).substr(0, 15).c_str());
    Context context{name_, stream_key(core_->config().seed, name_), -1, &core_->stopping()};
    // In a graph that was cancelled, items stay for ever in the nodes that are not Tandem's.
    const std::function<bool()> cancelled = [this] { return is_cancelled(graph_); };
    bool more = attempt("start: ", cancelled, [&] {
      body_->start(context);
      return true;
    });
    while (more && !cancelled()) {
      rounds_.begin(*source_, rounds_.number());  // first: an error takes the first message's place
      more = attempt("begin_epoch: ", cancelled, [&] { return body_->begin_epoch(rounds_.number(), context); });
      // Each message goes out before the next call of the body, which may wait for as long as it likes.
      Next then = more ? Next::another : Next::none;
      while (then == Next::another && !cancelled()) then = emit_next(source_->wait_acquire(cancelled), context);
      more = then == Next::round_over && has_rounds_ && end_epoch(cancelled);
    }
    source_->finish();
    source_->wait_drained(cancelled);
    if (cancelled()) hold_.end_run();
  }

  enum class Next { another, round_over, none };

  // What throws ends the stream, with an error item. False then, and when the call says so.
  template <class Call>
  bool attempt(const char* what, const std::function<bool()>& cancelled, Call call) noexcept {
    std::string problem;
    try {
      return call();
    } catch (...) { problem = what + current_exception_text(); }
    emit_failure(source_->wait_acquire(cancelled), std::move(problem));
    return false;
  }

  bool end_epoch(const std::function<bool()>& cancelled) noexcept {
    Lease* const mark = rounds_.wait_mark(*source_, cancelled);
    if (mark == nullptr) return false;
    output_.emit(Handle{mark, Part::graph});
    return true;
  }

  // lease: null when the run was stopped, or the graph cancelled.
  Next emit_next(Lease* lease, Context& context) noexcept {
    if (lease == nullptr) return Next::none;
    if (has_rounds_) rounds_.stamp(*lease);
    std::string problem;
    try {
      context.begin(lease->sequence, 1);
      std::optional<T> message = body_->next(context);
      if (!message) {
        source_->discard(*lease);
        return Next::round_over;
      }
      lease->payload = store_->make(lease->index, std::move(*message));
      output_.emit(Handle{lease, Part::graph});
      return Next::another;
    } catch (...) { problem = current_exception_text(); }
    emit_failure(lease, std::move(problem));
    return Next::none;
  }

  void emit_failure(Lease* lease, std::string reason) noexcept {
    if (lease == nullptr) return;
    if (has_rounds_) rounds_.stamp(*lease);
    lease->failure = std::make_unique<Failure>(Failure{name_, lease->sequence, -1, 1, std::move(reason)});
    output_.emit(Handle{lease, Part::graph});
  }

  flow::graph& graph_;
  const std::shared_ptr<Core> core_;
  const std::string name_;
  OutputPort<T> output_;
  std::unique_ptr<AnyBody> body_;
  const bool has_rounds_ = body_->has_epochs();
  Source* source_ = nullptr;
  Store* store_ = nullptr;
  Rounds rounds_;  // the emitter's
  std::thread thread_;
  GraphHold hold_{graph_, *core_};
};

}  // namespace tandem
