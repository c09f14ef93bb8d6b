#include <tandem/audit.hpp>

#include <fmt/format.h>

namespace tandem {

std::string Audit::text() const {
  std::string text;
  for (const Blocks& one : blocks) {
    text += fmt::format("node '{}': {} blocks = {} free + {} lent + {} withdrawn\n", one.node, one.all,
                        one.free, one.lent, one.withdrawn);
  }
  for (const Messages& one : messages) {
    text += fmt::format("commander '{}': {} messages made, {} live ({} in the graph) of {} credits\n",
                        one.source, one.emitted, one.live, one.in_graph, one.credits);
  }
  for (const std::string& one : broken) text += "broken: " + one + '\n';
  return text;
}

}  // namespace tandem
