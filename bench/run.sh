#!/usr/bin/env bash
# Builds the benchmarks and runs them; arguments are passed on. The last lines are `name value unit`.
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/packages.sh"

need_packages "${kBuildPackages[@]}" "${kExamplePackages[@]}" "${kBenchPackages[@]}"
build bench
exec build/bench/bench/tandem_bench "$@"
