#!/usr/bin/env bash
# Checks the models of tests/model with Spin: each must hold as it is, and fail with each order or step taken
# away, so that it is known to be able to.
#
#   tests/model.sh          some twenty seconds
#   tests/model.sh --long   also with more messages and deaths: some minutes, about a GiB
set -euo pipefail
models=$(realpath "$(dirname "${BASH_SOURCE[0]}")/model")
for tool in spin gcc; do
  command -v "$tool" >/dev/null || { echo "the models need $tool (Debian: $tool)"; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

complain() {
  echo "$1"
  failures=$((failures + 1))
}

# check NAME DEFINE...: leaves what the checker says in `found`.
check() {
  local name=$1
  shift
  echo "#include \"$models/$name.pml\"" >model.pml
  spin -a "$@" model.pml >spin.log 2>&1 || { cat spin.log; exit 1; }
  gcc "$optimise" -w -DSAFETY -DCOLLAPSE -DMEMLIM=$((512 * ${large:-1})) -o pan pan.c
  found=$(./pan -m200000 2>&1)
}
holds() {
  optimise=-O1
  check "$@"
  if ! grep -q 'errors: 0$' <<<"$found" || grep -qE 'out of memory|max search depth too small|not completed' <<<"$found"; then
    complain "$* does not hold:"
    echo "$found"
    ./pan -r model.pml.trail </dev/null 2>&1 | tail -n 60 || true
  else
    echo "$*: holds in all $(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' <<<"$found") states"
  fi
}
# fails REASON NAME DEFINE...
fails() {
  local reason=$1
  shift
  optimise=-O0  # found soon: most of the time goes into compiling
  check "$@"
  if grep -q "$reason" <<<"$found"; then
    echo "$*: fails, as it must"
  else
    complain "$* should fail with '$reason':"
    echo "$found"
  fi
}

stuck='^pan:1: invalid end state'
wrong='^pan:1: assertion violated'

holds doorbell
fails "$stuck" doorbell -DWEAK_SLEEP
fails "$stuck" doorbell -DWEAK_RING
fails "$stuck" doorbell -DWEAK_LOOK
fails "$stuck" doorbell -DWEAK_BELL
fails "$stuck" doorbell -DWEAK_COUNT
fails "$wrong" doorbell -DWEAK_ONCE

holds leave
holds leave -DWEAK_LEAVE
fails "$stuck" leave -DWEAK_LEAVE -DNO_MUTEX
fails "$stuck" leave -DWEAK_ORDER
fails "$stuck" leave -DWEAK_SLEEP
fails "$stuck" leave -DWEAK_RING

holds promise
fails "$wrong" promise -DWEAK_PROMISE
fails "$wrong" promise -DWEAK_ASK
fails "$wrong" promise -DWEAK_LOOK
fails "$wrong" promise -DWEAK_TAKE

holds listen
fails "$stuck" listen -DNO_LOOK
fails "$stuck" listen -DNO_BELL_BACK
fails "$stuck" listen -DNO_HELP
fails "$stuck" listen -DNO_TELL

holds hunger
fails "$stuck" hunger -DLOOK_FIRST
fails "$stuck" hunger -DCOUNT_LATE
fails "$stuck" hunger -DNO_HURRY
fails "$stuck" hunger -DNO_LOOK
fails "$stuck" hunger -DMARK_LATE

holds ring
fails "$wrong" ring -DWEAK_PUBLISH
fails "$wrong" ring -DWEAK_TAKE
fails "$wrong" ring -DWEAK_CREDITS
fails "$wrong" ring -DWEAK_PIDFD
fails "$wrong" ring -DWEAK_LAST
fails "$wrong" ring -DWEAK_NEW
fails "$stuck" ring -DWEAK_LEDGER

holds recall
fails "$wrong" recall -DWEAK_BEGIN
fails "$wrong" recall -DWEAK_RECALL
fails "$wrong" recall -DWEAK_DECLINED
fails "$wrong" recall -DWEAK_GIVEN

if [[ ${1:-} == --long ]]; then
  large=8
  holds doorbell -DTOKENS=6
  holds leave -DNO_MUTEX
  holds leave -DMESSAGES=2
  holds listen -DREPLIES=3
  holds hunger -DMESSAGES=12 -DIN_FLIGHT=6 -DEARLY=5
  holds promise -DMESSAGES=4 -DPROMISES=4 -DMORE=0
  holds promise -DMORE=2
  holds ring -DMESSAGES=4 -DDEATHS=3
  holds recall -DREQUESTS=5
fi

((failures == 0)) || { echo "$failures of the models' checks went wrong"; exit 1; }
