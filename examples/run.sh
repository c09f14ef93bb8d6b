#!/usr/bin/env bash
# Builds the examples and runs tiles on a photograph of the earth; arguments are passed on to it.
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/packages.sh"

need_packages "${kBuildPackages[@]}" "${kExamplePackages[@]}"
build release
exec build/release/examples/tiles --output build/tiles "$@"
