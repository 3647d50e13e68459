# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# ./dev matrix: the tests on each version of CPython, side by side. Read by ./dev.
#
# Each version has a copy of the working tree in build/matrix, with an environment and a build of
# its own. A version that is not at hand comes from Debian: debootstrap makes a root folder of a
# newer suite in build/matrix, and the tests run in there. That needs root.

versions_supported=(3.12 3.13 3.14 3.15)
debian_suite=forky
debian_mirror=${OWNGIL_DEBIAN_MIRROR:-http://deb.debian.org/debian}
matrix=$root/build/matrix

# matrix_all [VERSION…] [SUITE…]: one line a version; succeeds if all that could be run passed. The
# word "oldest" is the oldest version at hand, unless that is the newest, too.
matrix_all() {
  local one summary status=0
  local -a versions=() suites_wanted=()
  for one in "$@"; do
    case $one in
      3.*) versions+=("$one") ;;
      oldest)
        one=$(oldest_at_hand)
        if [[ -z $one ]]; then
          echo "only one version of CPython is at hand, and ./dev test is for that"
          return
        fi
        versions+=("$one")
        ;;
      *) suites_wanted+=("$one") ;;
    esac
  done
  ((${#versions[@]})) || versions=("${versions_supported[@]}")
  mkdir -p "$matrix"
  for one in "${versions[@]}"; do
    if find_python "$one"; then
      copy_tree "$matrix/$one"
      "$matrix/$one/dev" --python "$python_found" test "${suites_wanted[@]}" \
        >"$matrix/$one.log" 2>&1 </dev/null || status=1
    elif ((EUID != 0)); then
      printf '%-6s not here: needs root, to take it from Debian %s\n' "$one" "$debian_suite"
      continue
    else
      need_debian_root
      copy_tree "$matrix/debian/src/$one"
      in_debian_root "/src/$one/dev" --python "$one" test "${suites_wanted[@]}" \
        >"$matrix/$one.log" 2>&1 </dev/null || status=1
    fi
    summary=$(grep -E '^[0-9]+ passed, ' "$matrix/$one.log" || printf 'no result')
    printf '%-6s %-42s build/matrix/%s.log\n' "$one" "$summary" "$one"
  done
  return "$status"
}

oldest_at_hand() {
  local one
  local -a at_hand=()
  for one in "${versions_supported[@]}"; do
    ! find_python "$one" || at_hand+=("$one")
  done
  ((${#at_hand[@]} < 2)) || printf '%s' "${at_hand[0]}"
}

# copy_tree FOLDER: the working tree as it is, without what git ignores; what FOLDER has built stays.
copy_tree() {
  mkdir -p "$1"
  find "$1" -mindepth 1 -maxdepth 1 ! -name build ! -name .venv -exec rm -rf {} +
  git -C "$root" ls-files --cached --others --exclude-standard -z |
    (cd "$root" && xargs -0 ls -d 2>/dev/null) |
    tar -C "$root" --create --files-from - | tar -C "$1" --extract
}

need_debian_root() {
  local folder=$matrix/debian one packages=ca-certificates,g++,cmake,ninja-build,libboost-dev
  packages+=,libgtest-dev,procps,gdb
  # With CPython's own tests, which the conformance suite runs.
  for one in 3.13 3.14 3.15; do
    packages+=,python$one-dev,python$one-venv,libpython$one-testsuite
  done
  [[ $packages != $(cat "$folder/.complete" 2>/dev/null) ]] || return 0
  command -v debootstrap >/dev/null || apt_install debootstrap
  rm -rf "$folder"
  # Of an old debootstrap none of the newest suites is known by name; all are made alike.
  quietly "debootstrap $debian_suite" debootstrap --variant=minbase --include="$packages" \
    "$debian_suite" "$folder" "$debian_mirror" /usr/share/debootstrap/scripts/sid
  printf '%s\n' "$packages" >"$folder/.complete"
}

# in_debian_root CMD…: there, with this machine's processes, devices, names and certificates.
in_debian_root() {
  local folder=$matrix/debian file
  for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
    [[ ! -e $file ]] || cp -L "$file" "$folder$file"
  done
  # The mounts are this command's alone, and go with it.
  # shellcheck disable=SC2016
  unshare --mount bash -euc '
    folder=$1
    shift
    for one in proc sys dev; do mount --rbind "/$one" "$folder/$one"; done
    mount -t tmpfs tmpfs "$folder/tmp"
    exec chroot "$folder" env HOME=/root "$@"
  ' matrix "$folder" "$@"
}
