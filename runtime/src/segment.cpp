#include <tandem/segment.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <tandem/error.hpp>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3; older headers lack it
#endif

namespace tandem {
namespace {

// The kernel would end the process with SIGXFSZ.
void check_limit_on_files(std::size_t bytes) {
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur)
    return;
  throw MemoryError(
      fmt::format("shared memory of {} counts as a file, and the limit on files is {}; raise it "
                  "(ulimit -f), or lower in_flight or the size of the outputs",
                  describe_bytes(bytes), describe_bytes(limit.rlim_cur)));
}

int make_file(std::size_t bytes, const char* name) {
  check_limit_on_files(bytes);
  int file = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (file < 0 && errno == EINVAL) file = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) {
    throw MemoryError(
        fmt::format("cannot create shared memory: {}; raise the limit on open files "
                    "(ulimit -n) if that is what ran out",
                    std::strerror(errno)));
  }
  if (ftruncate(file, static_cast<off_t>(bytes)) != 0 ||
      fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const int error = errno;
    close(file);
    throw MemoryError(
        fmt::format("cannot size shared memory to {}: {}; lower in_flight or the size "
                    "of the outputs",
                    describe_bytes(bytes), std::strerror(error)));
  }
  return file;
}

std::optional<std::size_t> read_number(const char* path) {
  std::ifstream file{path};
  std::size_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

std::size_t machine_available() {
  std::ifstream file{"/proc/meminfo"};
  std::string name;
  std::size_t kibibytes = 0;
  std::string unit;
  while (file >> name >> kibibytes) {
    std::getline(file, unit);
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return std::numeric_limits<std::size_t>::max();
}

// What a group's memory.stat says under a name; 0 if nothing.
std::size_t read_statistic(const std::string& path, std::string_view wanted) {
  std::ifstream file{path + "/memory.stat"};
  std::string name;
  std::size_t bytes = 0;
  while (file >> name >> bytes) {
    if (name == wanted) return bytes;
  }
  return 0;
}

// What is left to the process's own group and to those above it, of version 1 or 2 (cgroups(7)).
std::size_t group_available() {
  std::ifstream file{"/proc/self/cgroup"};  // lines "NUMBER:CONTROLLERS:PATH"; version 2 names no controllers
  std::string line;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  while (std::getline(file, line)) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const bool old = controllers.find(",memory,") != controllers.npos;
    if (!old && controllers != ",,") continue;
    const std::string root = old ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    std::string path = root + line.substr(second + 1);
    for (; path.size() >= root.size(); path.resize(path.find_last_of('/'))) {
      const auto limit = read_number((path + (old ? "/memory.limit_in_bytes" : "/memory.max")).c_str());
      const auto used = read_number((path + (old ? "/memory.usage_in_bytes" : "/memory.current")).c_str());
      if (limit && used) {
        // Files that were read long ago count as used, and make room for whoever needs it.
        const std::size_t files = read_statistic(path, old ? "total_inactive_file" : "inactive_file");
        const std::size_t needed = *used - std::min(*used, files);
        least = std::min(least, *limit - std::min(*limit, needed));
      }
      if (path == root) break;
    }
  }
  return least;
}

}  // namespace

std::size_t Segment::page_bytes() noexcept {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

Segment::Segment(std::size_t bytes, const char* name) {
  namespace bip = boost::interprocess;
  // No fork of ours before the file is known to belong to this process, and the mapping is not inherited.
  const std::lock_guard lock{fork_mutex()};
  file_ = Descriptor{make_file(round_up(bytes, page_bytes()), name)};
  try {
    region_ = bip::mapped_region{*this, bip::read_write};
  } catch (const bip::interprocess_exception& error) {
    throw MemoryError(
        fmt::format("cannot map {} of shared memory: {}; lower in_flight or raise the "
                    "limit on address space (ulimit -v)",
                    describe_bytes(bytes), error.what()));
  }
  set_inherited(false);
}

void Segment::set_inherited(bool inherited) noexcept {
  madvise(base(), size(), inherited ? MADV_DOFORK : MADV_DONTFORK);
}

std::mutex& Segment::fork_mutex() noexcept {
  static std::mutex mutex;
  return mutex;
}

boost::interprocess::mapping_handle_t Segment::get_mapping_handle() const noexcept {
  return boost::interprocess::mapping_handle_t{file_.get(), false};
}

int Segment::back(std::size_t offset, std::size_t bytes) noexcept {
  if (bytes == 0) return 0;
  while (fallocate(file_.get(), 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

void Segment::release(std::size_t offset, std::size_t bytes) noexcept {
  fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
            static_cast<off_t>(bytes));
}

std::size_t available_memory() { return std::min(machine_available(), group_available()); }

std::string describe_bytes(std::size_t bytes) {
  static constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto number = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; number >= 1024 && unit + 1 < std::size(kUnits); ++unit) number /= 1024;
  if (unit == 0) return fmt::format("{} bytes", bytes);
  return fmt::format("{} bytes ({:.4g} {})", bytes, number, kUnits[unit]);
}

}  // namespace tandem
