#include <tandem/file_mapping.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <tandem/descriptor.hpp>
#include <tandem/error.hpp>
#include <tandem/segment.hpp>

namespace tandem {
namespace {

// All of this process. Guarded by Segment::fork_mutex(), so that a forked worker finds it whole.
std::vector<const FileMapping*>& mappings() {
  static auto* const all = new std::vector<const FileMapping*>;  // a handle may be a static object
  return *all;
}

struct Mappable {
  int file;
  [[nodiscard]] boost::interprocess::mapping_handle_t get_mapping_handle() const noexcept {
    return {file, false};
  }
};

[[noreturn]] void refuse(const std::string& path, std::string_view why) {
  throw Error(fmt::format("file '{}': {}", path, why));
}

[[noreturn]] void refuse_open(const std::string& path, int error, bool writes) {
  switch (error) {
    case ENOENT: refuse(path, "there is none; correct the path, or make it with FileMode::create");
    case EEXIST: {
      struct stat status {};
      const bool known = stat(path.c_str(), &status) == 0;
      refuse(path, fmt::format("there is one already{}; open it with FileMode::update, or remove it",
                               known ? fmt::format(", of {}",
                                                   describe_bytes(static_cast<std::size_t>(status.st_size)))
                                     : ""));
    }
    case EISDIR: refuse(path, "is a directory; wanted a regular file");
    case EACCES:
    case EROFS:
      refuse(path,
             fmt::format("no permission to {} it ({}); {}", writes ? "write" : "read", std::strerror(error),
                         writes ? "open it for reading, as an array of constants, or change the permission"
                                : "change the permission"));
    default: refuse(path, fmt::format("cannot be opened: {}", std::strerror(error)));
  }
}

// O_NONBLOCK: a pipe of that name is refused, not waited for.
Descriptor open_file(const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
  if (file < 0) refuse_open(path, errno, (flags & O_ACCMODE) != O_RDONLY);
  return Descriptor{file};
}

int flags_of(FileMapping::Access access) { return access == FileMapping::Access::read ? O_RDONLY : O_RDWR; }

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

struct stat status_of(const std::string& path, const Descriptor& file) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) refuse(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    refuse(path, fmt::format("is {}; wanted a regular file", kind_of(status.st_mode)));
  return status;
}

[[noreturn]] void refuse_room(const std::string& path, std::size_t bytes, int error) {
  refuse(path, fmt::format("the system has no room for {}: {}; free some, or make the array smaller",
                           describe_bytes(bytes), std::strerror(error)));
}

// The kernel would end the process with SIGXFSZ.
void check_limit(const std::string& path, std::size_t bytes) {
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur)
    return;
  refuse(path, fmt::format("is to have {}, and the limit on files is {}; raise it (ulimit -f)",
                           describe_bytes(bytes), describe_bytes(limit.rlim_cur)));
}

}  // namespace

FileMapping::FileMapping(int file, std::string path, std::size_t bytes, Access access)
    : bytes_{bytes}, access_{access} {
  namespace bip = boost::interprocess;
  struct stat status {};
  fstat(file, &status);
  facts_ = {std::move(path), status.st_dev, status.st_ino};
  try {
    region_ =
        bip::mapped_region{Mappable{file}, access == Access::read ? bip::read_only : bip::read_write, 0, bytes};
  } catch (const bip::interprocess_exception& error) {
    refuse(facts_.path, fmt::format("cannot map {}: {}; raise the limit on address space (ulimit -v)",
                                    describe_bytes(bytes), error.what()));
  }
  const std::lock_guard lock{Segment::fork_mutex()};
  mappings().push_back(this);
}

FileMapping::~FileMapping() {
  const std::lock_guard lock{Segment::fork_mutex()};
  std::erase(mappings(), this);
}

std::size_t FileMapping::room() const noexcept { return round_up(bytes_, Segment::page_bytes()); }

std::shared_ptr<FileMapping> FileMapping::open(const std::string& given, std::size_t bytes, Access access,
                                               std::string_view what) {
  const std::string path = std::filesystem::absolute(given);
  const Descriptor file = open_file(path, flags_of(access));
  const struct stat status = status_of(path, file);
  if (static_cast<std::size_t>(status.st_size) < bytes) {
    refuse(path,
           fmt::format("has {}, but {} needs {}; make the array smaller, or the file larger",
                       describe_bytes(static_cast<std::size_t>(status.st_size)), what, describe_bytes(bytes)));
  }
  // What was left out when the file was written has no place on the disk yet.
  if (access == Access::write &&
      fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT))
    refuse_room(path, bytes, errno);
  return std::shared_ptr<FileMapping>{new FileMapping{file.get(), path, bytes, access}};
}

std::shared_ptr<FileMapping> FileMapping::create(const std::string& given, std::size_t bytes) {
  const std::string path = std::filesystem::absolute(given);
  check_limit(path, bytes);
  const Descriptor file = open_file(path, O_RDWR | O_CREAT | O_EXCL);
  try {
    int error = EINTR;
    while (error == EINTR) error = posix_fallocate(file.get(), 0, static_cast<off_t>(bytes));
    if (error != 0) refuse_room(path, bytes, error);
    return std::shared_ptr<FileMapping>{new FileMapping{file.get(), path, bytes, Access::write}};
  } catch (...) {
    unlink(path.c_str());
    throw;
  }
}

std::shared_ptr<FileMapping> FileMapping::again(const Facts& facts, std::size_t bytes, Access access) {
  const Descriptor file = open_file(facts.path, flags_of(access));
  const struct stat status = status_of(facts.path, file);
  if (status.st_dev != facts.device || status.st_ino != facts.inode) {
    refuse(facts.path,
           fmt::format(
               "another file stands in its place (device {}, inode {}; wanted device {}, inode {}); keep it "
               "there for as long as there are handles of its array",
               status.st_dev, status.st_ino, facts.device, facts.inode));
  }
  if (static_cast<std::size_t>(status.st_size) < bytes) {
    refuse(facts.path,
           fmt::format("was made smaller: it has {}, and its array needs {}",
                       describe_bytes(static_cast<std::size_t>(status.st_size)), describe_bytes(bytes)));
  }
  return std::shared_ptr<FileMapping>{new FileMapping{file.get(), facts.path, bytes, access}};
}

void FileMapping::protect_inherited() noexcept {
  const std::lock_guard lock{Segment::fork_mutex()};
  for (const FileMapping* const one : mappings()) mprotect(one->base(), one->room(), PROT_READ);
}

void FileMapping::sync(std::size_t first, std::size_t bytes) const {
  if (bytes == 0) return;
  const std::size_t begin = first / Segment::page_bytes() * Segment::page_bytes();
  if (msync(base() + begin, first + bytes - begin, MS_SYNC) != 0) {
    refuse(facts_.path,
           fmt::format("the system could not write {}: {}", describe_bytes(bytes), std::strerror(errno)));
  }
}

}  // namespace tandem
