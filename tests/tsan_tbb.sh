#!/usr/bin/env bash
# Builds the oneTBB that Debian ships, from Debian's source, with ThreadSanitizer, into build/tsan-tbb.
# Without it every synchronisation inside oneTBB is invisible to the sanitizer and reported as a race.
# The package sources are looked up where this machine's apt gets its packages from.
source "$(dirname "${BASH_SOURCE[0]}")/../cmake/packages.sh"

need_packages "${kBuildPackages[@]}" "${kSourcePackages[@]}"
package=$(dpkg-query -W -f '${source:Package}' libtbb-dev)
version=$(dpkg-query -W -f '${source:Version}' libtbb-dev)
prefix=$PWD/build/tsan-tbb
[[ "$(cat "$prefix/version" 2>/dev/null)" == "$version" ]] && exit 0

work=$prefix/work
rm -rf "$prefix"
mkdir -p "$work"/apt/{sources,lists/partial,cache/archives/partial}

# A private copy of the machine's sources that asks for source packages: both of apt's formats.
shopt -s nullglob
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [[ -f $list ]] && sed -nE 's/^deb(-src)?[[:space:]]/deb-src /p' "$list" | sort -u \
    >"$work/apt/sources/$(basename "$list" .list)-src.list"
done
for list in /etc/apt/sources.list.d/*.sources; do
  sed -E 's/^Types:.*/Types: deb-src/' "$list" >"$work/apt/sources/$(basename "$list")"
done
apt=(apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/apt/sources"
  -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
  -o "APT::Sandbox::User=$(id -un)")  # _apt may not be allowed into this folder

"${apt[@]}" update || echo "some package sources did not answer; trying with the others" >&2
(cd "$work" && "${apt[@]}" source "$package=$version")

cmake -S "$(echo "$work/$package"-*/)" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DCMAKE_INSTALL_PREFIX="$prefix" -DTBB_SANITIZE=thread -DTBB_STRICT=OFF -DTBB_TEST=OFF \
  -DTBBMALLOC_BUILD=OFF
cmake --build "$work/build" --parallel "${JOBS:-$(nproc)}"
cmake --install "$work/build" >/dev/null
rm -rf "$work"
echo "$version" >"$prefix/version"  # last: a build cut short is done again
