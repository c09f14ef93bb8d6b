#!/usr/bin/env bash
# Shows that layering.sh sees each kind of fault, in a small tree made for it, and nothing else there.
set -euo pipefail
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cd "$tree"
mkdir -p runtime/{include/tandem,src} graph/include/tandem

printf '0 runtime low misplaced\n1 runtime high\n5 graph node\n' >layers.txt
printf '#include <tandem/low.hpp>\n#include <vector>\n// #include <tandem/node.hpp>\n' >runtime/src/high.cpp
printf '#include <tandem/high.hpp>\n#include <oneapi/tbb/task_arena.h>\n#include <tbb/tbb.h>\n' >graph/include/tandem/node.hpp
"$here/layering.sh" . layers.txt

printf '\n#  include <tandem/high.hpp>\n#include "high.hpp"\n#include <tandem/unknown.hpp>\n' >runtime/src/low.cpp
printf '#include <oneapi/tbb/flow_graph.h>\n#include <tbb/tbb.h>\n#include <tandem/node.hpp>\n#include "../../graph/x.hpp"\n' \
  >runtime/include/tandem/high.hpp
touch runtime/src/stranger.cpp graph/include/tandem/misplaced.hpp
if found=$("$here/layering.sh" . layers.txt); then
  echo "layering.sh passed a tree full of faults"
  exit 1
fi
wanted='graph/include/tandem/misplaced.hpp:1: belongs
runtime/include/tandem/high.hpp:1: oneTBB
runtime/include/tandem/high.hpp:2: oneTBB
runtime/include/tandem/high.hpp:3: layer
runtime/include/tandem/high.hpp:4: never
runtime/src/low.cpp:2: layer
runtime/src/low.cpp:3: layer
runtime/src/low.cpp:4: no.layer
runtime/src/stranger.cpp:1: no.layer'
echo "$found"
while read -r place word; do
  grep -q "^$place.*$word" <<<"$found" || { echo "not reported: $place $word"; exit 1; }
done <<<"$wanted"
[[ $(grep -c '^[a-z/_.]*pp:[0-9]' <<<"$found") == $(wc -l <<<"$wanted") ]] || { echo "reported too much"; exit 1; }
