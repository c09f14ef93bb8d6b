#include <tandem/spawn.hpp>

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>

#include <tandem/error.hpp>
#include <tandem/keeper.hpp>
#include <tandem/worker.hpp>

namespace tandem {
namespace {

constexpr std::string_view kVariable = "TANDEM_SPAWNED";
// Where the new process finds what it inherits. All else that is open is closed.
constexpr int kOrder = 3;
constexpr int kSegment = 4;
constexpr int kBell = 5;
constexpr int kTold = 6;
constexpr int kArrays = 7;  // closed: there are none
constexpr int kFirstOther = 8;
constexpr int kSeldomUsed = 1000;  // see HostBell

// The order's file: this, a SpawnSlot for each slot, the program's id, the plan.
struct Head {
  char magic[16] = "tandem order 2";  // another layout takes another number
  std::uint32_t runtime = 0;
  std::uint32_t in_flight = 0;
  std::uint64_t segment_bytes = 0;
  std::uint64_t arrays_bytes = 0;
  std::uint64_t slots = 0;
  std::uint64_t id_bytes = 0;
  std::uint64_t plan_bytes = 0;
};

std::atomic<std::uint32_t> runtimes{0};
std::vector<std::string> given_arguments;  // empty: the program's own
char start_directory[PATH_MAX] = "";       // where the program was started; empty: unknown

std::string order_text(const SpawnFacts& facts, const std::string& id) {
  Head head;
  head.runtime = facts.runtime;
  head.in_flight = facts.in_flight;
  head.segment_bytes = facts.segment_bytes;
  head.arrays_bytes = facts.arrays_bytes;
  head.slots = facts.slots.size();
  head.id_bytes = id.size();
  head.plan_bytes = facts.plan.size();
  std::string text(sizeof head + facts.slots.size() * sizeof(SpawnSlot), '\0');
  std::memcpy(text.data(), &head, sizeof head);
  std::memcpy(text.data() + sizeof head, facts.slots.data(), facts.slots.size() * sizeof(SpawnSlot));
  return text + id + facts.plan;
}

int make_order_file(const std::string& text) {
  const int file = memfd_create("tandem-order", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const auto complain = [] {
    throw Error(
        fmt::format("cannot write the order for spawned workers: {}; raise the limit on open files "
                    "(ulimit -n) or on their size (ulimit -f) if that is what ran out",
                    std::strerror(errno)));
  };
  if (file < 0) complain();
  const auto written = write(file, text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size()) ||
      fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    close(file);
    complain();
  }
  return file;
}

// Strings, each with a zero at its end.
std::vector<char> read_strings(const char* path) {
  std::ifstream file{path, std::ios::binary};
  std::vector<char> strings{std::istreambuf_iterator<char>{file}, {}};
  if (!strings.empty() && strings.back() != '\0') strings.push_back('\0');
  return strings;
}

std::vector<char*> pointers_to(std::vector<char>& strings) {
  std::vector<char*> pointers;
  for (std::size_t at = 0; at < strings.size(); at += std::strlen(strings.data() + at) + 1)
    pointers.push_back(strings.data() + at);
  return pointers;
}

// Appends a number; for execute().
char* put(char* to, std::uint32_t number) noexcept {
  return std::to_chars(to, to + std::numeric_limits<std::uint32_t>::digits10 + 1, number).ptr;
}

template <class Number>
bool take_number(std::string_view& text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  return error == std::errc{};
}

// The program itself is the first that the loader names (dl_iterate_phdr(3)).
int find_build_id(dl_phdr_info* module, std::size_t, void* found) {
  for (const auto& part : std::span{module->dlpi_phdr, module->dlpi_phnum}) {
    if (part.p_type != PT_NOTE) continue;
    const std::size_t unit = part.p_align == 8 ? 8 : 4;
    const auto* const begin = reinterpret_cast<const char*>(module->dlpi_addr + part.p_vaddr);
    for (std::size_t at = 0; at + sizeof(ElfW(Nhdr)) <= part.p_memsz;) {
      ElfW(Nhdr) note;
      std::memcpy(&note, begin + at, sizeof note);
      const std::size_t name = at + sizeof note;
      const std::size_t description = round_up(name + note.n_namesz, unit);
      if (note.n_type == NT_GNU_BUILD_ID &&
          std::string_view{begin + name, note.n_namesz} == std::string_view{"GNU", 4}) {
        for (std::size_t byte = 0; byte < note.n_descsz; ++byte)
          static_cast<std::string*>(found)->append(fmt::format("{:02x}", begin[description + byte] & 0xff));
      }
      at = round_up(description + note.n_descsz, unit);
    }
  }
  return 1;
}

}  // namespace

std::string program_id() {
  std::string id;
  dl_iterate_phdr(find_build_id, &id);
  if (!id.empty()) return "build id " + id;
  struct stat file {};
  if (stat("/proc/self/exe", &file) != 0) return "unknown";
  return fmt::format("file {}:{} of {} bytes, changed at {}.{:09}", file.st_dev, file.st_ino, file.st_size,
                     file.st_mtim.tv_sec, file.st_mtim.tv_nsec);
}

std::uint32_t runtime_number() noexcept { return runtimes.fetch_add(1, std::memory_order_relaxed); }

void spawn_with(std::vector<std::string> arguments) {
  given_arguments = std::move(arguments);
  runtimes.store(0, std::memory_order_relaxed);
}

SpawnOrder::SpawnOrder(const SpawnFacts& facts, std::byte* base, int bell)
    : file_{make_order_file(order_text(facts, program_id()))},
      slots_{facts.slots},
      files_{facts.arrays_bytes > 0 ? 3U : 2U},
      base_{base},
      bell_{bell} {
  if (given_arguments.empty()) {
    arguments_ = read_strings("/proc/self/cmdline");
  } else {
    for (const std::string& one : given_arguments)
      arguments_.insert(arguments_.end(), one.c_str(), one.c_str() + one.size() + 1);
  }
  if (arguments_.empty()) {
    throw Error(
        "start = \"spawn\": the program's own command line cannot be read (/proc/self/cmdline); mount /proc, "
        "or "
        "set start = \"fork\"");
  }
  argv_ = pointers_to(arguments_);
  argv_.push_back(nullptr);
  environment_ = read_strings("/proc/self/environ");
  const std::size_t own = environment_.size();
  const std::string line = fmt::format("{}={}", kVariable, std::string(64, '\0'));
  environment_.insert(environment_.end(), line.begin(), line.end());
  envp_ = pointers_to(environment_);
  // Ours is the last; what follows are its zeros. Another one is of the process that spawned this one.
  std::erase_if(envp_, [&](const char* entry) {
    return entry > environment_.data() + own ||
           (entry < environment_.data() + own &&
            std::string_view{entry}.starts_with(fmt::format("{}=", kVariable)));
  });
  envp_.push_back(nullptr);
}

void SpawnOrder::execute(std::uint32_t slot, std::uint32_t incarnation,
                         const Inheritance& files) const noexcept {
  char* const line = envp_[envp_.size() - 2];
  char* at = put(line + kVariable.size() + 1, slot);
  *at++ = ' ';
  at = put(at, incarnation);
  *at++ = ' ';
  *put(at, static_cast<std::uint32_t>(files.server)) = '\0';
  // First out of the way of each other.
  int inherited[] = {files.order, files.segment, bell_, files.told, files.arrays};
  const int count = files.arrays >= 0 ? 5 : 4;
  bool moved = true;
  for (int index = 0; index < count; ++index) {
    inherited[index] = fcntl(inherited[index], F_DUPFD, kFirstOther);
    moved = moved && inherited[index] >= 0;
  }
  for (int index = 0; index < count && moved; ++index) moved = dup2(inherited[index], kOrder + index) >= 0;
  if (moved) {
    // What main reads from standard input would be missing in the host.
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing > STDIN_FILENO) dup2(nothing, STDIN_FILENO);
    close_range(static_cast<unsigned>(kOrder + count), ~0U, 0);
    // If it is gone, from where the host is now; main says what it misses.
    [[maybe_unused]] const int changed = start_directory[0] != '\0' ? chdir(start_directory) : 0;
    execve("/proc/self/exe", argv_.data(), envp_.data());
  }
  // The memory is still mapped here.
  char text[256] = "";
  const char* const parts[] = {
      moved ? "cannot execute the program again (/proc/self/exe): "
            : "cannot execute the program again: no descriptors left for it (ulimit -n): ",
      strerrordesc_np(errno), "; set start = \"fork\" if this system does not allow it"};
  std::size_t bytes = 0;
  for (const char* const part : parts) {
    if (part == nullptr) continue;
    const std::size_t more = std::min(std::strlen(part), sizeof text - bytes);
    std::memcpy(text + bytes, part, more);
    bytes += more;
  }
  refuse_to_serve(base_, slots_[slot].channel, moved ? kBell : bell_, incarnation, {text, bytes});
  _exit(1);
}

const Spawned* Spawned::here() noexcept {
  static const std::unique_ptr<const Spawned> one = take_order();
  return one.get();
}

namespace {
// Before main: it and its children see neither the variable nor the files.
[[maybe_unused]] const bool looked = [] {
  if (getcwd(start_directory, sizeof start_directory) == nullptr) start_directory[0] = '\0';
  return Spawned::here() != nullptr;
}();
}  // namespace

std::unique_ptr<Spawned> Spawned::take_order() {
  const char* const value = getenv(kVariable.data());
  if (value == nullptr) return nullptr;
  auto self = std::make_unique<Spawned>();
  std::string_view text{value};
  std::string id;
  // A variable that nobody of ours has set is left to Config, which says so.
  if (!take_number(text, self->slot_) || !take_number(text, self->incarnation_) ||
      !take_number(text, self->server_) || !self->read_order(id))
    return nullptr;
  unsetenv(kVariable.data());
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // an exec of some programs ends it
  if (getppid() != self->server_) _exit(1);
  prctl(PR_SET_NAME, self->facts_.slots[self->slot_].name);
  prctl(PR_SET_PTRACER, static_cast<unsigned long>(self->server_));  // as in a forked worker
  be_the_likelier_victim();
  // Under a number that main seldom uses.
  self->bell_ = fcntl(kBell, F_DUPFD_CLOEXEC, kSeldomUsed);
  if (self->bell_ < 0) {
    self->bell_ = kBell;
    fcntl(kBell, F_SETFD, FD_CLOEXEC);
  } else {
    close(kBell);
  }
  self->base_ = self->map(kSegment, self->facts_.segment_bytes);
  if (self->facts_.arrays_bytes > 0) self->arrays_ = self->map(kArrays, self->facts_.arrays_bytes);
  start_keeper(self->server_, kTold);
  close(kTold);
  const std::string own_id = program_id();
  if (own_id != id) {
    self->refuse(fmt::format(
        "the program is another now ({}) than the one that runs ({}): it was built again, or replaced; "
        "start it again",
        own_id, id));
  }
  return self;
}

std::byte* Spawned::map(int file, std::size_t bytes) const {
  void* const base = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
  if (base == MAP_FAILED) {
    std::fprintf(stderr,
                 "a spawned worker cannot map %zu bytes of shared memory: %s; raise the limit on address space "
                 "(ulimit -v)\n",
                 bytes, std::strerror(errno));
    _exit(1);
  }
  madvise(base, bytes, MADV_DONTFORK);
  close(file);
  return static_cast<std::byte*>(base);
}

bool Spawned::read_order(std::string& id) {
  Head head;
  const Head known;
  if (pread(kOrder, &head, sizeof head, 0) != sizeof head ||
      std::memcmp(head.magic, known.magic, sizeof head.magic) != 0)
    return false;
  std::string rest(head.slots * sizeof(SpawnSlot) + head.id_bytes + head.plan_bytes, '\0');
  if (pread(kOrder, rest.data(), rest.size(), sizeof head) != static_cast<ssize_t>(rest.size()) ||
      slot_ >= head.slots)
    return false;
  close(kOrder);
  facts_.runtime = head.runtime;
  facts_.in_flight = head.in_flight;
  facts_.segment_bytes = head.segment_bytes;
  facts_.arrays_bytes = head.arrays_bytes;
  facts_.slots.resize(head.slots);
  const std::size_t slots_bytes = head.slots * sizeof(SpawnSlot);
  std::memcpy(facts_.slots.data(), rest.data(), slots_bytes);
  id = rest.substr(slots_bytes, head.id_bytes);
  facts_.plan = rest.substr(slots_bytes + head.id_bytes);
  return true;
}

void Spawned::refuse(std::string_view text) const noexcept {
  const ChannelLayout& channel = facts_.slots[slot_].channel;
  mprotect(base_ + channel.reply_offset(), channel.reply_bytes(), PROT_READ | PROT_WRITE);
  refuse_to_serve(base_, channel, bell_, incarnation_, text);
  std::fflush(stdout);
  _exit(1);
}

}  // namespace tandem
