#include <tandem/call.hpp>

#include <link.h>

#include <cstring>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include <xxhash.h>

#include <fmt/format.h>

#include <tandem/error.hpp>
#include <tandem/worker_arrays.hpp>

namespace tandem {
namespace {

std::uint64_t hash_of(std::string_view name) { return XXH3_64bits(name.data(), name.size()); }

struct Module {
  std::uint64_t wanted = 0;  // by name's hash; unused when an address is looked for
  const std::byte* address = nullptr;
  std::uint64_t name = 0;
  const std::byte* base = nullptr;
  bool found = false;
};

bool holds(const dl_phdr_info& info, const std::byte* address) {
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const auto& part = info.dlpi_phdr[i];
    if (part.p_type != PT_LOAD) continue;
    const auto* const begin = reinterpret_cast<const std::byte*>(info.dlpi_addr + part.p_vaddr);
    if (address >= begin && address < begin + part.p_memsz) return true;
  }
  return false;
}

int look(dl_phdr_info* info, std::size_t, void* argument) {
  auto& module = *static_cast<Module*>(argument);
  const std::uint64_t name = hash_of(info->dlpi_name);  // the program's own is empty
  const bool is_it = module.address != nullptr ? holds(*info, module.address) : name == module.wanted;
  if (!is_it) return 0;
  module.name = name;
  module.base = reinterpret_cast<const std::byte*>(info->dlpi_addr);
  module.found = true;
  return 1;
}

class CallBody final : public Body {
 public:
  CallBody(std::function<void(Context&)> initialise,
           std::span<const std::shared_ptr<ArrayBlock>> (*arrays_of)(std::uint64_t))
      : initialise_{std::move(initialise)}, arrays_of_{arrays_of} {}

  void start(Context& context) override {
    if (initialise_) initialise_(context);
  }

  void run(const void* input, void* output, Context& context) override {
    const auto& message = *static_cast<const CallMessage*>(input);
    auto& result = *static_cast<CallResult*>(output);
    if (message.once != 0 && context.begun()) {
      throw Error(
          "its worker ended in this call, which may have written to its arrays, so it is not begun again; pass "
          "an array as "
          "const SharedArray<T>& or SharedArray<const T> if the function only reads it");
    }
    const bool is_inline = message.bytes <= CallMessage::kInline;
    const std::byte* const bytes = is_inline ? message.arguments : context.arrays() + message.place;
    if (is_worker_process()) {
      WorkerArrays arrays{context.arrays(), context.arrays_bytes(), kept_};
      call(
          message, {bytes, message.bytes}, arrays, [&arrays] { arrays.known(); }, result, context);
    } else {
      LentArrays arrays{arrays_of_(message.call)};
      call(
          message, {bytes, message.bytes}, arrays, [] {}, result, context);
    }
  }

 private:
  template <class Known>
  void call(const CallMessage& message, std::span<const std::byte> bytes, ArrayFinder& arrays, Known known,
            CallResult& result, Context& context) {
    ArchiveReader arguments{bytes, arrays};
    arguments.on_end = known;
    ArchiveWriter written;
    thunk_of(message.thunk)(arguments, written, context);
    result.bytes = written.bytes().size();
    result.place = 0;
    if (result.bytes <= CallResult::kInline) {
      std::memcpy(result.result, written.bytes().data(), result.bytes);
      return;
    }
    const auto block = context.grant(result.bytes, Dtype::uint8, Shape{result.bytes});
    std::memcpy(block->writable(), written.bytes().data(), result.bytes);
    result.place = block->offset();
  }

  Thunk thunk_of(const CodeAddress& address) {
    const std::pair key{address.module, address.offset};
    const auto known = thunks_.find(key);
    if (known != thunks_.end()) return known->second;
    const auto thunk = reinterpret_cast<Thunk>(const_cast<void*>(address.find()));
    thunks_[key] = thunk;
    return thunk;
  }

  const std::function<void(Context&)> initialise_;
  std::span<const std::shared_ptr<ArrayBlock>> (*const arrays_of_)(std::uint64_t);
  WorkerArrays::Kept kept_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Thunk> thunks_;  // by module and offset
};

}  // namespace

CodeAddress CodeAddress::of(const void* function) {
  Module module;
  module.address = static_cast<const std::byte*>(function);
  dl_iterate_phdr(look, &module);
  if (!module.found) throw Error("a function that is in no file of the program cannot be called in a worker");
  return {module.name, static_cast<std::uint64_t>(module.address - module.base)};
}

const void* CodeAddress::find() const {
  Module found;
  found.wanted = module;
  dl_iterate_phdr(look, &found);
  if (!found.found) {
    throw Error(
        "the function is in a library that was loaded after the worker was started; load it before the first "
        "call");
  }
  return found.base + offset;
}

std::shared_ptr<ArrayBlock> LentArrays::find(const ArrayToken& token) {
  for (const auto& lent : {arguments_, granted_}) {
    for (const auto& block : lent) {
      if (block->offset() == token.offset) return block;
    }
  }
  throw Error("a shared array was handed over that was not lent");
}

// A worker's own numbers of files may be the same as the host's, of others.
std::shared_ptr<ArrayBlock> LentArrays::find_file(const ArrayToken& token, const FileMapping::Facts& facts) {
  auto block = find(token);
  const FileMapping::Facts& lent = block->file()->facts();
  if (lent.device != facts.device || lent.inode != facts.inode)
    throw Error(fmt::format("file '{}': an array in it was handed over that was not lent", facts.path));
  return block;
}

std::unique_ptr<Body> make_call_body(
    std::function<void(Context&)> initialise,
    std::span<const std::shared_ptr<ArrayBlock>> (*arrays_of)(std::uint64_t call)) {
  return std::make_unique<CallBody>(std::move(initialise), arrays_of);
}

}  // namespace tandem
