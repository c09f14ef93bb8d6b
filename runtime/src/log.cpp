#include <tandem/log.hpp>

#include <memory>
#include <mutex>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace tandem {

void log_warning(const std::string& line) {
  static std::mutex mutex;
  std::shared_ptr<spdlog::logger> logger;
  {
    const std::lock_guard lock{mutex};
    logger = spdlog::get("tandem");
    if (!logger) logger = spdlog::stderr_logger_mt("tandem");
  }
  logger->warn(line);
}

}  // namespace tandem
