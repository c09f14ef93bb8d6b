#pragma once

#include <concepts>
#include <memory>
#include <span>
#include <type_traits>

#include <tandem/core.hpp>
#include <tandem/parameter_cell.hpp>
#include <tandem/runtime.hpp>
#include <tandem/worker.hpp>

namespace tandem {

/// A value that the host may change at any time, and every body reads the latest of: a learning rate, a resolution, a
/// stop criterion. The commander and bodies keep copies of it, which all refer to the one value.
///
///     tandem::Parameter<double> rate{runtime, 0.1};
///     ... [rate](const Tile& in, tandem::Arrays& out) { ... rate.get() ... }
///     rate.set(0.05);
///
/// What a message sees depends on when it is done: what must be the same for all placements belongs into the message.
/// Threads   get() in bodies, in either placement, and anywhere in the host; set() in the host.
/// Cost      get() copies T, without a lock or system call.
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
  /// Errors    throws Error in a body of a worker process.
  void set(const T& value) {
    if (is_worker_process())
      throw Error("a Parameter is set by the host; a body in a worker process can only read it");
    cell_->set(std::as_bytes(std::span{&value, 1}));
  }

 private:
  std::shared_ptr<ParameterCell> cell_;
};

}  // namespace tandem
