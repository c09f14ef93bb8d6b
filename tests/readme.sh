#!/usr/bin/env bash
# The README quotes examples/pull.cpp, its configuration and its output; this fails when one has moved on.
#   tests/readme.sh           compare
#   tests/readme.sh --write   put the files' contents into the README
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The first three fenced blocks of the README, in this order.
files=(examples/pull.cpp examples/tandem.toml examples/pull.expected)

quoted() {  # the README with its first three blocks taken from the files
  awk -v files="${files[*]}" '
    BEGIN { split(files, file, " ") }
    /^```/ && !inside { print; inside = 1; ++block
                        if (block <= 3) while ((getline line < file[block]) > 0) print line
                        next }
    /^```/ { inside = 0 }
    !inside || block > 3 { print }' README.md
}

if [[ ${1:-} == --write ]]; then
  quoted > README.new && mv README.new README.md
else
  diff <(quoted) README.md || { echo "README.md quotes other than what stands in ${files[*]}; run tests/readme.sh --write"; exit 1; }
fi
