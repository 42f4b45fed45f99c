#!/usr/bin/env bash
# Shows the appliance at work: a client in a network namespace of its own pings it, calls lambdas and measures them; others are
# deployed meanwhile.
# Makes what it needs, leaves the host's interfaces alone, and removes everything when it ends.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'END'
usage: scripts/demo.sh [--binary PATH]

Builds lnic and two lambdas, and shows them on a tap interface. Needs root, or sudo, for namespaces and the tap.
  --binary PATH  take this lnic instead of building one; nothing is installed
END
}

binary=''
while (($#)); do
    case $1 in
        --binary)
            (($# >= 2)) || { usage >&2 && exit 2; }
            binary=$2
            shift
            ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

# What 128 MiB take in pages of 2 MiB; see [memory] eal_mib.
hugepages=64
interface=lnic0
nic=lnic-demo-$$-nic client=lnic-demo-$$-client
appliance_pid=''

bold='' dim='' plain=''
if [[ -t 1 ]]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi

heading() {
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

# show PREFIX... -- COMMAND...: runs a command, and prints it first as a user would type it.
show() {
    local prefix=() word line='$'
    while [[ $1 != -- ]]; do
        prefix+=("$1")
        shift
    done
    shift
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=%+-]+$ ]] || word="'$word'"
        line+=" $word"
    done
    printf '%s%s%s\n' "$dim" "$line" "$plain"
    "${prefix[@]}" "$@"
}

# Where the client is.
at_client() {
    show ip netns exec "$client" -- "$@"
}

build() {
    if [[ -n $binary ]]; then
        binary=$(realpath -- "$binary")
        return
    fi
    "$root/scripts/setup.sh" | { grep --line-buffered -v ' ready$' || true; }
    binary=$CARGO_TARGET_DIR/release/lnic
    local quiet=(--quiet)
    if [[ ! -x $binary ]]; then
        say "building lnic: some minutes the first time"
        quiet=()
    fi
    (cd "$root" && cargo build --release --locked --package lnic "${quiet[@]}")
}

cleanup() {
    if [[ -n $appliance_pid ]] && kill -0 "$appliance_pid" 2>/dev/null; then
        kill -KILL "$appliance_pid" 2>/dev/null || true
        wait "$appliance_pid" 2>/dev/null || true
    fi
    ip netns del "$client" 2>/dev/null || true
    ip netns del "$nic" 2>/dev/null || true
    restore_hugepages
    rm -rf "$work"
}

# The example configuration for taps, with a socket and lambdas of its own.
configure() {
    sed -e "s|^socket = .*|socket = \"$work/lnic.sock\"|" -e "s|^state = .*|state = \"$work/state\"|" \
        -e 's|"\.\./lambdas/[a-z-]*/|"|' \
        "$root/configs/tap.toml" >"$work/tap.toml"
    ln -s "$root/lambdas" "$work/lambdas"
    for lambda in echo web-server; do
        show -- lnic build "lambdas/$lambda" --output "$lambda.wasm"
    done
}

start() {
    ip netns add "$nic"
    ip netns add "$client"
    # Killed with the demonstration, if that cannot clean up.
    ip netns exec "$nic" setpriv --pdeathsig KILL lnic run "$work/tap.toml" >"$work/lnic.log" 2>&1 &
    appliance_pid=$!
    local end=$((SECONDS + 20))
    until lnic stats --socket "$work/lnic.sock" >/dev/null 2>&1; do
        if ! kill -0 "$appliance_pid" 2>/dev/null || ((SECONDS >= end)); then
            cat "$work/lnic.log" >&2
            die "the appliance did not start"
        fi
        sleep 0.05
    done
    # Both ends of a tap start with the same MAC address, which hosts on one wire never have.
    ip -n "$nic" link set "$interface" netns "$client"
    ip -n "$client" link set "$interface" address 02:00:00:00:00:02
    ip -n "$client" address add 10.77.0.2/24 dev "$interface"
    ip -n "$client" -6 address add fd77::2/64 dev "$interface" nodad
    ip -n "$client" link set lo up
    ip -n "$client" link set "$interface" up
    # Of the log, what the appliance itself says.
    sed -n -e $'s/\e\\[[0-9;]*m//g' -e '/ ready /d' -e 's/^[0-9TZ:.-]* *INFO *//p' "$work/lnic.log"
}

# A status other than OK is exit code 1: an answer too.
answered() {
    "$@" || (($? == 1))
}

# Killed, and started again where it was.
power_cut() {
    show -- kill -KILL "$appliance_pid"
    wait "$appliance_pid" 2>/dev/null || true
    ip netns exec "$nic" setpriv --pdeathsig KILL lnic run "$work/tap.toml" >"$work/lnic.log" 2>&1 &
    appliance_pid=$!
    local end=$((SECONDS + 20))
    until lnic invoke greeter --data x >/dev/null 2>&1; do
        ((SECONDS < end)) || { cat "$work/lnic.log" >&2 && die "the appliance did not start again"; }
        sleep 0.05
    done
}

stop() {
    local code=0
    kill -TERM "$appliance_pid"
    wait "$appliance_pid" || code=$?
    appliance_pid=''
    ((code == 0)) || { cat "$work/lnic.log" >&2 && die "exit code $code after SIGTERM"; }
    say "exit code 0, drained and gone"
}

build
if ((EUID != 0)); then
    have sudo || die "needs root: network namespaces and a tap; there is no sudo"
    say "going on as root: network namespaces and a tap"
    exec sudo -- "$root/scripts/demo.sh" --binary "$binary"
fi
[[ -c /dev/net/tun ]] || die "needs /dev/net/tun: modprobe tun"
have ip ping setpriv clang curl || die "needs iproute2, iputils-ping, util-linux, clang and curl: scripts/setup.sh"
[[ -x $binary ]] || die "no such program: $binary"

work=$(mktemp -d)
trap cleanup EXIT
trap 'exit 130' INT TERM
ln -s "$binary" "$work/lnic"
PATH=$work:$PATH
cd "$work"

heading "Two lambdas in C, compiled to WebAssembly"
configure

heading "The appliance, in a network namespace of its own"
reserve_hugepages "$hugepages"
start

heading "It is a host on the wire"
at_client ping -c 3 -i 0.2 10.77.0.1
say
at_client ping -6 -c 3 -i 0.2 fd77::1

heading "A lambda that sends back what it gets"
at_client lnic invoke echo --config tap.toml --to 10.77.0.1 --data "hello, lambda"

heading "A web server in a lambda"
at_client lnic invoke web-server --config tap.toml --to fd77::1 --data "GET /"
say
answered at_client lnic invoke web-server --config tap.toml --to fd77::1 --data "GET /nowhere"

heading "Latency: one client, one request at a time, through the client's kernel and a tap"
at_client lnic bench --config tap.toml --to 10.77.0.1 --lambda echo --closed-loop 1 --bytes 64 --duration 2 --warmup 0.5

heading "Deployed while packets flow: a lambda, a second generation of it, and back"
export LNIC_SOCKET=$work/lnic.sock
show -- lnic deploy lambdas/echo --name greeter --set entry=echo
show -- lnic invoke greeter --data "over HTTP, through the gateway"
at_client lnic bench --to 10.77.0.1 --lambda 1 --rate 2000 --bytes 64 --duration 2 --warmup 0 >bench.txt &
bench=$!
show -- lnic deploy lambdas/web-server --name greeter --set entry=web_server --set http=body
show -- lnic invoke greeter --data "GET /"
show -- lnic rollback greeter
show -- lnic list
wait "$bench"
say "Meanwhile, for those who called echo:"
sed -n '/lost/p' bench.txt

heading "A site of one's own, for browsers: a folder of pages, and a lambda that serves them"
mkdir site
echo '<!doctype html><title>Mine</title><p>You are visitor number {{page.requests}}.' >site/index.html.tmpl
show -- lnic deploy lambdas/web-server --name site --content site
show -- curl --silent --include --unix-socket lnic.sock http://lnic/function/site/

heading "Cut its power, and start it again"
power_cut
show -- lnic invoke greeter --data "still here"

heading "What the appliance counted"
at_client lnic stats --socket lnic.sock

heading "SIGTERM"
stop
