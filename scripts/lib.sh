# Shared by the scripts; source it. Sets `root`, the repository's folder, and CARGO_TARGET_DIR.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for those that source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Outside the repository: mounts of it stay small, and containers can share the folder.
: "${CARGO_TARGET_DIR:=${LNIC_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/lnic/target}}"
export CARGO_TARGET_DIR

# What rustup's installer put there may not be on PATH yet.
if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# have COMMAND...: are all of them there?
have() {
    command -v "$@" >/dev/null 2>&1 && (($(command -v "$@" | wc -l) == $#))
}

# as_root COMMAND...: through sudo if need be.
as_root() {
    if ((EUID == 0)); then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "needs root, and there is no sudo: $*"
    fi
}

hugepages_before=

# reserve_hugepages COUNT: sees that so many pages of the default size are free, if it can. Without them everything
# runs on 4 KiB pages, slower; that is said and is no failure. restore_hugepages undoes it.
reserve_hugepages() {
    local count=$1 total free now
    total=$(cat /proc/sys/vm/nr_hugepages 2>/dev/null) || {
        say "hugepages: this kernel has none; running on 4 KiB pages"
        return 0
    }
    free=$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)
    if ((free >= count)); then
        return 0
    fi
    if [[ ! -w /proc/sys/vm/nr_hugepages ]]; then
        say "hugepages: $free of $count free and not root; running on 4 KiB pages"
        return 0
    fi
    [[ -n $hugepages_before ]] || hugepages_before=$total
    echo $((total + count - free)) >/proc/sys/vm/nr_hugepages 2>/dev/null || true
    now=$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)
    if ((now >= count)); then
        say "hugepages: reserved $((now - free)) more, $now free"
    else
        say "hugepages: only $now of $count free; running on 4 KiB pages where they do not suffice"
    fi
}

restore_hugepages() {
    [[ -n $hugepages_before ]] || return 0
    echo "$hugepages_before" >/proc/sys/vm/nr_hugepages 2>/dev/null || true
    hugepages_before=
}
