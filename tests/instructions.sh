#!/usr/bin/env bash
# instructions.sh PROGRAM: counts the instructions that one message costs the host (valgrind, callgrind), and compares with
# instructions.txt. Fails when there are noticeably more than recorded there, and asks for the record to be renewed when
# there are fewer. The figures are those of the dev preset with Debian 12's compiler; with another nothing is compared.
set -euo pipefail

(($# == 1)) || { echo "usage: $0 PROGRAM" >&2; exit 2; }
program="$(realpath "$1")"
cd "$(dirname "${BASH_SOURCE[0]}")"
messages=32000  # that the program sends
wrong=0

while read -r path recorded noticeably; do
  [[ $path == \#* ]] && continue
  said="$(valgrind --tool=callgrind --toggle-collect='tandem::counted*' --callgrind-out-file=/dev/null \
    "$program" "$path" 2>&1)" || { echo "$said" >&2; exit 1; }
  collected="$(sed -n 's/.*Collected : //p' <<<"$said" | tail -n 1)"
  [[ -n $collected ]] && ((collected > 0)) || { echo "nothing was counted for $path: $said" >&2; exit 1; }
  now=$((collected / messages))
  echo "$path $now instructions per message, $recorded recorded"
  if ((now * 100 > recorded * (100 + noticeably))); then
    echo "FAILED: $path costs more than it did; if that buys something, record it in instructions.txt" >&2
    wrong=1
  elif ((now * 100 < recorded * (100 - noticeably))); then
    echo "FAILED: $path costs less than it did: record it in instructions.txt" >&2
    wrong=1
  fi
done <instructions.txt
exit "$wrong"
