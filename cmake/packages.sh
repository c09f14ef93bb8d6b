# Sourced by the run.sh scripts: which Debian packages a job needs, and how they get installed.
# Written for bash; leaves the caller in the repository root.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kBuildPackages=(g++ cmake ninja-build libtbb-dev libboost-dev libeigen3-dev libfmt-dev libspdlog-dev
  libtomlplusplus-dev librandom123-dev libcereal-dev libxxhash-dev libdw-dev)
kExamplePackages=(libstb-dev libcli11-dev libkissfft-dev xplanet-images)
kTestPackages=(libgtest-dev libgmock-dev spin valgrind)
kBenchPackages=(libbenchmark-dev libcli11-dev)
kPeerPackages=(pkg-config cppzmq-dev libzmq3-dev libopenmpi-dev openmpi-bin libiceoryx-posh-dev libiceoryx-hoofs-dev
  libacl1-dev python3)
kTorchPackages=(python3-torch python3-numpy)
kSourcePackages=(dpkg-dev ca-certificates xz-utils)  # what apt-get source needs

# need_packages NAME...: returns once all are installed; exits with 2 where that is not ours to do.
need_packages() {
  if ! command -v dpkg-query apt-get >/dev/null; then
    echo "not a Debian system; going on with what is here (wanted: $*)" >&2
    return
  fi
  local missing=() package
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] ||
      missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  local install=(apt-get install -y --no-install-recommends "${missing[@]}") as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      printf 'missing Debian packages, and neither root nor sudo to install them; as root, run:\n  %s\n' \
        "apt-get update && ${install[*]}" >&2
      exit 2
    fi
    as_root=(sudo)
  fi
  echo "installing ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
}

# build PRESET: configures and builds it with as many jobs as there are processors, or JOBS.
build() {
  cmake --preset "$1"
  cmake --build --preset "$1" --parallel "${JOBS:-$(nproc)}"
}
