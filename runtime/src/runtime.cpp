#include <tandem/runtime.hpp>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include <tandem/core.hpp>
#include <tandem/error.hpp>

namespace tandem {
namespace {

std::terminate_handler previous_handler = nullptr;

// _exit: destructors of static objects must not run under threads that are still at work. The kernel
// ends the workers with this process.
[[noreturn]] void leave(const Error& error, int status) {
  std::cout.flush();
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", error.what());
  _exit(status);
}

// A wrong configuration is no crash: a program that does not catch Tandem's errors ends with the error's
// line and a status, instead of an abort.
[[noreturn]] void end_with_the_error() {
  if (const std::exception_ptr uncaught = std::current_exception()) {
    try {
      std::rethrow_exception(uncaught);
    } catch (const ProducerError& error) { leave(error, 1); } catch (const TooManyErrors& error) {
      leave(error, 1);
    } catch (const Error& error) { leave(error, 2); } catch (...) {
      // somebody else's affair
    }
  }
  if (previous_handler != nullptr) previous_handler();
  std::abort();
}

void handle_uncaught_errors() {
  static std::once_flag once;
  std::call_once(once, [] { previous_handler = std::set_terminate(end_with_the_error); });
}

Config loaded(int* argc, char** argv) {
  handle_uncaught_errors();
  return argc != nullptr ? Config::load(*argc, argv) : Config::load();
}

}  // namespace

Runtime::Runtime() : Runtime{loaded(nullptr, nullptr)} {}
Runtime::Runtime(int& argc, char** argv) : Runtime{loaded(&argc, argv)} {}
Runtime::Runtime(Config config) : core_{std::make_shared<Core>(std::move(config))} {}
Runtime::~Runtime() { core_->stop(); }

const Config& Runtime::config() const noexcept { return core_->config(); }
bool Runtime::is_worker() const noexcept { return Spawned::here() != nullptr; }
void Runtime::start() { core_->start(); }
void Runtime::stop() noexcept { core_->stop(); }
std::uint32_t Runtime::in_flight() const noexcept { return core_->in_flight(); }
std::uint64_t Runtime::live_messages() const noexcept { return core_->live_messages(); }
std::uint64_t Runtime::lent_blocks() const noexcept { return core_->lent_blocks(); }
std::vector<ArrayInfo> Runtime::arrays() const { return core_->shared_arrays(); }
std::shared_ptr<ArrayBlock> Runtime::open_file(const std::string& path, const ArraySpec& spec,
                                               std::optional<FileMode> mode) {
  const std::size_t bytes = spec.bytes();
  if (bytes == 0) {
    throw Error(fmt::format("file '{}': an array with shape {} has no elements; give it some", path,
                            to_string(spec.shape)));
  }
  const std::string what = fmt::format("{} with shape {}", detail::describe_type(spec), to_string(spec.shape));
  // main of a spawned worker runs after the host's, which has made it.
  const bool creates = mode == FileMode::create && Spawned::here() == nullptr;
  const auto access = mode ? FileMapping::Access::write : FileMapping::Access::read;
  auto file = creates ? FileMapping::create(path, bytes) : FileMapping::open(path, bytes, access, what);
  return std::make_shared<ArrayBlock>(std::move(file), ArrayBlock::next_of_files(), bytes);
}

std::shared_ptr<ArrayBlock> Runtime::make_array(std::size_t bytes, Dtype dtype, const Shape& shape) {
  return core_->arrays()->allocate(bytes, dtype, shape);
}
Audit Runtime::audit() const { return core_->audit(); }
std::vector<pid_t> Runtime::worker_pids() const { return core_->worker_pids(false); }
std::vector<pid_t> Runtime::spare_pids() const { return core_->worker_pids(true); }

}  // namespace tandem
