#pragma once

#include <string>

namespace tandem {

/// One line to the logger "tandem" of spdlog (standard error unless the program registered its own
/// logger of that name). Never called in a worker process.
void log_warning(const std::string& line);

}  // namespace tandem
