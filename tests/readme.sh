#!/usr/bin/env bash
# The READMEs quote examples and what they print; this fails when one has moved on.
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

# examples/README.md quotes pieces: fenced blocks, whole lines each, and code in the last column of its tables. What stands
# below a heading that links files is to be found in one of these, letter by letter.
pieces=0
quoted_piece() {  # TEXT
  local file
  pieces=$((pieces + 1))
  for file in "${linked[@]}"; do
    [[ $'\n'"$(<"examples/$file")"$'\n' != *"$1"* ]] || return 0
  done
  echo "examples/README.md quotes what does not stand in ${linked[*]:-any file that its heading links}:" >&2
  echo "$1" >&2
  wrong=1
}

linked=() wrong=0 block="" inside=0
while IFS= read -r line; do
  if [[ $line == '```'* ]]; then
    ((!inside)) || quoted_piece "$block"
    inside=$((!inside)) block=$'\n'
  elif ((inside)); then
    block+="$line"$'\n'
  elif [[ $line == '#'* ]]; then
    mapfile -t linked < <(grep -oP '\]\(\K[^)]+' <<<"$line")
  elif [[ $line =~ \|\ \`([^\`]+)\`\ \|$ ]]; then
    quoted_piece "${BASH_REMATCH[1]}"
  fi
done <examples/README.md
((pieces > 0)) || { echo "examples/README.md quotes nothing" >&2; exit 1; }
exit "$wrong"
