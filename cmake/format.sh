#!/usr/bin/env bash
# format.sh CLANG_FORMAT ARGUMENT...: runs it on every C++ file of the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
find runtime graph examples tests bench \( -name '*.hpp' -o -name '*.cpp' \) -print0 | xargs -0r "$@"
