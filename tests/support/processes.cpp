#include "processes.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

namespace tandem::test {
namespace {

using Clock = std::chrono::steady_clock;

std::optional<Process> read_process(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  const std::size_t open = line.find('(');
  const std::size_t close = line.rfind(')');  // a name may hold brackets of its own
  if (open == line.npos || close == line.npos) return std::nullopt;
  Process process{pid, -1, '?', line.substr(open + 1, close - open - 1)};
  std::istringstream{line.substr(close + 1)} >> process.state >> process.parent;
  return process;
}

std::vector<Process> all_processes() {
  std::vector<Process> all;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != name.npos) continue;
    if (auto process = read_process(std::stoi(name))) all.push_back(std::move(*process));
  }
  return all;
}

bool contains(const std::vector<Process>& processes, pid_t pid) {
  return std::any_of(processes.begin(), processes.end(), [pid](const Process& one) { return one.pid == pid; });
}

// Sleeps until the process has ended or the time is over.
void wait_end(pid_t pid, Clock::time_point until) {
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) return;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
  pollfd watched{pidfd, POLLIN, 0};
  poll(&watched, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
  close(pidfd);
}

// What a zombie's parent is to reap may need another moment; ours are reaped here.
void reap_if_ours(const Process& process) {
  if (process.parent != getpid() || process.state != 'Z') return;
  waitpid(process.pid, nullptr, WNOHANG);
}

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

std::vector<Process> descendants_of(pid_t root) {
  std::vector<Process> rest = all_processes();
  std::vector<Process> below;
  std::vector<pid_t> parents{root};
  while (!parents.empty()) {
    const pid_t parent = parents.back();
    parents.pop_back();
    for (const Process& process : rest) {
      if (process.parent != parent || contains(below, process.pid)) continue;
      below.push_back(process);
      parents.push_back(process.pid);
    }
  }
  return below;
}

std::vector<Process> descendants_named(const std::string& beginning) {
  std::vector<Process> named = descendants_of(getpid());
  std::erase_if(named,
                [&](const Process& one) { return one.state == 'Z' || !one.name.starts_with(beginning); });
  return named;
}

std::vector<Process> fork_servers() {
  std::vector<Process> servers = descendants_named("tandem:forks");
  std::erase_if(servers, [](const Process& one) { return one.parent != getpid(); });
  return servers;
}

std::vector<Process> wait_gone(std::vector<Process> which, double seconds) {
  const Clock::time_point until = after(seconds);
  for (;;) {
    std::vector<Process> left;
    for (const Process& process : which) {
      const auto now = read_process(process.pid);
      if (!now) continue;
      reap_if_ours(*now);
      if (now->state != 'Z') left.push_back(*now);
    }
    if (left.empty() || Clock::now() >= until) return left;
    wait_end(left.front().pid, until);
    which = left;
  }
}

std::vector<Process> wait_no_descendants_but(const std::vector<Process>& known, double seconds) {
  const Clock::time_point until = after(seconds);
  for (;;) {
    std::vector<Process> left = descendants_of(getpid());
    std::erase_if(left, [&](const Process& one) { return contains(known, one.pid); });
    if (left.empty() || Clock::now() >= until) return left;
    for (const Process& process : left) reap_if_ours(process);
    wait_end(left.front().pid, until);
  }
}

std::string describe(const std::vector<Process>& processes) {
  std::string text;
  for (const Process& one : processes) {
    text += (text.empty() ? "" : ", ") + one.name + " (pid " + std::to_string(one.pid) + ", parent " +
            std::to_string(one.parent) + ", state " + one.state + ")";
  }
  return text.empty() ? "none" : text;
}

}  // namespace tandem::test
