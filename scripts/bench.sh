#!/usr/bin/env bash
# Measures. Usage: scripts/bench.sh SUITE [--quick] [--json FILE]
#
#   path       ns per frame at each station and on the whole path, on the simulated port
#   copy       ns per fragment of a message: placed by the lcore or by a DMA engine, sent with and without a copy
#   memory     ns per access of a lambda by tier, in and out of the caches; hugepages; placed memory against one that is not;
#              derived parser against the full one (as root it reserves 128 MiB of hugepages while it runs)
#   handoff    what a dispatcher costs a frame over run-to-completion
#   fairness   lambdas of different cost and weight, all overloaded: who gets how much NPU time
#   isolation  a victim beside an endless looper, a trapper and a flooder
#   scale      1 to 10,000 lambdas: throughput, memory, deployment
#   idle       CPU time of an idle appliance, latency of the request that wakes it (needs root)
#   pmd        echo lambda against dpdk-testpmd on net_af_packet and net_tap, same frames, in turn (needs root)
#   control    deployments through the API, while packets flow and after a restart; lambdas over HTTP against nginx (needs root)
#   message    messages of 64 KiB and 1 MiB: against testpmd on the same PMD, nginx and Python over HTTP, and with loss (needs root)
#   workloads  each lambda of lambdas/ alone under load: requests a second, latency, fuel, cycles, memory by tier (needs root)
#   kv         kv-server against memcached, over UDP on the same interface: requests a second of a core, p50 (needs root)
#
# Every suite prints a table; --quick ends within 40 s once built; --json writes
# {suite, commit, machine, figures: [{name, value, min, max, unit, better, bar}]}.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

usage() { sed -n '2,20s/^# \{0,1\}//p' "$0"; }

suite=${1:-}
[ $# -gt 0 ] && shift
case "$suite" in
path | copy)
    scripts/setup.sh --build
    cargo bench --profile release --locked --quiet -p lnic --bench "$suite" -- "$@"
    ;;
memory)
    scripts/setup.sh --build
    trap restore_hugepages EXIT
    reserve_hugepages 64
    cargo bench --profile release --locked --quiet -p lnic --bench memory -- "$@"
    ;;
handoff | fairness | isolation | scale)
    scripts/setup.sh --build
    cargo bench --profile release --locked --quiet -p lnic --bench islands -- "$suite" "$@"
    ;;
idle | pmd)
    [ "$(id -u)" = 0 ] || die "$suite makes network namespaces: run it as root"
    scripts/setup.sh --build --test
    cargo build --release --locked --quiet -p lnic
    "$CARGO_TARGET_DIR/release/lnic" build lambdas/echo >/dev/null
    LNIC="$CARGO_TARGET_DIR/release/lnic" exec python3 "scripts/bench/$suite.py" "$@"
    ;;
message)
    [ "$(id -u)" = 0 ] || die "$suite makes network namespaces: run it as root"
    scripts/setup.sh --build --test --bench
    cargo build --release --locked --quiet -p lnic
    cargo build --release --locked --quiet -p lnic-client --example messages
    for folder in lambdas/echo scripts/bench/lambdas/sink scripts/bench/lambdas/source; do
        "$CARGO_TARGET_DIR/release/lnic" build "$folder" >/dev/null
    done
    export LNIC="$CARGO_TARGET_DIR/release/lnic" MESSAGES="$CARGO_TARGET_DIR/release/examples/messages"
    exec python3 scripts/bench/message.py "$@"
    ;;
workloads)
    [ "$(id -u)" = 0 ] || die "$suite makes network namespaces: run it as root"
    scripts/setup.sh --build --test
    cargo build --release --locked --quiet -p lnic
    LNIC="$CARGO_TARGET_DIR/release/lnic" exec python3 scripts/bench/workloads.py "$@"
    ;;
kv)
    [ "$(id -u)" = 0 ] || die "$suite makes network namespaces: run it as root"
    scripts/setup.sh --build --test --bench
    cargo build --release --locked --quiet -p lnic
    cargo build --release --locked --quiet -p lnic-client --example memcached_load
    export LNIC="$CARGO_TARGET_DIR/release/lnic" MEMCACHED_LOAD="$CARGO_TARGET_DIR/release/examples/memcached_load"
    exec python3 scripts/bench/kv.py "$@"
    ;;
control)
    [ "$(id -u)" = 0 ] || die "$suite makes network namespaces: run it as root"
    scripts/setup.sh --build --test --bench
    cargo build --release --locked --quiet -p lnic --bin lnic --example gateway
    "$CARGO_TARGET_DIR/release/lnic" build lambdas/echo >/dev/null
    export LNIC="$CARGO_TARGET_DIR/release/lnic" GATEWAY="$CARGO_TARGET_DIR/release/examples/gateway"
    exec python3 scripts/bench/control.py "$@"
    ;;
-h | --help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
