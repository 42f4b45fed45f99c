#!/usr/bin/env bash
# Measures. Usage: scripts/bench.sh SUITE [--quick] [--json FILE]
#
#   path   ns per frame at each station and on the whole path, on the simulated port
#   pmd    echo lambda against dpdk-testpmd on net_af_packet and net_tap, same frames, in turn (needs root)
#
# Every suite prints a table; --quick ends within 40 s once built; --json writes
# {suite, commit, machine, figures: [{name, value, min, max, unit, better, bar}]}.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0"; }

suite=${1:-}
[ $# -gt 0 ] && shift
case "$suite" in
path)
    scripts/setup.sh --build
    cargo bench --profile release --locked --quiet -p lnic --bench path -- "$@"
    ;;
pmd)
    [ "$(id -u)" = 0 ] || die "pmd makes network namespaces: run it as root"
    scripts/setup.sh --build --test
    cargo build --release --locked --quiet -p lnic
    "$CARGO_TARGET_DIR/release/lnic" build lambdas/echo >/dev/null
    LNIC="$CARGO_TARGET_DIR/release/lnic" exec python3 scripts/bench/pmd.py "$@"
    ;;
-h | --help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
