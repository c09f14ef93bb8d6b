#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <tandem/array_store.hpp>
#include <tandem/config.hpp>
#include <tandem/context.hpp>
#include <tandem/packing.hpp>
#include <tandem/pool.hpp>

namespace tandem {

/// One instance of a user's producer, with its types erased. One per worker, used by it alone.
class Body {
 public:
  virtual ~Body() = default;
  virtual void start(Context& context) = 0;
  /// input: a const In or a const Arrays. output: an Out or an Arrays, of indeterminate contents.
  virtual void run(const void* input, void* output, Context& context) = 0;
};

/// What the runtime knows of a producer node. Constant once the graph has started, so that forked
/// workers see the same.
struct NodeInfo {
  std::string name;
  std::uint32_t index = 0;
  std::string type;  // for people: what goes in and comes out
  NodeConfig config;
  std::uint64_t random_key = 0;             // stream_key(seed, name)
  std::size_t message_bytes = 0;            // of an input that a source makes; 0 when it is Arrays or is packed
  Packing packing;                          // of such an input, when it is not its bytes
  std::chrono::nanoseconds hold_timeout{};  // how long one waits for what only the user can give back
  BlockLayout layout;
  BlockAreas blocks;
  std::function<std::unique_ptr<Body>()> make_body;
  std::shared_ptr<ArrayStore> arrays;  // of the runtime; null when it has no shared arrays

  bool packs_messages() const noexcept { return packing && config.placement == Placement::process; }
  bool output_grows() const noexcept { return output_is_arrays() && layout.arrays->grows(); }
  bool output_is_arrays() const noexcept { return layout.arrays != nullptr; }
};

using NodeTable = std::vector<std::unique_ptr<NodeInfo>>;

/// Runs a body on one message, wherever it is.
/// input     as Body::run() wants it. output: that part of a block of the node.
/// Errors    those of the body.
void run_body(Body& body, const NodeInfo& node, const void* input, std::byte* output, Context& context);

/// The text of the exception being handled, whatever its type. Call inside a catch block.
std::string current_exception_text();

}  // namespace tandem
