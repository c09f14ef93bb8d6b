#!/usr/bin/env bash
# layering.sh [ROOT [TABLE]]: reads the include lines of runtime/ and graph/ under ROOT and fails, with
# file, line and reason, where one breaks the layers that TABLE lists (ROOT/tests/layers.txt).
set -euo pipefail
root=${1:-$(dirname "${BASH_SOURCE[0]}")/..}
table=$(realpath "${2:-$root/tests/layers.txt}")
cd "$root"

find runtime graph \( -name '*.hpp' -o -name '*.cpp' \) | sort | awk -v table="$table" '
  function complain(reason) { printf "%s:%d: %s\n", file, line, reason; broken++ }
  function check(target,    name) {  # target: what stands between < > or " "
    if (folder == "runtime" && target ~ /^(oneapi\/)?tbb[\/.]/)
      return complain("includes <" target ">: only graph/ may use oneTBB")
    if (folder == "runtime" && target ~ /(^|\/)graph\//)
      return complain("includes " target ": runtime/ never includes graph/")
    if (target !~ /^tandem\// && !quoted) return  # somebody else'\''s header
    name = target; sub(/^.*\//, "", name); sub(/\.hpp$/, "", name)
    if (!(name in layer)) return complain("includes " target ", which has no layer in " table)
    if (layer[name] > layer[self])
      complain("layer " layer[self] " (" self ") includes " target " of layer " layer[name])
  }
  BEGIN {
    while ((got = (getline row < table)) > 0)
      if (row !~ /^[ \t]*(#|$)/) {
        n = split(row, word)
        for (i = 3; i <= n; i++) { layer[word[i]] = word[1]; home[word[i]] = word[2] }
      }
    if (got < 0) { print table ": cannot be read"; failed = 1; exit 1 }
  }
  {
    file = $0; line = 1; files++
    folder = file; sub(/\/.*/, "", folder)
    self = file; sub(/^.*\//, "", self); sub(/\.[hc]pp$/, "", self)
    if (!(self in layer)) { complain("has no layer in " table); next }
    if (home[self] != folder) complain(self " belongs into " home[self] "/")
    for (line = 1; (getline text < file) > 0; line++)
      if (text ~ /^[ \t]*#[ \t]*include[ \t]*[<"]/) {
        quoted = text ~ /include[ \t]*"/
        sub(/^[^<"]*[<"]/, "", text); sub(/[>"].*/, "", text)
        check(text)
      }
    close(file)
  }
  END {
    if (failed) exit 1
    if (!files) { print "no files under runtime/ and graph/"; exit 1 }
    if (broken) { print broken " broken of " files " files read"; exit 1 }
    print files " files keep their layers"
  }'
