#pragma once

#include <atomic>
#include <string>
#include <system_error>
#include <thread>

#include <oneapi/tbb/flow_graph.h>

#include <tandem/core.hpp>
#include <tandem/log.hpp>
#include <tandem/source.hpp>

namespace tandem {

namespace flow = oneapi::tbb::flow;

/// A source's part in the end of its graph: graph.wait_for_all() returns when the graph is done with all its messages, or
/// the run was stopped; and a run whose graph was cancelled is ended.
/// Threads   all by any, but take() and the destructor.
/// Lifetime  the destructor waits for a run that is being ended; graph and core outlive it.
class GraphHold {
 public:
  GraphHold(flow::graph& graph, Core& core) noexcept : graph_{graph}, core_{core} {}
  GraphHold(const GraphHold&) = delete;
  GraphHold& operator=(const GraphHold&) = delete;
  ~GraphHold() {
    if (stopper_.joinable()) stopper_.join();
  }

  /// The run has begun. The source may be drained already: a feeder's is finished by any thread.
  void take(const Source& source) {
    graph_.reserve_wait();
    held_.store(true);
    // HOLD: the flag before the look, both seq_cst; who drains the source does that before it looks at the flag.
    // Weaker: nobody would let go.
    let_go_of(source);
  }
  /// If the source is drained.
  void let_go_of(const Source& source) noexcept {
    if (source.drained()) let_go();
  }
  void let_go() noexcept {
    if (held_.exchange(false)) graph_.release_wait();
  }

  /// The run cannot go on. It is ended before graph.wait_for_all() returns, so that no item comes to a node that goes
  /// after that. In another thread: stop() joins the caller. By one thread, once.
  void end_run() noexcept {
    try {
      stopper_ = std::thread{[this] { core_.stop(); }};
    } catch (const std::system_error& error) {
      log_warning("the graph was cancelled, and there is no thread to end the run: " +
                  std::string{error.what()});
      let_go();
    }
  }

 private:
  flow::graph& graph_;
  Core& core_;
  std::atomic<bool> held_{false};
  std::thread stopper_;
};

}  // namespace tandem
