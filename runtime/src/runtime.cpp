#include <tandem/runtime.hpp>

#include <utility>

#include <tandem/core.hpp>

namespace tandem {

Runtime::Runtime() : Runtime{Config::load()} {}
Runtime::Runtime(int& argc, char** argv) : Runtime{Config::load(argc, argv)} {}
Runtime::Runtime(Config config) : core_{std::make_shared<Core>(std::move(config))} {}
Runtime::~Runtime() { core_->stop(); }

const Config& Runtime::config() const noexcept { return core_->config(); }
void Runtime::start() { core_->start(); }
void Runtime::stop() noexcept { core_->stop(); }
std::uint32_t Runtime::in_flight() const noexcept { return core_->in_flight(); }
std::uint64_t Runtime::live_messages() const noexcept { return core_->live_messages(); }
std::uint64_t Runtime::lent_blocks() const noexcept { return core_->lent_blocks(); }
std::vector<pid_t> Runtime::worker_pids() const { return core_->worker_pids(); }

}  // namespace tandem
