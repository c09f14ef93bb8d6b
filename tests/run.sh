#!/usr/bin/env bash
# Builds and runs the tests.
#
#   tests/run.sh            dev, then asan (AddressSanitizer and UBSan)
#   tests/run.sh PRESET...  the ones named, of dev, asan, tsan
#
# tsan runs only when named: it first builds oneTBB with ThreadSanitizer, from Debian's source.
# TEST_JOBS  tests at a time (3: much of a test is waiting for processes; those that count what others use run alone)
# JOBS       compilers at a time (as many as there are processors)
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/packages.sh"

presets=("$@")
((${#presets[@]})) || presets=(dev asan)

need_packages "${kBuildPackages[@]}" "${kTestPackages[@]}" "${kExamplePackages[@]}"
for preset in "${presets[@]}"; do
  [[ $preset == tsan ]] && tests/tsan_tbb.sh
  build "$preset"
  ctest --preset "$preset" --parallel "${TEST_JOBS:-3}"
done
