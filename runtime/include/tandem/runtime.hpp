#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <tandem/audit.hpp>
#include <tandem/config.hpp>
#include <tandem/shared_array.hpp>

namespace tandem {

class Core;

/// Owns the memory, the workers and the configuration that a graph's nodes use.
/// Life      nodes are made with it; the first next(), activate() or start() forks the workers; stop()
///           or the destructor ends them. One run; a later run takes another Runtime.
/// Lifetime  may end before its nodes, or after; items stay valid until their last handle is gone.
/// Threads   all functions may be called by any thread.
class Runtime {
 public:
  /// Configured by tandem.toml in the current directory, if there is one, then by TANDEM_* in the
  /// environment.
  /// Errors    throws ConfigError, with the place and what to write instead. An Error that the program
  ///           does not catch ends it with that one line and status 2 (a ProducerError: 1), not an abort.
  Runtime();
  /// The same, then --tandem.key=value arguments, which are removed from argv.
  Runtime(int& argc, char** argv);
  explicit Runtime(Config config);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Config& config() const noexcept;

  /// An array in memory that workers share, of indeterminate contents; all elements `value`; or a copy.
  /// Errors    throws MemoryError when there is no room (key `arrays`), or the system refuses the pages; Error for a shape that
  ///           does not fit the address space or the elements, and when worker processes were started before the first
  ///           array or Executor was made.
  template <Element T>
  [[nodiscard]] SharedArray<T> array(const Shape& shape) {
    return SharedArray<T>{make_array(detail::bytes_of<T>(shape), dtype_of<T>, shape), 0, shape};
  }
  template <Element T>
  [[nodiscard]] SharedArray<T> array(const Shape& shape, T value) {
    SharedArray<T> made = array<T>(shape);
    std::fill(made.begin(), made.end(), value);
    return made;
  }
  template <Element T>
  [[nodiscard]] SharedArray<T> array(const Shape& shape, std::span<const T> elements) {
    if (elements.size() != shape.elements()) detail::refuse_elements(shape, elements.size());
    SharedArray<T> made = array<T>(shape);
    std::copy(elements.begin(), elements.end(), made.begin());
    return made;
  }
  /// An array in a file, which workers map too: a handle for readers to an existing file; or one to read and write, in a file that
  /// is there (FileMode::update) or is made, of zeros (FileMode::create, which a spawned worker's main opens as the host has made
  /// it). Elements in C order from the file's beginning, which may have more; nothing is in it but them.
  ///     const auto weights = runtime.file_array<const float>("weights.bin", {1000, 1000});
  ///     auto result = runtime.file_array<double>("result.bin", {100}, tandem::FileMode::create);
  /// Written    is what anybody writes at once, for whoever reads the file or the array; on the disk it is when SharedArray::sync()
  ///            has returned.
  /// Lifetime   the mapping goes with the last handle; the file stays. It must keep its name for as long as there are handles, and its
  ///            size: who touches what somebody has cut off ends by SIGBUS.
  /// Errors     throws Error, with the path and what was found and wanted: no such file, or one already; no permission; not a
  ///            regular file; too small; no room for it; a shape without elements.
  template <class T>
    requires(std::is_const_v<T> && Element<std::remove_const_t<T>>)
  [[nodiscard]] SharedArray<T> file_array(const std::string& path, const Shape& shape) {
    const ArraySpec spec = tandem::array<std::remove_const_t<T>>("a file", shape);
    return SharedArray<T>{open_file(path, spec), 0, shape};
  }
  template <Element T>
  [[nodiscard]] SharedArray<T> file_array(const std::string& path, const Shape& shape, FileMode mode) {
    return SharedArray<T>{open_file(path, tandem::array<T>("a file", shape), mode), 0, shape};
  }
  /// The shared arrays that are alive, but for those in files, by id: how large, how many handles, and which calls hold them.
  [[nodiscard]] std::vector<ArrayInfo> arrays() const;
  /// Whether this process is a worker that was spawned (start = "spawn"): main runs up to where the graph of the Runtime that
  /// it belongs to starts, serves its node from there on, and never goes on. The graphs of other Runtimes end at once.
  /// Always the same; false in the program itself and in a forked worker.
  bool is_worker() const noexcept;

  /// Starts the workers; done by the first next() or activate() otherwise. Once; then does nothing.
  /// Errors    throws ConfigError (unknown node), MemoryError (not enough for one item, or for
  ///           in_flight of them), Error (no process, no descriptor).
  void start();
  /// Ends the run: consumers get no further item, commanders no further call, workers are ended.
  /// A worker process that is still busy after `grace` is killed. A body on a thread, and a commander,
  /// must return by itself (Context::stopping()); stop() waits for it. Called from a body, in either
  /// placement, or from a commander, it only asks, and does not wait. At its end all bodies are destroyed.
  void stop() noexcept;

  /// Items that may be between commander and consumer, as configured or chosen; 0 before start().
  std::uint32_t in_flight() const noexcept;
  /// Messages of which somebody still holds an item.
  std::uint64_t live_messages() const noexcept;
  /// Blocks of shared memory that are lent now.
  std::uint64_t lent_blocks() const noexcept;
  /// Checks the books: that every block and every credit is where exactly one record says that it is, and what each
  /// worker was asked is recorded as lent to it. Audit::balanced() tells whether all is well.
  /// Cost      looks at every lease. While items move it looks again, for about a second, until all equations hold
  ///           at one moment; what stays broken is.
  [[nodiscard]] Audit audit() const;
  /// The worker processes that are running now and have a number. One that died is among them until the runtime
  /// has learned of it.
  std::vector<pid_t> worker_pids() const;
  /// The worker processes that are kept ready to replace others.
  std::vector<pid_t> spare_pids() const;

  /// For nodes.
  const std::shared_ptr<Core>& core() const noexcept { return core_; }

 private:
  static std::shared_ptr<ArrayBlock> open_file(const std::string& path, const ArraySpec& spec,
                                               std::optional<FileMode> mode = std::nullopt);
  std::shared_ptr<ArrayBlock> make_array(std::size_t bytes, Dtype dtype, const Shape& shape);

  std::shared_ptr<Core> core_;
};

}  // namespace tandem
