#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/task_arena.h>

#include <tandem/context.hpp>
#include <tandem/core.hpp>
#include <tandem/packing.hpp>
#include <tandem/parallelism.hpp>
#include <tandem/ports.hpp>
#include <tandem/runtime.hpp>
#include <tandem/several.hpp>

namespace tandem {

/// What comes out of a producer without output: that it is done with a message, at the message's place in the order.
struct Done {};

/// What a producer_node accepts as its body: a copyable callable that fills an Out, or returns one.
/// Any of (in, out, context), (in, out), (in, context) -> Out, (in) -> Out; optional: start(Context&) or
/// start(), called once per worker before its first message. Without output (Out is void): (in, context), (in).
template <class Body, class In, class Out>
concept ProducerBody =
    std::copy_constructible<Body> &&
    (std::is_invocable_v<Body&, const In&, std::add_lvalue_reference_t<Out>, Context&> ||
     std::is_invocable_v<Body&, const In&, std::add_lvalue_reference_t<Out>> ||
     std::is_invocable_r_v<Out, Body&, const In&, Context&> || std::is_invocable_r_v<Out, Body&, const In&>);

/// Turns each message into a T or into Arrays, with workers that are tasks of this process or processes of
/// their own, as `placement` of [node.NAME] says; the body cannot tell which.
///
/// Input     a message that is its bytes, or Arrays, or what another producer makes; with <tandem/message.hpp> included, also
///           a message of any type that can be serialised, which a worker process is given a copy of.
/// Workers   each has its own copy of the body, made before start(), so a body may keep state.
/// Output    of indeterminate contents when the body gets it: whoever declares an array fills it.
/// Errors    a body that throws makes its message's item carry the error; an item that carries an error
///           already passes untouched. A worker process that dies is replaced and its message tried again,
///           up to `attempts` times.
/// Order     of completion; a sequencer_node restores the commander's.
/// Ends      of branches: with Out = void the body only reads, as a consumer in a process of its own. Items of Done come out,
///           which a stream may take, for progress and for errors, or nobody.
///           What comes out where no edge leads on is dropped; an error is told in the log then.
/// Lifetime  the destructor stops the runtime.
template <class In, class Out>
class producer_node
    : public flow::composite_node<std::tuple<Item<In>>,
                                  std::tuple<Item<std::conditional_t<std::is_void_v<Out>, Done, Out>>>>,
      private Member,
      private Outlet {
  using Result = std::conditional_t<std::is_void_v<Out>, Done, Out>;
  static_assert(
      Transportable<In> || Packable<In>,
      "a producer's input must be Arrays or trivially copyable, because it may cross a process boundary; or "
      "include <tandem/message.hpp>, and give it a function serialize(archive) if it is a struct");
  static_assert(Transportable<Result>,
                "a producer's output must be Arrays or trivially copyable: it lives in shared memory");
  using base_type = flow::composite_node<std::tuple<Item<In>>, std::tuple<Item<Result>>>;
  static constexpr bool kArraysOut = std::is_same_v<Out, Arrays>;

 public:
  /// A node whose output is a struct.
  template <class Body>
    requires(!kArraysOut && ProducerBody<Body, In, Out>)
  producer_node(flow::graph& graph, Runtime& runtime, std::string name, Body body)
      : producer_node{graph, runtime, std::move(name), BlockLayout::of_struct<Result>(),
                      factory(std::move(body))} {}

  /// A node whose output is a set of arrays of fixed shapes.
  /// Errors    throws Error when two arrays share a name or one has none.
  template <class Body>
    requires(kArraysOut && ProducerBody<Body, In, Out>)
  producer_node(flow::graph& graph, Runtime& runtime, std::string name, std::vector<ArraySpec> arrays,
                Body body)
      : producer_node{graph, runtime, std::move(name), BlockLayout::of_arrays(std::move(arrays)),
                      factory(std::move(body))} {}

  ~producer_node() {
    leave_run(*core_, *this, graph_);
    output_.wait_idle();
  }

 private:
  class Input final : public InputPort<In> {
   public:
    Input(flow::graph& graph, producer_node& node) : InputPort<In>{graph, *node.core_}, node_{node} {}
    void accept(std::span<Handle> items) noexcept override {
      if (node_.core_->is_open()) node_.core_->crew(node_.index_).submit(items);
    }
    Crew* crew() noexcept override { return &node_.core_->crew(node_.index_); }

   private:
    producer_node& node_;
  };

  template <class UserBody>
  class BodyOf final : public tandem::Body {
   public:
    explicit BodyOf(const UserBody& body) : body_{body} {}
    void start(Context& context) override {
      if constexpr (requires { body_.start(context); }) {
        body_.start(context);
      } else if constexpr (requires { body_.start(); }) {
        body_.start();
      }
    }
    void run(const void* input, void* output, Context& context) override {
      const In& in = *static_cast<const In*>(input);
      Result& out = *static_cast<Result*>(output);
      if constexpr (kIsSeveral<Result>) out.clear();
      if constexpr (std::is_void_v<Out> && std::is_invocable_v<UserBody&, const In&, Context&>) {
        body_(in, context);
      } else if constexpr (std::is_void_v<Out>) {
        body_(in);
      } else if constexpr (std::is_invocable_v<UserBody&, const In&, Result&, Context&>) {
        body_(in, out, context);
      } else if constexpr (std::is_invocable_v<UserBody&, const In&, Result&>) {
        body_(in, out);
      } else if constexpr (std::is_invocable_r_v<Out, UserBody&, const In&, Context&>) {
        out = body_(in, context);
      } else {
        out = body_(in);
      }
    }

   private:
    UserBody body_;
  };

  using Factory = std::function<std::unique_ptr<tandem::Body>()>;

  template <class UserBody>
  static Factory factory(UserBody body) {
    static_assert(
        !kArraysOut || std::is_invocable_v<UserBody&, const In&, Result&, Context&> ||
            std::is_invocable_v<UserBody&, const In&, Result&>,
        "a producer of Arrays fills them: (const In&, Arrays& out) or (const In&, Arrays& out, Context&)");
    return [prototype = std::make_shared<const UserBody>(std::move(body))] {
      return std::make_unique<BodyOf<UserBody>>(*prototype);
    };
  }

  producer_node(flow::graph& graph, Runtime& runtime, std::string name, BlockLayout layout, Factory make_body)
      : base_type{graph}, graph_{graph}, core_{runtime.core()}, input_{graph, *this}, output_{graph, *core_} {
    base_type::set_external_ports(typename base_type::input_ports_type{input_},
                                  typename base_type::output_ports_type{output_});
    const NodeConfig config = core_->config().node(name);
    Core::NewNode node;
    node.name = std::move(name);
    node.type = type_name(typeid(In)) + " -> " + type_name(typeid(Result));
    if constexpr (!Transportable<In>) {
      node.packing = {PackingOf<In>::pack, PackingOf<In>::unpack};
      if (config.placement == Placement::process) layout.message_bytes = PackedMessage::kSmall;
    } else if constexpr (!std::is_same_v<In, Arrays>) {
      node.message_bytes = sizeof(In);
      static_assert(alignof(In) <= BlockLayout::kAlign, "inputs are aligned to 64 bytes at most");
      if (sizeof(In) > kInlineBytes || alignof(In) > kInlineBytes) layout.message_bytes = sizeof(In);
    }
    node.layout = std::move(layout);
    node.make_body = std::move(make_body);
    node.outlet = this;
    if (config.placement == Placement::thread) {
      extra_ = std::make_unique<ExtraThreads>(config.workers);
      arena_ = std::make_unique<oneapi::tbb::task_arena>(config.workers, 0U);
      node.may_sleep = [] { return ExtraThreads::are_granted(); };
      // weak: a task that found no thread before the end of the run may come when the core is gone.
      node.spawn = [arena = arena_.get(), weak = std::weak_ptr{core_}](std::function<void()> task) {
        arena->enqueue([weak, task = std::move(task)] {
          const std::shared_ptr<Core> core = weak.lock();
          if (!core) return;
          const Core* const before = std::exchange(Core::inside(), core.get());
          task();
          Core::inside() = before;
        });
      };
    }
    core_->add_member(*this);
    index_ = core_->add_node(std::move(node));
  }

  void emit(std::span<Handle> items) noexcept override {
    if (!core_->crew(index_).node().output_grows()) {
      for (Handle& item : items) item->drop_grants();  // what a body asked for and is not in the item
    }
    if (!output_.is_connected()) {
      for (const Handle& item : items) {
        if (item->failure) tell(*item->failure);
      }
    }
    output_.emit(items);
  }

  // Nobody else will.
  void tell(const Failure& failure) noexcept {
    constexpr std::uint64_t kTold = 10;
    const std::uint64_t before = untold_.fetch_add(1, std::memory_order_relaxed);
    if (before < kTold) log_warning(ProducerError{failure}.what());
    if (before == kTold) log_warning("node '" + failure.node + "': further errors are not told");
  }

  flow::graph& graph_;
  const std::shared_ptr<Core> core_;
  Input input_;
  OutputPort<Result> output_;
  std::atomic<std::uint64_t> untold_{0};  // errors that came out where no edge leads on
  std::unique_ptr<ExtraThreads> extra_;
  std::unique_ptr<oneapi::tbb::task_arena> arena_;
  std::uint32_t index_ = 0;
};

}  // namespace tandem
