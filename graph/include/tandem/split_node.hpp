#pragma once

#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/core.hpp>
#include <tandem/ports.hpp>
#include <tandem/runtime.hpp>
#include <tandem/several.hpp>
#include <tandem/splitter.hpp>

namespace tandem {

/// What comes out of a split_node<In>.
template <class In>
struct PartOf {
  static_assert(std::is_same_v<In, Arrays>, "a split_node takes Arrays or a Several<T, Most>");
  using type = Arrays;
};
template <class T, std::size_t Most>
struct PartOf<Several<T, Most>> {
  using type = T;
};

/// Takes items apart: of one item come as many as it has parts, without a copy. A message that makes several items.
///
///     split_node<Arrays> rows{graph, runtime, "rows"};                // part k is row k of each array
///     split_node<Several<Hit, 100>> hits{graph, runtime, "hits"};     // part k is the k-th Hit
///
/// Parts     are messages of this node's own, numbered from 0 in the order of (item, part); `in_flight` of them at a time.
///           An item without parts makes none, as does one that was skipped; one that carries an error makes one part,
///           with that error. A part keeps the item's memory, and its message's credit, until its last handle is gone.
/// Arrays    are split along the first dimension, in which all must have as many rows in an item: the producer declares
///           the most that there can be with up_to(), and says in each item how many there are with set_extent(). Arrays
///           that are not to be split are whole in each part. Rows that are no multiple of 64 bytes long are
///           viewed with span(): see Arrays. Parts of arrays are not split again; put a producer between.
/// Order     with `deterministic`, items are taken in their commander's order, so each part has the same number in each run; else
///           as they come. (Those of several commanders are taken as they come, each commander's in their order.)
///           What follows needs a sequencer_node as ever where it may overtake.
/// Random    numbers of bodies behind go by the part's number; without `deterministic` they depend on which item came first.
/// Rounds    are those of the commander; see there. Parts of a round come before its mark.
/// Errors    arrays of different extents, or without dimension, and unknown names: an error item for each such item.
/// Memory    every node holds `in_flight` items of each source, and this is one more.
/// Lifetime  the destructor stops the runtime.
template <class In>
class split_node
    : public flow::composite_node<std::tuple<Item<In>>, std::tuple<Item<typename PartOf<In>::type>>>,
      private Splitter {
  using Out = typename PartOf<In>::type;
  using base_type = flow::composite_node<std::tuple<Item<In>>, std::tuple<Item<Out>>>;
  static constexpr bool kArrays = std::is_same_v<In, Arrays>;

 public:
  /// Splits all arrays, or the values of a Several.
  split_node(flow::graph& graph, Runtime& runtime, std::string name)
      : split_node{Tag{}, graph, runtime, std::move(name), {}} {}

  /// Splits the arrays of these names.
  /// Errors    throws Error when there is no name, one is empty, or there twice.
  split_node(flow::graph& graph, Runtime& runtime, std::string name, std::vector<std::string> arrays)
    requires kArrays
      : split_node{Tag{}, graph, runtime, name, checked(name, std::move(arrays))} {}

  ~split_node() {
    leave();
    output_.wait_idle();
  }

 private:
  struct Tag {};
  split_node(Tag, flow::graph& graph, Runtime& runtime, std::string name, std::vector<std::string> arrays)
      : base_type{graph},
        Splitter{graph, runtime.core(), std::move(name), std::move(arrays)},
        input_{graph, *this},
        output_{graph, core()} {
    base_type::set_external_ports(typename base_type::input_ports_type{input_},
                                  typename base_type::output_ports_type{output_});
  }

  static std::vector<std::string> checked(const std::string& name, std::vector<std::string> arrays) {
    if (arrays.empty())
      throw Error("node '" + name + "': no array is named to be split; leave the list out to split all");
    return arrays;
  }

  class Input final : public InputPort<In> {
   public:
    Input(flow::graph& graph, split_node& node) : InputPort<In>{graph, node.core()}, node_{node} {}
    void accept(std::span<Handle> items) noexcept override { node_.take(items); }

   private:
    split_node& node_;
  };

  std::size_t cut(Lease& whole) override {
    if constexpr (kArrays) {
      if (whole.root == &whole) throw Error("it is a part already; put a producer between two split nodes");
      rows_ = &split().rows_of(core().node(whole.node));
      return whole.arrays.count_rows(*rows_);
    } else {
      return static_cast<In*>(whole.payload)->read_size();
    }
  }

  void fill(Lease& part, Lease& whole) override {
    if constexpr (kArrays) {
      part.arrays = whole.arrays.row(*rows_, part.piece.number);
      part.piece.split = index();
      part.payload = &part.arrays;
    } else {
      In& all = *static_cast<In*>(whole.payload);
      const std::size_t offset = all.offset_of(part.piece.number);
      part.piece.offset = whole.piece.offset + offset;
      part.payload = reinterpret_cast<std::byte*>(&all) + offset;
    }
  }

  void hand_on(Handle part) noexcept override { output_.emit(std::move(part)); }

  Input input_;
  OutputPort<Out> output_;
  const ArraysLayout* rows_ = nullptr;  // of the item that is being split; kept by the core
};

}  // namespace tandem
