#!/usr/bin/env bash
# Builds the container image and proves it: starts it, pings it, invokes a lambda through it, and stops it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'END'
usage: scripts/container.sh [--binary PATH] [--base IMAGE] [--tag NAME] [--build-only]

Needs root, buildah, podman and runc; no daemon.
  --binary PATH  take this lnic, built on Debian 12, instead of compiling one in the container
  --base IMAGE   Debian 12 to start from [default: docker.io/library/debian:12-slim, or one made with debootstrap
                 if no registry can be reached]
  --tag NAME     name of the image [default: localhost/lnic]
  --build-only   do not start it
END
}

binary='' base='' tag=localhost/lnic build_only=false
while (($#)); do
    case $1 in
        --binary | --base | --tag)
            (($# >= 2)) || { usage >&2 && exit 2; }
            declare "${1#--}=$2"
            shift
            ;;
        --build-only) build_only=true ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

container=lnic-proof-$$
# The appliance's address, and the host's side of the same tap; see configs/tap.toml.
interface=lnic0 appliance=10.77.0.1 peer=10.77.0.2/24
made_base=localhost/lnic-base:12
# What works without systemd, and where crun refuses the kernel's control groups.
podman=(podman --cgroup-manager cgroupfs --runtime runc)
limits=(--ulimit nofile=20000:20000 --ulimit nproc=20000:20000)

((EUID == 0)) || die "needs root: network namespaces and taps"
have buildah podman runc nsenter ip ping || die "apt-get install buildah podman runc iproute2 iputils-ping"

work=$(mktemp -d)
cleanup() {
    "${podman[@]}" rm --force --volumes --time 2 "$container" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT

# Prints the name of a Debian 12 image that is there.
find_base() {
    local registry=docker.io/library/debian:12-slim
    if [[ -n $base ]]; then
        echo "$base"
    elif "${podman[@]}" image exists "$registry" || timeout 120 podman pull --quiet "$registry" >/dev/null 2>&1; then
        echo "$registry"
    else
        if ! "${podman[@]}" image exists "$made_base"; then
            say "no registry: making $made_base with debootstrap" >&2
            have debootstrap || die "apt-get install debootstrap"
            debootstrap --variant=minbase bookworm "$work/debian" >"$work/debootstrap.log" 2>&1 ||
                die "debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
            tar -C "$work/debian" --exclude='./var/cache/apt/archives/*.deb' -c . |
                "${podman[@]}" import - "$made_base" >/dev/null
            rm -rf "$work/debian"
        fi
        echo "$made_base"
    fi
}

# image CONTEXT TARGET OPTION...
image() {
    local context=$1 target=$2
    shift 2
    # Docker's format: OCI's has no health check.
    buildah bud --format docker --runtime runc --network host "${limits[@]}" "$@" \
        --build-arg BASE="$base" --target "$target" --tag "$tag" "$context"
}

build_from_source() {
    local options=() bundle=/etc/ssl/certs/ca-certificates.crt rust
    # The host's certificates, which may have a proxy's among them.
    if [[ -f $bundle ]]; then
        options+=(--volume "$bundle:/run/host-certificates.crt:ro" --build-arg SSL_CERT_FILE=/run/host-certificates.crt)
    fi
    # The host's Rust, if its installer is out of reach.
    if ! curl --silent --fail --max-time 20 --output /dev/null https://sh.rustup.rs; then
        rust=${RUSTUP_HOME:-$HOME/.rustup}
        [[ -d $rust && -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]] ||
            die "https://sh.rustup.rs is out of reach, and there is no rustup on this host to lend"
        say "rust: lending the host's"
        options+=(--volume "$rust:/root/.rustup:ro" --volume "${CARGO_HOME:-$HOME/.cargo}/bin:/root/.cargo/bin:ro")
    fi
    image "$root" appliance "${options[@]}"
}

build_from_binary() {
    local context=$work/context lambda
    [[ -x $binary ]] || die "no such program: $binary"
    mkdir -p "$context/artifacts/usr/share/lnic/lambdas"
    cp -R "$root/Dockerfile" "$root/Cargo.toml" "$root/scripts" "$root/configs" "$context"
    install -D -m 755 "$binary" "$context/artifacts/usr/bin/lnic"
    for lambda in echo web-server image-transformer; do
        mkdir "$context/artifacts/usr/share/lnic/lambdas/$lambda"
        "$binary" build "$root/lambdas/$lambda" \
            --output "$context/artifacts/usr/share/lnic/lambdas/$lambda/$lambda.wasm"
    done
    image "$context" prebuilt
}

# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        running || return 1
        sleep 0.1
    done
}

running() {
    [[ $("${podman[@]}" inspect --format '{{.State.Running}}' "$container") == true ]]
}

failed() {
    local state
    state=$("${podman[@]}" inspect --format '{{.State.Status}}, exit code {{.State.ExitCode}}' "$container")
    say "--- log of the container ($state)" >&2
    "${podman[@]}" logs "$container" >&2 || true
    die "$1"
}

# The tap's other end is in the container's own network namespace, for there is no other network in it.
inside() {
    nsenter --net="/proc/$pid/ns/net" "$@"
}

prove() {
    local code answer
    # Without systemd podman complains, beside what it does, that it has no timer for health checks.
    "${podman[@]}" run --detach --name "$container" --network none --cap-drop all --cap-add NET_ADMIN \
        --cap-add NET_RAW --cap-add IPC_LOCK --device /dev/net/tun "${limits[@]}" "$tag" \
        >/dev/null 2>"$work/podman.log" || die "podman run: $(cat "$work/podman.log")"
    pid=$("${podman[@]}" inspect --format '{{.State.Pid}}' "$container")
    until_true 30 inside ip link show "$interface" || failed "no interface $interface"
    # As the kernel made it, with the appliance's port on the other side.
    inside ip address add "$peer" dev "$interface"
    inside ip link set "$interface" up
    until_true 15 inside ping -q -c 1 -W 1 "$appliance" || failed "no answer to ping from $appliance"
    inside ping -q -c 3 -i 0.2 -W 1 "$appliance" || failed "ping loses packets"

    answer=$("${podman[@]}" exec "$container" \
        lnic invoke echo --config /etc/lnic/tap.toml --to "$appliance" --data "hello, container") ||
        failed "invoke failed: $answer"
    [[ $answer == *"hello, container"* ]] || failed "echo answered: $answer"
    say "invoke: $answer"
    until_true 10 "${podman[@]}" healthcheck run "$container" || failed "not healthy"
    say "health check: passed"
    # A tap that is open needs none of the rights that it was opened with.
    if grep -Hv '^0*$' < <(sed -n 's/^CapEff:[[:space:]]*//p' /proc/"$pid"/task/*/status); then
        failed "a thread has kept capabilities"
    fi
    grep -q '^Seccomp:[[:space:]]*2$' "/proc/$pid/status" || failed "system calls are not filtered"
    say "confined: no capabilities, system calls filtered"

    # SIGTERM; SIGKILL after 10 s, which would be exit code 137.
    "${podman[@]}" stop --time 10 "$container" >/dev/null 2>"$work/podman.log" ||
        failed "podman stop: $(cat "$work/podman.log")"
    code=$("${podman[@]}" inspect --format '{{.State.ExitCode}}' "$container")
    [[ $code == 0 ]] || failed "exit code $code after SIGTERM"
    say "stopped by SIGTERM: exit code 0"
}

base=$(find_base)
say "base: $base"
if [[ -n $binary ]]; then
    build_from_binary
else
    build_from_source
fi
say "image: $tag, $(podman image inspect --format '{{.Size}}' "$tag" | awk '{ printf "%.0f MB", $1 / 1e6 }')"
$build_only || prove
