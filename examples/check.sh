#!/usr/bin/env bash
# check.sh BUILD_DIR: runs the examples of that build and compares what they print; then what tiles says
# to bad input. Prints what is wrong and exits with 1, or exits with 0.
set -euo pipefail

(($# == 1)) || { echo "usage: $0 BUILD_DIR" >&2; exit 2; }
programs="$(cd "$1/examples" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")"  # here lies tandem.toml
unset "${!TANDEM_@}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
wrong=0

fail() {
  printf 'FAILED: %s\n' "$@" >&2
  wrong=1
}

# same_output EXPECTED PROGRAM ARGUMENT...
same_output() {
  local expected="$1" program="$2"
  shift 2
  timeout 60 "$programs/$program" "$@" >"$scratch/stdout" 2>"$scratch/stderr" ||
    fail "$program $*: exit status $?: $(<"$scratch/stderr")"
  diff -u "$expected" "$scratch/stdout" >&2 || fail "$program $*: not what $expected holds"
  [[ ! -s "$scratch/stderr" ]] || fail "$program $*: wrote to stderr: $(<"$scratch/stderr")"
}

# refused TEXT ARGUMENT...: tiles must end at once with status 2 and one line on stderr that contains TEXT.
refused() {
  local text="$1" status=0
  shift
  (cd "$scratch" && timeout 10 "$programs/tiles" "$@") >"$scratch/stdout" 2>"$scratch/stderr" || status=$?
  ((status == 2)) || fail "tiles $*: exit status $status, wanted 2"
  (($(wc -l <"$scratch/stderr") == 1)) ||
    fail "tiles $*: wanted one line on stderr, found: $(<"$scratch/stderr")"
  grep -qF -- "$text" "$scratch/stderr" || fail "tiles $*: no \"$text\" in: $(<"$scratch/stderr")"
  [[ ! -s "$scratch/stdout" ]] || fail "tiles $*: wrote to stdout before it refused"
}

# picture WIDTH HEIGHT: a grey one (PPM, which stb reads as well), so that no photograph need be installed.
picture() {
  printf 'P6 %d %d 255\n' "$1" "$2"
  head -c $(($1 * $2 * 3)) /dev/zero | tr '\0' '\200'
}

echo "pull, points, chain and parts, on threads and in processes"
same_output pull.expected pull
same_output points.expected points
same_output chain.expected chain
same_output recipes.expected recipes
same_output parts.expected parts
for placement in thread process; do
  for workers in 1 4; do
    reader=("--tandem.node.reader.placement=$placement" "--tandem.node.reader.workers=$workers")
    same_output pull.expected pull "${reader[@]}"
    same_output points.expected points "${reader[@]}"
    same_output chain.expected chain "${reader[@]}"
    same_output parts.expected parts "${reader[@]}" --tandem.node.brightness.{placement=process,workers=2}
    same_output chain.expected chain "${reader[@]}" --tandem.node.moments.{placement=process,workers=2}
  done
done

echo "crash"
timeout 60 "$programs/crash" >"$scratch/stdout" 2>"$scratch/stderr" || fail "crash: exit status $?"
diff -u crash.expected "$scratch/stdout" >&2 || fail "crash: not what crash.expected holds"
(($(grep -c "attempt" "$scratch/stderr") == 4)) || fail "crash: wanted a line for each death: $(<"$scratch/stderr")"

echo "push"
timeout 60 "$programs/push" >"$scratch/stdout" 2>"$scratch/stderr" || fail "push: exit status $?"
diff -u push.expected "$scratch/stdout" >&2 || fail "push: not what push.expected holds"
(($(grep -c "SIGABRT" "$scratch/stderr") == 33)) || fail "push: wanted a line for each death: $(<"$scratch/stderr")"

echo "simulation: a short run; one that drops frames; one that is timed"
status=0
(cd "$scratch" && timeout 60 "$programs/simulation" --cells 128 --steps 2500 --full block --output frames) \
  >"$scratch/stdout" 2>"$scratch/stderr" || status=$?
((status == 0)) || fail "simulation: exit status $status: $(<"$scratch/stderr")"
diff -u simulation/simulation.expected "$scratch/stdout" >&2 || fail "simulation: not what simulation.expected holds"
(($(wc -l <"$scratch/stderr") == 2)) || fail "simulation: wanted a line for each death: $(<"$scratch/stderr")"
(($(find "$scratch/frames" -name 'step-*.png' -size +0 | wc -l) == 250)) || fail "simulation: wanted 250 pictures"
for extra in "" "--time 3"; do
  # shellcheck disable=SC2086  # none or two arguments
  (cd "$scratch" && timeout 60 "$programs/simulation" --cells 128 --steps 500 --every 1 --output frames $extra) \
    >"$scratch/stdout" 2>"$scratch/stderr" || fail "simulation $extra: exit status $?: $(<"$scratch/stderr")"
  # "500 frames: 31 spectra, 0 crashes; 469 dropped": each ends as one of the three
  tail -n 1 "$scratch/stdout" | awk '{ exit !($1 > 0 && $1 == $3 + $5 + $7) }' ||
    fail "simulation $extra: frames are missing: $(<"$scratch/stdout")"
done

echo "legacy"
same_output legacy/legacy.expected legacy

echo "buffer and tokens, on threads and in processes"
for placement in thread process; do
  for workers in 1 4; do
    place=("--tandem.config=systems/buffer.toml" "--tandem.node.producer."{"placement=$placement","workers=$workers"})
    same_output systems/buffer.expected buffer "${place[@]}"
    sort systems/buffer.expected >"$scratch/sorted.expected"
    timeout 60 "$programs/buffer" "${place[@]}" --tandem.deterministic=false 2>&1 | sort >"$scratch/sorted" ||
      fail "buffer without order: exit status $?"
    diff -u "$scratch/sorted.expected" "$scratch/sorted" >&2 || fail "buffer without order: other lines"
    same_output systems/tokens.expected tokens --tandem.config=systems/tokens.toml \
      "--tandem.node.loader."{"placement=$placement","workers=$workers"} "--tandem.node.processor.placement=$placement"
  done
done
same_output systems/tokens.expected tokens --tandem.config=systems/tokens.toml --tandem.node.processor.workers=2

echo "arraypool, background and executor, on threads and in processes"
for placement in thread process; do
  for workers in 1 4; do
    for program in background executor; do
      node="--tandem.node.$program"
      same_output "systems/$program.expected" "$program" "--tandem.config=systems/$program.toml" "$node."{"placement=$placement","workers=$workers"}
    done
    # One of its workers is killed, which the log tells.
    timeout 60 "$programs/arraypool" --tandem.config=systems/arraypool.toml \
      "--tandem.node.pool."{"placement=$placement","workers=$workers"} >"$scratch/stdout" 2>"$scratch/stderr" ||
      fail "arraypool: exit status $?: $(<"$scratch/stderr")"
    diff -u systems/arraypool.expected "$scratch/stdout" >&2 || fail "arraypool: not what arraypool.expected holds"
  done
done
same_output systems/executor.expected executor --tandem.config=systems/executor.toml --tandem.node.executor.start=spawn

echo "tiles, a short run"
picture 400 300 >"$scratch/grey.ppm"
picture 300 255 >"$scratch/small.ppm"
head -c 5000 /dev/zero >"$scratch/zeros.jpg"
grey=(--image grey.ppm)
(cd "$scratch" && timeout 100 "$programs/tiles" "${grey[@]}" --items 3 --workers 1,2 --output out) \
  >"$scratch/stdout" || fail "tiles: exit status $?"
[[ "$(tail -n 1 "$scratch/stdout")" == "identical: yes" ]] || fail "tiles: $(<"$scratch/stdout")"
(($(grep -cE '^(thread|process) ' "$scratch/stdout") == 4)) || fail "tiles: no table: $(<"$scratch/stdout")"
[[ "$(head -c 4 "$scratch/out/contact-sheet.png" | tail -c 3)" == PNG ]] || fail "tiles: no contact sheet"

echo "tiles, bad input"
: >"$scratch/empty.jpg"
: >"$scratch/plain-file"
refused "'missing.jpg'" --image missing.jpg
refused "not a regular file" --image out
refused "not a JPEG or PNG" --image zeros.jpg
refused "not a JPEG or PNG" --image empty.jpg
refused "300 x 255 pixels" --image small.ppm
refused "did you mean 'reader'" "${grey[@]}" --tandem.node.raeder.attempts=2
refused "workers = 0" "${grey[@]}" --tandem.node.reader.workers=0
refused "workers = 0" "${grey[@]}" --workers 1,0
refused "raise memory" "${grey[@]}" "--tandem.memory=16 MiB"
refused 'memory = "lots"' "${grey[@]}" --tandem.memory=lots
refused "--output" "${grey[@]}" --output plain-file
refused "--output" "${grey[@]}" --output plain-file/out
mkdir -p "$scratch/taken/contact-sheet.png"
refused "--output" "${grey[@]}" --output taken
refused "--itmes" "${grey[@]}" --itmes 3
refused "--items" "${grey[@]}" --items 0
refused "--items" "${grey[@]}" --items many
refused "seed" "${grey[@]}" --seed never
refused "extra" "${grey[@]}" extra
printf '[tandem]\nmemory = "lots"\n' >"$scratch/bad.toml"
refused "bad.toml:2" "${grey[@]}" --tandem.config=bad.toml
if ((EUID != 0)); then  # root may read and write what it likes
  cp "$scratch/grey.ppm" "$scratch/secret.ppm"
  chmod 000 "$scratch/secret.ppm"
  refused "Permission denied" --image secret.ppm
  mkdir -m 500 "$scratch/locked"
  refused "Permission denied" "${grey[@]}" --output locked
fi

((wrong == 0)) && echo "all as expected"
exit "$wrong"
