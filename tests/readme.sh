#!/usr/bin/env bash
# The README quotes two examples and what they print; this fails when one has moved on.
#   tests/readme.sh           compare
#   tests/readme.sh --write   put the files' contents into the README
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Fenced blocks of the README: number:file.
files=(1:examples/pull.cpp 2:examples/tandem.toml 3:examples/pull.expected 5:examples/crash.cpp
  6:examples/crash.expected)

quoted() {  # the README with these blocks taken from the files
  awk -v files="${files[*]}" '
    BEGIN { count = split(files, entries, " ")
            for (i = 1; i <= count; ++i) { split(entries[i], part, ":"); file[part[1]] = part[2] } }
    /^```/ && !inside { print; inside = 1; ++block
                        if (block in file) while ((getline line < file[block]) > 0) print line
                        next }
    /^```/ { inside = 0 }
    !inside || !(block in file) { print }' README.md
}

if [[ ${1:-} == --write ]]; then
  quoted > README.new && mv README.new README.md
else
  diff <(quoted) README.md || { echo "README.md quotes other than what stands in ${files[*]}; run tests/readme.sh --write"; exit 1; }
fi
