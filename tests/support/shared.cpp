#include "shared.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include <tandem/spawn.hpp>

namespace tandem::test {
namespace {

// The host names each of its files by its place among them; a spawned worker opens the one in the same place.
bool shares = false;
std::size_t shared_so_far = 0;
constexpr int kFirstFile = 700;  // the host's n-th has the number kFirstFile + n

std::string host_of_test() {
  for (const std::string& argument : testing::internal::GetArgvs()) {
    if (argument.starts_with("--test_host=")) return argument.substr(12);
  }
  throw std::runtime_error("a spawned worker of no test");
}

}  // namespace

void share_with_spawned(bool wanted) {
  shares = wanted;
  shared_so_far = 0;
}

void* share(std::size_t bytes, bool& first, int& file) {
  int flags = MAP_SHARED;
  const int number = kFirstFile + static_cast<int>(shared_so_far++);
  if (!shares) {
    flags |= MAP_ANONYMOUS;
  } else if (Spawned::here() != nullptr) {
    first = false;
    file = open(("/proc/" + host_of_test() + "/fd/" + std::to_string(number)).c_str(), O_RDWR | O_CLOEXEC);
  } else {
    const int made = memfd_create("shared by a test", MFD_CLOEXEC);
    file = dup3(made, number, O_CLOEXEC);
    close(made);
    if (ftruncate(file, static_cast<off_t>(bytes)) != 0) throw std::runtime_error("ftruncate failed");
  }
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("mmap failed");
  return memory;
}

}  // namespace tandem::test
