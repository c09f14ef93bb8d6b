#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <tandem/descriptor.hpp>
#include <tandem/segment.hpp>
#include <tandem/spawn.hpp>

namespace tandem {

/// The host's end of the fork server: a single-threaded copy of the host, forked when the graph
/// starts, that forks workers on request, now and whenever one must be replaced.
///
/// Why a server: the host has threads, and a process with threads can be forked safely only into a
/// copy that does little. The server is forked once, early, and what it forks is clean.
/// Who ends whom: the server dies with the host's thread that called start() (PR_SET_PDEATHSIG
/// follows the thread), so that must be the pump, which lives as long as the runtime; each worker
/// dies with the server. The server is the workers' parent and reports how they ended; that they
/// ended the host knows from their pidfds.
/// Threads   the pump's only.
class Launcher {
 public:
  struct Started {
    std::uint32_t slot;
    std::uint32_t incarnation;
    pid_t pid;
    Descriptor pidfd;
  };
  struct NotStarted {
    std::uint32_t slot;
    std::uint32_t incarnation;
    int error;  // errno of fork(2) or pidfd_open(2)
  };
  /// It was forked, and this process has no descriptor left to watch it with. It was killed; Ended follows.
  struct Unwatched {
    std::uint32_t slot;
    std::uint32_t incarnation;
    int error;
  };
  struct Ended {
    std::uint32_t slot;
    std::uint32_t incarnation;
    int status;  // as waitpid(2) gives it
  };
  struct Inspected {
    std::uint32_t slot;
    std::uint32_t incarnation;
    std::string stack;  // see stack_of()
  };
  using Report = std::variant<Started, NotStarted, Unwatched, Ended, Inspected>;

  /// worker_main runs in each new worker, which has the segments mapped, and must not return.
  /// order        for the slots that it spawns the worker executes the program again, and worker_main is not called.
  ///              Null: there are none. Lasts as long as this.
  Launcher(std::vector<Segment*> segments,
           std::function<void(std::uint32_t slot, std::uint32_t incarnation)> worker_main,
           const SpawnOrder* order = nullptr);
  ~Launcher();
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  /// Forks a server. Errors: throws Error when the system has no process or descriptor left.
  void start();
  /// Lets the server end, with every worker that is left and what belongs to it; kills it after a second. Reaps it.
  void stop() noexcept;
  bool running() const noexcept { return static_cast<bool>(socket_); }

  enum class Request { sent, full, gone };
  /// Asks for a worker; answered by Started or NotStarted. Never waits. full: again after the next report.
  [[nodiscard]] Request request(std::uint32_t slot, std::uint32_t incarnation) noexcept;
  /// Asks where a worker stands; answered by Inspected, or not at all. Never waits.
  [[nodiscard]] Request inspect(std::uint32_t slot, std::uint32_t incarnation) noexcept;
  /// The next report, if one has arrived.
  [[nodiscard]] std::optional<Report> receive();

  int socket() const noexcept { return socket_.get(); }       // readable when a report is there
  int server_pidfd() const noexcept { return pidfd_.get(); }  // readable when the server is gone

 private:
  pid_t fork_server();

  const std::vector<Segment*> segments_;
  std::function<void(std::uint32_t, std::uint32_t)> worker_main_;
  const SpawnOrder* const order_;
  Descriptor socket_;
  Descriptor pidfd_;
  pid_t server_ = -1;
};

/// "killed by signal 9 (SIGKILL)" or "exited with status 3", from waitpid's status.
std::string describe_status(int status);

int open_pidfd(pid_t pid) noexcept;
int send_pidfd_signal(int pidfd, int signal) noexcept;

}  // namespace tandem
