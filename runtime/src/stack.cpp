#include <tandem/stack.hpp>

#include <elfutils/libdwfl.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string_view>

#include <boost/core/demangle.hpp>
#include <fmt/format.h>

namespace tandem {
namespace {

constexpr int kMostFrames = 32;
constexpr std::string_view kOwnLoop = "tandem::(anonymous namespace)::Worker::work(";

struct Unwinding {
  Dwfl* modules;
  std::string text;
  int frames = 0;
};

std::string describe_frame(Dwfl* modules, Dwarf_Addr place) {
  Dwfl_Module* const module = dwfl_addrmodule(modules, place);
  if (module == nullptr) return fmt::format("{:#x}", place);
  const char* const symbol = dwfl_module_addrname(module, place);
  Dwarf_Addr start = 0;
  const char* const file =
      dwfl_module_info(module, nullptr, &start, nullptr, nullptr, nullptr, nullptr, nullptr);
  const std::string program = file != nullptr ? std::filesystem::path{file}.filename().string() : "?";
  std::string text =
      symbol != nullptr ? boost::core::demangle(symbol) : fmt::format("{}+{:#x}", program, place - start);
  int line = 0;
  Dwfl_Line* const entry = dwfl_module_getsrc(module, place);
  const char* const source =
      entry != nullptr ? dwfl_lineinfo(entry, nullptr, &line, nullptr, nullptr, nullptr) : nullptr;
  if (source != nullptr) {
    text += fmt::format(" ({}:{})", std::filesystem::path{source}.filename().string(), line);
  } else if (symbol != nullptr) {
    text += fmt::format(" ({})", program);
  }
  return text;
}

int add_frame(Dwfl_Frame* frame, void* argument) {
  auto& unwinding = *static_cast<Unwinding*>(argument);
  Dwarf_Addr place = 0;
  bool innermost = false;
  if (!dwfl_frame_pc(frame, &place, &innermost)) return DWARF_CB_ABORT;
  if (!innermost) --place;  // a return address: the call is before it
  const std::string line = describe_frame(unwinding.modules, place);
  if (line.starts_with(kOwnLoop) || ++unwinding.frames > kMostFrames) return DWARF_CB_ABORT;
  unwinding.text += line + '\n';
  return DWARF_CB_OK;
}

// What the kernel says to anybody: running, sleeping, stopped, and in which of its functions.
std::string state_of(pid_t pid) {
  std::ifstream status{fmt::format("/proc/{}/status", pid)};
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("State:")) break;
  }
  std::string waits_in;
  std::getline(std::ifstream{fmt::format("/proc/{}/wchan", pid)}, waits_in);
  const bool waits = !waits_in.empty() && waits_in != "0";
  return fmt::format("{}{}{}", line, waits ? ", in the kernel's " : "", waits ? waits_in : "");
}

}  // namespace

std::string stack_of(pid_t pid) {
  static char* no_separate_path = nullptr;
  Dwfl_Callbacks callbacks{};
  callbacks.find_elf = dwfl_linux_proc_find_elf;
  callbacks.find_debuginfo = dwfl_standard_find_debuginfo;
  callbacks.debuginfo_path = &no_separate_path;
  unsetenv("DEBUGINFOD_URLS");  // nobody asks a server on the network for this

  const std::unique_ptr<Dwfl, void (*)(Dwfl*)> modules{dwfl_begin(&callbacks), dwfl_end};
  Unwinding unwinding{modules.get(), {}};
  const bool known = modules && dwfl_linux_proc_report(modules.get(), pid) == 0 &&
                     dwfl_report_end(modules.get(), nullptr, nullptr) == 0;
  if (!known || dwfl_linux_proc_attach(modules.get(), pid, false) != 0 ||
      (dwfl_getthread_frames(modules.get(), pid, add_frame, &unwinding) == -1 && unwinding.text.empty())) {
    const int error = dwfl_errno();
    return fmt::format("{} (its stack cannot be read: {})", state_of(pid),
                       error != 0 ? dwfl_errmsg(error) : std::strerror(errno));
  }
  return unwinding.text;
}

}  // namespace tandem
