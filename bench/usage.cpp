#include "usage.hpp"

#include <unistd.h>

#include <ctime>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace bench {

double kibibytes_of(pid_t pid, std::string_view key) {
  std::ifstream file{fmt::format("/proc/{}/status", pid)};
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::stod(line.substr(line.find(':') + 1));
  }
  throw std::runtime_error(fmt::format("/proc/{}/status has no {}", pid, key));
}

double processor_seconds(const tandem::Runtime& runtime) {
  const std::vector<pid_t> workers = runtime.worker_pids();
  std::set<pid_t> all{workers.begin(), workers.end()};
  all.insert(getpid());
  // Of one alone, for all have the same: to read it costs as much as a worker's start. It is a number like the others.
  if (!workers.empty()) all.insert(static_cast<pid_t>(kibibytes_of(workers.front(), "PPid")));
  double seconds = 0;
  for (const pid_t pid : all) {
    clockid_t clock{};
    timespec time{};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) {
      throw std::runtime_error(fmt::format("process {} has no processor clock: it has ended", pid));
    }
    seconds += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  }
  return seconds;
}

}  // namespace bench
