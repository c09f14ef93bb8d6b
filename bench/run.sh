#!/usr/bin/env bash
# Builds the benchmarks and runs them.
#
#   bench/run.sh                      the single steps (tandem_micro), tandem_bench, and the comparison with others
#   bench/run.sh OPTION...            tandem_bench alone, with these options
#   bench/run.sh --compare OPTION...  the comparison and Tandem's limits alone (tandem_compare), with these options
#
# --with-torch, before all others, installs PyTorch for the comparison: it is large.
# The last lines of both are `name value unit`; a ratio's unit is x.
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/packages.sh"

peers=("${kPeerPackages[@]}")
if [[ ${1:-} == --with-torch ]]; then
  peers+=("${kTorchPackages[@]}")
  shift
fi
what=bench
if (($# == 0)); then
  what=all
elif [[ $1 == --compare ]]; then
  what=compare
  shift
fi

need_packages "${kBuildPackages[@]}" "${kExamplePackages[@]}" "${kBenchPackages[@]}"
if [[ $what != bench ]] && ! (need_packages "${peers[@]}"); then
  echo "going on without those; the comparison names what it leaves out" >&2
fi
build bench
if [[ $what == all ]]; then
  build/bench/bench/tandem_micro --benchmark_min_time=0.1
  echo
  build/bench/bench/tandem_bench
  echo
fi
[[ $what == bench ]] && exec build/bench/bench/tandem_bench "$@"
exec build/bench/bench/tandem_compare "$@"
