#include "memory_group.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace tandem::test {
namespace {

constexpr const char* kVariable = "MEMORY_GROUP_OF_TEST";
constexpr std::chrono::seconds kGoneWithin{5};

bool write_to(const std::string& path, const std::string& text) {
  std::ofstream file{path};
  file << text << std::flush;
  return file.good();
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// The folders of the groups that this process is in, and of those above, nearest first: one with the controller
// of memory may take another group. The paths may be another namespace's, so the roots are tried in any case.
std::vector<std::string> possible_parents() {
  std::vector<std::string> parents;
  std::ifstream file{"/proc/self/cgroup"};
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string path = line.substr(second + 1);
    std::string root;
    if (controllers.find(",memory,") != controllers.npos) root = "/sys/fs/cgroup/memory";
    if (controllers == ",,") root = "/sys/fs/cgroup";
    if (root.empty()) continue;
    for (; !path.empty() && path != "/"; path.resize(path.find_last_of('/'))) parents.push_back(root + path);
    parents.push_back(root);
  }
  return parents;
}

bool set_limit(const std::string& group, std::size_t bytes) {
  const std::string limit = std::to_string(bytes);
  if (exists(group + "/memory.max")) {
    write_to(group + "/memory.swap.max", "0");  // missing where there is none
    return write_to(group + "/memory.max", limit);
  }
  if (!exists(group + "/memory.limit_in_bytes")) return false;
  if (!write_to(group + "/memory.limit_in_bytes", limit)) return false;
  write_to(group + "/memory.memsw.limit_in_bytes", limit);
  return true;
}

}  // namespace

MemoryGroup::MemoryGroup(std::size_t limit_bytes) {
  why_not_ = "no control group for memory";
  for (const std::string& parent : possible_parents()) {
    const std::string group = parent + "/tandem_test_" + std::to_string(getpid());
    if (mkdir(group.c_str(), 0755) != 0) {
      why_not_ += std::string{"; "} + parent + ": " + std::strerror(errno);
      continue;
    }
    if (set_limit(group, limit_bytes)) {
      path_ = group;
      setenv(kVariable, path_.c_str(), 1);
      return;
    }
    why_not_ += "; " + parent + ": its groups have no limit on memory";
    rmdir(group.c_str());
  }
}

MemoryGroup::~MemoryGroup() {
  if (path_.empty()) return;
  unsetenv(kVariable);
  const auto until = std::chrono::steady_clock::now() + kGoneWithin;
  // Nothing announces that the kernel has let go of the last process.
  while (rmdir(path_.c_str()) != 0 && errno == EBUSY && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
}

bool MemoryGroup::enter() {
  const char* const group = std::getenv(kVariable);
  return group != nullptr && write_to(std::string{group} + "/cgroup.procs", "0");
}

}  // namespace tandem::test
