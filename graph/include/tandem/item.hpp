#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <tandem/array.hpp>
#include <tandem/error.hpp>
#include <tandem/lease.hpp>

namespace tandem {

/// What travels on the edges of a graph: a handle to one message or to what was made from it.
/// Holds     T, a trivially copyable struct or Arrays; or an error in its place. Nodes that are not Tandem's get
///           such items too, and ask ok(); a stream hands them out with on_error = "deliver" only.
/// Lifetime  the value stays where it is, and the message's credit stays taken, until the last Item of
///           the message is gone. Items may outlive the graph and the Runtime.
/// Threads   each Item by one thread at a time; the value may be read by several.
/// Cost      8 bytes; a copy is one atomic increment.
template <class T>
class Item {
 public:
  using value_type = T;

  /// Holds nothing; oneTBB's buffers need it.
  Item() noexcept = default;
  /// For nodes.
  explicit Item(Handle handle) noexcept : handle_{std::move(handle)} {}

  /// False for an Item that holds nothing at all.
  explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
  /// True when there is a value.
  bool ok() const noexcept { return handle_ && handle_->failure == nullptr && !handle_->skipped; }
  /// True when there is none because a producer said so (Context::skip()).
  bool skipped() const noexcept { return handle_ && handle_->skipped; }
  /// What went wrong, or null. Lifetime: the Item's.
  const Failure* error() const noexcept { return handle_ ? handle_->failure.get() : nullptr; }

  /// The value.
  /// Errors    throws ProducerError when the item carries an error, Error when it holds nothing or was skipped.
  const T& operator*() const { return *get(); }
  const T* operator->() const { return get(); }

  /// The message's place in the order of the commander, feeder or split node that made it, from 0.
  std::uint64_t sequence() const noexcept { return handle_ ? handle_->sequence : 0; }
  /// The round of its commander that the message belongs to, from 0, and its place in that round, from 0.
  std::uint64_t epoch() const noexcept { return handle_ ? handle_->root->epoch : 0; }
  std::uint64_t index() const noexcept { return handle_ ? handle_->sequence - handle_->root->epoch_begin : 0; }
  /// True for the mark of a round's end, which comes to nodes that are not Tandem's, too: skipped(), so not ok().
  bool ends_epoch() const noexcept { return handle_ && handle_->root->round == Round::end; }
  /// Behind a split node: which part of its item this was made from, from 0, and how many parts that had.
  std::uint64_t part() const noexcept { return handle_ ? handle_->root->piece.number : 0; }
  std::uint64_t parts() const noexcept { return handle_ ? handle_->root->piece.count : 1; }
  /// The commander's message that it was made from; of a part, that of the item which was split.
  /// Lifetime  this Item's, or that of any other of the same message.
  /// Errors    throws TypeError when the commander's messages are of another type; Error when there is none: the Item
  ///           holds nothing, or comes from a feeder, or the commander failed.
  template <class M>
  const M& message() const {
    if (!handle_) throw Error("this Item was not made from a commander's message");
    const Lease& root = origin();
    if (root.payload == nullptr) throw Error("this Item was not made from a commander's message");
    if (*root.type != typeid(M)) {
      throw TypeError("the commander's messages are " + type_name(*root.type) +
                      ", and message() was asked for " + type_name(typeid(M)));
    }
    return *static_cast<const M*>(root.payload);
  }

  /// The worker that made it, from 0; -1 for a commander's message.
  int worker() const noexcept { return handle_ ? handle_->worker : -1; }
  /// How many tries it took, from 1.
  int attempt() const noexcept { return handle_ ? handle_->attempt : 1; }

  /// For nodes.
  Round round() const noexcept { return handle_ ? handle_->root->round : Round::none; }
  const Handle& handle() const noexcept { return handle_; }
  Handle& handle() noexcept { return handle_; }

 private:
  // The message's lease at the beginning of its way, before all split nodes.
  const Lease& origin() const noexcept {
    const Lease* root = handle_->root;
    while (root->piece.whole != nullptr) root = root->piece.whole->root;
    return *root;
  }

  const T* get() const {
    if (!handle_) throw Error("this Item holds nothing; test it with ok() before use");
    if (handle_->failure) throw ProducerError(*handle_->failure);
    if (handle_->skipped) throw Error("this Item was skipped by its producer; test it with ok() before use");
    return static_cast<const T*>(handle_->payload);
  }

  Handle handle_;
};

/// What may travel: anything that can be copied as bytes, and Arrays.
template <class T>
concept Transportable = std::is_same_v<T, Arrays> || std::is_trivially_copyable_v<T>;

}  // namespace tandem
