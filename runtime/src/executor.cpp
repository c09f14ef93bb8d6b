#include <tandem/executor.hpp>

namespace tandem {

Executor::Executor(Runtime& runtime, std::string name) : calls_{runtime.core(), std::move(name), nullptr} {}

}  // namespace tandem
