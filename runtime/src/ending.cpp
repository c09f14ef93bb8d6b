#include <tandem/ending.hpp>

#include <algorithm>

namespace tandem {

bool Ending::origins_are_drained() const noexcept {
  return std::all_of(origins_.begin(), origins_.end(), [](const Source* source) { return source->drained(); });
}

std::uint64_t Ending::inputs_begun() const noexcept {
  std::uint64_t begun = 0;
  for (const Source* const source : splits_) begun += source->inputs_begun();
  return begun;
}

// The counts one after the other, and no input has begun meanwhile. A node without input at the look at it had none then
// until the last look; and so made no part, and without any in the graph at the look after that had none there until then
// either. So at the last look all were at zero. (After Mattern, "Algorithms for distributed termination detection", 1987:
// count twice.)
bool Ending::nothing_moves() const noexcept {
  const std::uint64_t before = inputs_begun();
  return std::all_of(splits_.begin(), splits_.end(), [](const Source* source) { return source->quiet(); }) &&
         inputs_begun() == before;
}

void Ending::look() noexcept {
  if (splits_.empty() || over_.load(std::memory_order_relaxed) || !origins_are_drained()) return;
  // QUIET: the flag before the look, both seq_cst; a source counts before it looks at the flag. Weaker: the last of them
  // could become quiet unseen, and the streams would wait for ever. A look that was in vain is followed by another: what it
  // saw under way has yet to end.
  for (Source* const source : splits_) source->tell_quiet();
  if (!nothing_moves() || over_.exchange(true)) return;
  for (Source* const source : splits_) source->finish();
}

}  // namespace tandem
