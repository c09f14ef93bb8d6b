#include "host_death.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace tandem::test {
namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr std::chrono::seconds kGoneWithin{20};

bool is_number(const std::string& name) { return name.find_first_not_of("0123456789") == name.npos; }

// Until nobody has the other end of the pipe, that is, until every process that the host had is gone but for keepers.
bool wait_closed(int end, Clock::time_point until) {
  while (Clock::now() < until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd watched{end, POLLIN, 0};
    char letters[4096];
    if (poll(&watched, 1, static_cast<int>(left)) > 0 && read(end, letters, sizeof letters) == 0) return true;
  }
  return false;
}

// Once it does not fall any more: the memory of a host that was killed before may still be on its way back.
std::uint64_t settled_memory_bytes() {
  std::uint64_t last = shared_memory_bytes();
  for (int look = 0; look < 200; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
    const std::uint64_t now = shared_memory_bytes();
    if (now >= last) return now;
    last = now;
  }
  return last;
}

}  // namespace

std::uint64_t shared_memory_bytes() {
  std::ifstream file{"/proc/meminfo"};
  for (std::string word; file >> word;) {
    if (word != "Shmem:") continue;
    std::uint64_t kibibytes = 0;
    file >> kibibytes;
    return kibibytes * 1024;
  }
  return 0;
}

std::set<std::uint64_t> memory_files_of(pid_t pid) {
  std::set<std::uint64_t> files;
  const std::string folder = "/proc/" + std::to_string(pid);
  std::ifstream maps{folder + "/maps"};
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:tandem") == line.npos) continue;
    std::string skip;
    std::uint64_t inode = 0;
    std::istringstream{line} >> skip >> skip >> skip >> skip >> inode;  // range, rights, offset, device
    files.insert(inode);
  }
  std::error_code error;
  for (fs::directory_iterator entry{folder + "/fd", error}; !error && entry != fs::directory_iterator{};
       entry.increment(error)) {
    std::error_code unreadable;
    struct stat status {};
    const fs::path target = fs::read_symlink(entry->path(), unreadable);
    if (unreadable || target.native().find("memfd:tandem") == std::string::npos) continue;
    if (stat(entry->path().c_str(), &status) == 0) files.insert(status.st_ino);
  }
  return files;
}

bool anybody_has(const std::set<std::uint64_t>& files) {
  for (const auto& entry : fs::directory_iterator{"/proc"}) {
    const std::string name = entry.path().filename();
    if (!is_number(name)) continue;
    for (const std::uint64_t file : memory_files_of(std::stoi(name))) {
      if (files.contains(file)) return true;
    }
  }
  return false;
}

HostDeath kill_host(const std::function<pid_t(int)>& start, std::uint64_t letters,
                    const std::function<void()>& a_moment, std::uint64_t least_bytes) {
  HostDeath death;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    death.failure = "no pipe";
    return death;
  }
  const std::uint64_t before = settled_memory_bytes();
  const pid_t host = start(ends[1]);
  close(ends[1]);
  char letter = 0;
  for (std::uint64_t count = 0; count < letters; ++count) {
    if (read(ends[0], &letter, 1) != 1) {
      death.failure = "the host ended by itself";
      break;
    }
  }
  const std::set<std::uint64_t> files = memory_files_of(host);
  const std::uint64_t during = shared_memory_bytes();
  death.memory_bytes = during > before ? during - before : 0;
  a_moment();

  const Clock::time_point begin = Clock::now();
  kill(host, SIGKILL);
  int status = 0;
  waitpid(host, &status, 0);
  const bool closed = wait_closed(ends[0], begin + kGoneWithin);
  while (anybody_has(files) && Clock::now() < begin + kGoneWithin)
    std::this_thread::yield();  // keepers close files
  death.processes_gone = Clock::now() - begin;
  close(ends[0]);
  // Nothing announces that memory is free: look again and again. Others on this machine may use some too.
  const std::uint64_t enough = before + least_bytes / 4;
  while (shared_memory_bytes() > enough && Clock::now() < begin + kGoneWithin) std::this_thread::yield();
  death.memory_gone = Clock::now() - begin;

  if (!death.failure.empty()) return death;
  if (!WIFSIGNALED(status)) {
    death.failure = "the host ended by itself";
  } else if (files.empty()) {
    death.failure = "the host had no shared memory";
  } else if (death.memory_bytes < least_bytes / 2) {  // `before` may have had a rest of another host's
    death.failure = "the host had only " + std::to_string(death.memory_bytes) + " bytes of shared memory";
  } else if (!closed) {
    death.failure = "a process of the host is left";
  } else if (anybody_has(files)) {
    death.failure = "a process has the host's memory mapped or open";
  } else if (shared_memory_bytes() > enough) {
    death.failure = "shared memory is at " + std::to_string(shared_memory_bytes()) + " bytes, and was at " +
                    std::to_string(before) + " before the host began";
  }
  return death;
}

}  // namespace tandem::test
