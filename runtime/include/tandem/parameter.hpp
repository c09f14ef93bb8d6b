#pragma once

#include <concepts>
#include <memory>
#include <span>
#include <type_traits>

#include <tandem/core.hpp>
#include <tandem/parameter_cell.hpp>
#include <tandem/role.hpp>
#include <tandem/runtime.hpp>

namespace tandem {

/// A value that the host may change at any time, and every body reads the latest of: a learning rate, a resolution, a
/// stop criterion. The commander and bodies keep copies of it, which all refer to the one value.
///
///     tandem::Parameter<double> rate{runtime, 0.1};
///     ... [rate](const Tile& in, tandem::Arrays& out) { ... rate.get() ... }
///     rate.set(0.05);
///
/// What a message sees depends on when it is done: what must be the same for all placements belongs into the message.
/// Threads   get() in bodies, in either placement, and at any time in the host; set() in the host, the commander included.
/// Cost      get() copies T, without a lock or system call; set() does so twice, under a lock.
template <class T>
  requires(std::is_trivially_copyable_v<T> && std::default_initializable<T>)
class Parameter {
 public:
  /// Errors    throws Error once the runtime has started.
  Parameter(Runtime& runtime, const T& initial)
      : cell_{std::make_shared<ParameterCell>(std::as_bytes(std::span{&initial, 1}))} {
    runtime.core()->add_parameter(cell_);
  }

  [[nodiscard]] T get() const {
    T value;
    cell_->get(std::as_writable_bytes(std::span{&value, 1}));
    return value;
  }
  /// Errors    throws Error in a producer's body and in an Executor's function, in either placement.
  void set(const T& value) {
    if (is_in_body())
      throw Error(
          "a Parameter is set by the program or its commander; a body can only read it, since it may run in a "
          "worker process; hand the value on with the item");
    cell_->set(std::as_bytes(std::span{&value, 1}));
  }

 private:
  std::shared_ptr<ParameterCell> cell_;
};

}  // namespace tandem
