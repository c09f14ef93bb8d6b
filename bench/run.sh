#!/usr/bin/env bash
# Builds the benchmarks and runs them; arguments are passed on to tandem_bench. The single steps
# (tandem_micro) come first, so that the last lines are tandem_bench's `name value unit`.
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/packages.sh"

need_packages "${kBuildPackages[@]}" "${kExamplePackages[@]}" "${kBenchPackages[@]}"
build bench
if (($# == 0)); then
  build/bench/bench/tandem_micro --benchmark_min_time=0.1
  echo
fi
exec build/bench/bench/tandem_bench "$@"
