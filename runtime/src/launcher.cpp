#include <tandem/launcher.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <span>
#include <streambuf>
#include <string>
#include <utility>
#include <vector>

#include <tandem/error.hpp>
#include <tandem/keeper.hpp>
#include <tandem/stack.hpp>
#include <tandem/worker.hpp>

namespace tandem {
namespace {

enum class MessageKind : std::uint32_t { request, inspect, started, not_started, ended, inspected };

constexpr std::size_t kLongestStack = 8192;
// How long the fork server may take at its end to wait for its children, and waits itself for a keeper's first word.
constexpr int kReapMilliseconds = 1000;

// One datagram of the socket pair, either way. A text follows `inspected`.
struct Message {
  MessageKind kind = MessageKind::request;
  std::uint32_t slot = 0;
  std::uint32_t incarnation = 0;
  std::int32_t number = 0;  // pid, errno or status
};

// The files that come with a message: a worker's pidfd; or, for one to be spawned, the order, the segment, and that of the
// shared arrays, if there are any.
constexpr std::size_t kMostFiles = 3;
using Files = std::array<Descriptor, kMostFiles>;

bool send_message(int socket, Message message, std::span<const int> attached = {}, int flags = 0,
                  std::string text = {}) {
  iovec data[] = {{&message, sizeof message}, {text.data(), std::min(text.size(), kLongestStack)}};
  msghdr header{};
  header.msg_iov = data;
  header.msg_iovlen = 2;
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFiles * sizeof(int))] = {};
  if (!attached.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(attached.size_bytes());
    cmsghdr* const part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(attached.size_bytes());
    std::memcpy(CMSG_DATA(part), attached.data(), attached.size_bytes());
  }
  while (sendmsg(socket, &header, MSG_NOSIGNAL | flags) < 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

// False at the end of the stream, on an error and, with MSG_DONTWAIT, when nothing is there.
bool receive_message(int socket, int flags, Message& message, Files& attached, std::string& text) {
  char rest[kLongestStack];
  iovec data[] = {{&message, sizeof message}, {rest, sizeof rest}};
  msghdr header{};
  header.msg_iov = data;
  header.msg_iovlen = 2;
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFiles * sizeof(int))] = {};
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t got = 0;
  while ((got = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {}
  if (got < static_cast<ssize_t>(sizeof message)) return false;
  text.assign(rest, static_cast<std::size_t>(got) - sizeof message);
  const cmsghdr* const part = CMSG_FIRSTHDR(&header);
  if (part == nullptr || part->cmsg_type != SCM_RIGHTS) return true;
  const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (std::size_t index = 0; index < std::min(count, kMostFiles); ++index) {
    int number = -1;
    std::memcpy(&number, CMSG_DATA(part) + index * sizeof number, sizeof number);
    attached[index] = Descriptor{number};
  }
  return true;
}

// The fork server's whole life, in the server process. Single-threaded.
class Server {
 public:
  Server(int socket, const std::function<void(std::uint32_t, std::uint32_t)>& worker_main,
         const SpawnOrder* order)
      : socket_{socket}, worker_main_{worker_main}, order_{order} {}

  // noexcept: an exception must never unwind into the copy of the host's stack below.
  [[noreturn]] void serve() noexcept {
    pipe_action_ = signal(SIGPIPE, SIG_IGN);  // a worker that died before it was told must not end the server
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    const int child_ended = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (child_ended < 0) _exit(1);
    signals_ = child_ended;
    for (;;) {
      pollfd watched[] = {{socket_, POLLIN, 0}, {child_ended, POLLIN, 0}};
      if (poll(watched, 2, -1) < 0 && errno != EINTR) _exit(1);
      if ((watched[1].revents & POLLIN) != 0) reap();
      if ((watched[0].revents & (POLLIN | POLLHUP)) != 0) answer();
    }
  }

 private:
  struct Child {
    pid_t pid;
    std::uint32_t slot;
    std::uint32_t incarnation;
    Descriptor told;  // its keeper's pid comes here
  };

  void answer() {
    Message request;
    Files files;
    std::string none;
    if (!receive_message(socket_, 0, request, files, none)) end();  // nobody will ask any more
    if (request.kind == MessageKind::inspect) {
      inspect(request);
      return;
    }
    // A worker waits for a byte until the host has been told of it. If this server ends before that, the
    // worker sees the end of the stream and ends too, without having touched its channel, which the next
    // server's worker then finds new.
    int ends[2];
    const bool spawns = order_ != nullptr && order_->spawns(request.slot);
    const bool files_lost = spawns && !files[order_->files() - 1];  // this process has no descriptors left
    if (files_lost || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
      report({MessageKind::not_started, request.slot, request.incarnation, files_lost ? EMFILE : errno});
      return;
    }
    Descriptor mine{ends[0]};
    Descriptor its{ends[1]};
    const pid_t server = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
      mine = Descriptor{};
      become_worker(server, request, files, std::move(its));
    }
    const Descriptor pidfd{pid > 0 ? open_pidfd(pid) : -1};
    if (!pidfd) {
      const int error = errno;
      if (pid > 0) kill(pid, SIGKILL);  // reaped later; nobody was told of it
      report({MessageKind::not_started, request.slot, request.incarnation, error});
      return;
    }
    its = Descriptor{};
    children_.push_back({pid, request.slot, request.incarnation, std::move(mine)});
    const int attached = pidfd.get();
    report({MessageKind::started, request.slot, request.incarnation, pid}, {&attached, 1});
    [[maybe_unused]] const auto sent = write(children_.back().told.get(), "", 1);  // fails if it is dead
  }

  // In a process of its own, because nobody knows how long it takes. It ends with the worker, whom the host kills
  // soon, and with this server.
  void inspect(const Message& request) {
    for (const Child& child : children_) {
      if (child.slot != request.slot || child.incarnation != request.incarnation) continue;
      const pid_t server = getpid();
      if (fork() != 0) return;  // without one, the host does not wait for long
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != server) _exit(1);
      prctl(PR_SET_NAME, "tandem:looks");
      send_message(socket_, {MessageKind::inspected, request.slot, request.incarnation, 0}, {}, 0,
                   stack_of(child.pid));
      _exit(0);
    }
  }

  // From here on to execute() nothing but what is safe in a signal handler: the fork server is a copy of a process with
  // threads, and so is this one.
  [[noreturn]] void become_worker(pid_t server, const Message& request, const Files& files, Descriptor told) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != server) _exit(1);  // it died before the line above
    const bool spawned = static_cast<bool>(files[1]);
    if (!spawned) children_.clear();
    char byte = 0;
    ssize_t got = 0;
    while ((got = read(told.get(), &byte, 1)) < 0 && errno == EINTR) {}
    if (got != 1) _exit(1);
    close(socket_);
    close(signals_);
    if (!spawned) start_keeper(server, told.get());
    signal(SIGPIPE, pipe_action_);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (spawned)  // what is executed makes its keeper itself: this address space ends
      order_->execute(request.slot, request.incarnation,
                      {files[0].get(), files[1].get(), files[2].get(), told.get(), server});
    told = Descriptor{};
    worker_main_(request.slot, request.incarnation);
    _exit(1);
  }

  void reap() {
    signalfd_siginfo drained;
    while (read(signals_, &drained, sizeof drained) > 0) {}
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) forget(pid, status);
  }

  void forget(pid_t pid, int status) {
    const auto child =
        std::find_if(children_.begin(), children_.end(), [pid](const Child& one) { return one.pid == pid; });
    if (child == children_.end()) return;  // a keeper, or one that looked at a stack
    const Child ended = std::move(*child);
    if (child != children_.end() - 1) *child = std::move(children_.back());
    children_.pop_back();
    // Whoever uses libaio may have left the kernel writing into the block; that ends with the address space.
    const bool kernel_writes = asynchronous_writes();
    const auto tell = [&] {
      if (!ending_) report({MessageKind::ended, ended.slot, ended.incarnation, status});
    };
    if (!kernel_writes) tell();  // somebody waits for it
    const pid_t keeper = end_keeper(ended);
    if (!kernel_writes) return;
    while (keeper > 0 && waitpid(keeper, nullptr, 0) < 0 && errno == EINTR) {}
    tell();
  }

  // Whether any process of the system has libaio contexts (/proc/sys/fs/aio-nr, proc(5)).
  static bool asynchronous_writes() {
    const Descriptor file{open("/proc/sys/fs/aio-nr", O_RDONLY | O_CLOEXEC)};
    char digit = '0';
    return file && read(file.get(), &digit, 1) == 1 && digit != '0';
  }

  // The worker is gone, so its keeper has written, and closed its files, or is about to. What was read is its own pid,
  // because no body runs before it has written. Returns it, or 0: there is none any more.
  pid_t end_keeper(const Child& worker) const {
    pollfd told{worker.told.get(), POLLIN, 0};
    if (poll(&told, 1, kReapMilliseconds) <= 0) return 0;  // somebody has stopped it; it ends with this process
    pid_t keeper = 0;
    if (read(worker.told.get(), &keeper, sizeof keeper) != sizeof keeper) return 0;
    // Somebody may have ended it before, and its pid may be another's now.
    siginfo_t info{};
    if (waitid(P_PID, static_cast<id_t>(keeper), &info, WEXITED | WNOHANG | WNOWAIT) != 0) return 0;
    const bool worker_now = std::any_of(children_.begin(), children_.end(),
                                        [keeper](const Child& one) { return one.pid == keeper; });
    if (worker_now) return 0;
    kill(keeper, SIGKILL);
    return keeper;
  }

  // Nothing of a worker is left when this process is gone.
  [[noreturn]] void end() {
    ending_ = true;
    for (const Child& child : children_) kill(child.pid, SIGKILL);
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR) {
      if (pid > 0) forget(pid, status);
    }
    _exit(0);
  }

  void report(const Message& message, std::span<const int> attached = {}) {
    send_message(socket_, message, attached);  // fails when the host has let go, which serve() sees next
  }

  const int socket_;
  int signals_ = -1;
  bool ending_ = false;
  sighandler_t pipe_action_ = SIG_DFL;  // what the host had: default or ignored
  const std::function<void(std::uint32_t, std::uint32_t)>& worker_main_;
  const SpawnOrder* const order_;
  std::vector<Child> children_;
};

// Forgets what is buffered for output. The standard keeps the three that do it for derived classes.
void purge(std::streambuf& buffer) {
  struct Access : std::streambuf {
    static void forget(std::streambuf& of) {
      const auto begin = &Access::pbase;
      const auto end = &Access::epptr;
      const auto set = &Access::setp;
      (of.*set)((of.*begin)(), (of.*end)());
    }
  };
  Access::forget(buffer);
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? "SIG" + std::string{name} : "SIG?";
}

}  // namespace

Launcher::Launcher(std::vector<Segment*> segments,
                   std::function<void(std::uint32_t, std::uint32_t)> worker_main, const SpawnOrder* order)
    : segments_{std::move(segments)}, worker_main_{std::move(worker_main)}, order_{order} {}

Launcher::~Launcher() { stop(); }

void Launcher::start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw Error(std::string{"cannot make the fork server's socket: "} + std::strerror(errno) +
                "; raise the limit on open files (ulimit -n)");
  }
  Descriptor mine{ends[0]};
  Descriptor its{ends[1]};
  const pid_t host = getpid();
  const pid_t pid = fork_server();
  if (pid < 0) {
    throw Error(std::string{"cannot fork the fork server: "} + std::strerror(errno) +
                "; raise the limit on processes (ulimit -u) or free memory");
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != host) _exit(1);
    prctl(PR_SET_NAME, "tandem:forks");
    reset_signals();
    Descriptor::close_all_but(its.get());  // the memory's files too: open, they would keep it alive
    __fpurge(stdout);                      // what another thread printed meanwhile is the host's to print
    purge(*std::cout.rdbuf());
    Server{its.get(), worker_main_, order_}.serve();
  }
  Descriptor pidfd{open_pidfd(pid)};
  if (!pidfd) {
    const int error = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    throw Error(std::string{"cannot watch the fork server: "} + std::strerror(error) +
                "; raise the limit on open files (ulimit -n)");
  }
  socket_ = std::move(mine);
  pidfd_ = std::move(pidfd);
  server_ = pid;
}

pid_t Launcher::fork_server() {
  const std::lock_guard lock{Segment::fork_mutex()};
  for (Segment* const segment : segments_) segment->set_inherited(true);
  const pid_t pid = fork();
  const int error = errno;
  for (Segment* const segment : segments_) {
    if (pid != 0) segment->set_inherited(false);
  }
  errno = error;
  return pid;
}

void Launcher::stop() noexcept {
  if (server_ < 0) return;
  shutdown(socket_.get(), SHUT_RDWR);  // so that it ends; a copy of our end may be in a child of the program's
  socket_ = Descriptor{};
  pollfd end{pidfd_.get(), POLLIN, 0};
  while (poll(&end, 1, kReapMilliseconds) < 0 && errno == EINTR) {}
  send_pidfd_signal(pidfd_.get(), SIGKILL);
  while (waitpid(server_, nullptr, 0) < 0 && errno == EINTR) {}
  server_ = -1;
  pidfd_ = Descriptor{};
}

Launcher::Request Launcher::request(std::uint32_t slot, std::uint32_t incarnation) noexcept {
  if (!running()) return Request::gone;
  std::vector<int> files;
  if (order_ != nullptr && order_->spawns(slot)) {
    files = {order_->file()};
    for (const Segment* const segment : segments_) files.push_back(segment->file());
  }
  if (send_message(socket_.get(), {MessageKind::request, slot, incarnation, 0}, files, MSG_DONTWAIT)) {
    return Request::sent;
  }
  // ETOOMANYREFS: of the files of requests that the server has not read yet (unix(7)).
  return errno == EAGAIN || errno == ETOOMANYREFS ? Request::full : Request::gone;
}

Launcher::Request Launcher::inspect(std::uint32_t slot, std::uint32_t incarnation) noexcept {
  if (!running()) return Request::gone;
  const bool sent = send_message(socket_.get(), {MessageKind::inspect, slot, incarnation, 0}, {}, MSG_DONTWAIT);
  return sent ? Request::sent : Request::gone;
}

std::optional<Launcher::Report> Launcher::receive() {
  Message message;
  Files attached;
  std::string text;
  if (!running() || !receive_message(socket_.get(), MSG_DONTWAIT, message, attached, text)) return std::nullopt;
  switch (message.kind) {
    case MessageKind::started:
      if (!attached[0]) {  // this process had no descriptor left for it, so nobody could watch the worker
        kill(message.number, SIGKILL);
        return Unwatched{message.slot, message.incarnation, EMFILE};
      }
      return Started{message.slot, message.incarnation, message.number, std::move(attached[0])};
    case MessageKind::not_started: return NotStarted{message.slot, message.incarnation, message.number};
    case MessageKind::inspected: return Inspected{message.slot, message.incarnation, std::move(text)};
    default: return Ended{message.slot, message.incarnation, message.number};
  }
}

std::string describe_status(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return "killed by signal " + std::to_string(signal) + " (" + signal_name(signal) + ")";
  }
  return "exited with status " + std::to_string(WEXITSTATUS(status));
}

int open_pidfd(pid_t pid) noexcept { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

int send_pidfd_signal(int pidfd, int signal) noexcept {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

}  // namespace tandem
