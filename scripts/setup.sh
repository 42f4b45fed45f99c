#!/usr/bin/env bash
# Installs what lnic needs on Debian 12, and only what is missing: again, it takes no time.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'END'
usage: scripts/setup.sh [--runtime] [--build] [--test] [--bench] [--dev]

Installs, as root or through sudo, what is missing of
  --runtime  DPDK's libraries and drivers: to run lnic
  --build    DPDK's headers, clang and lld, protoc, and Rust, also for WebAssembly: to build lnic and lambdas
  --test     testpmd, tshark, scapy, Pillow, etcd, memcached, curl, ping and others: to run the tests and the demonstrations;
             schemathesis, which Debian lacks, in a virtual environment below the target folder
  --bench    nginx and wrk: to compare with it
  --dev      cargo-deny: to check dependencies
Without options: --runtime --build --test.
END
}

runtime=false build=false test=false bench=false dev=false
for argument in "$@"; do
    case $argument in
        --runtime) runtime=true ;;
        --build) build=true ;;
        --test) test=true ;;
        --bench) bench=true ;;
        --dev) dev=true ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
done
(($#)) || runtime=true build=true test=true

have dpkg-query apt-get || die "needs Debian 12; elsewhere, install DPDK 22.11 or newer, clang, lld and Rust by hand"

installed() {
    [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

lists_updated=false
update_lists() {
    $lists_updated && return
    say "updating package lists"
    as_root apt-get update -qq || die "apt-get update failed: is there a network, or a mirror in /etc/apt?"
    lists_updated=true
}

# install WHAT PACKAGE...
install_packages() {
    local what=$1 package missing=()
    shift
    # One question for all; the answer lists those that are there.
    local present
    present=" $(dpkg-query --show --showformat '${Package}:${db:Status-Status} ' "$@" 2>/dev/null || true)"
    for package in "$@"; do
        [[ $present == *" $package:installed "* ]] || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        say "$what: ready"
        return
    fi
    say "$what: installing ${missing[*]}"
    update_lists
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null || die "apt-get could not install ${missing[*]}"
}

# The number in the names of DPDK's library packages: 23 is DPDK 22.11's, in Debian 12.
dpdk_abi() {
    local version
    version=$(. /etc/os-release && echo "${ID:-}${VERSION_ID:-}")
    if [[ $version == debian12 ]]; then
        echo 23
    else
        apt-cache pkgnames librte-eal | sed -n 's/^librte-eal\([0-9]*\)$/\1/p' | sort -n | tail -n 1
    fi
}

# The libraries that lnic is linked with and the drivers that need no hardware. Physical cards need theirs besides:
# librte-net-i40e23, librte-net-ice23, librte-net-ixgbe23, librte-net-mlx5-23 …, or librte-meta-net for all.
runtime_packages() {
    local abi=$1 name
    for name in eal dmadev ethdev mbuf mempool ring kvargs net pdump telemetry bus-pci bus-vdev mempool-ring \
        net-af-packet net-af-xdp net-memif net-null net-pcap net-ring net-tap net-vhost net-virtio; do
        echo "librte-$name$abi"
    done
}

# The version of the default toolchain, or nothing.
installed_rust() {
    have cargo rustc || return 0
    (cd / && rustc --version 2>/dev/null) | sed -n 's/^rustc \([0-9.]*\).*/\1/p'
}

setup_rust() {
    local needed version installer
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    version=$(installed_rust)
    # The older of the two comes first.
    if [[ -z $version || $(printf '%s\n' "$needed" "$version" | sort -V | head -n 1) != "$needed" ]]; then
        if have rustup; then
            say "rust: ${version:-none} is older than $needed, updating"
            { rustup toolchain install stable --profile minimal --component rustfmt --component clippy &&
                rustup default stable; } || die "rustup could not install Rust $needed or newer"
        else
            say "rust: ${version:-none}, needs $needed: installing with rustup"
            installer=$(mktemp)
            # shellcheck disable=SC2064 # the name is known now
            trap "rm -f '$installer'" EXIT
            curl --proto '=https' --tlsv1.2 --silent --show-error --fail --connect-timeout 20 --retry 2 \
                --output "$installer" https://sh.rustup.rs ||
                die "cannot download rustup from https://sh.rustup.rs: without a network, install Rust $needed or newer by hand and see that cargo is on PATH"
            sh "$installer" -y --quiet --profile minimal --component rustfmt --component clippy ||
                die "rustup could not install Rust $needed or newer"
        fi
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
        hash -r
        version=$(installed_rust)
        [[ -n $version && $(printf '%s\n' "$needed" "$version" | sort -V | head -n 1) == "$needed" ]] ||
            die "Rust is ${version:-missing} after the installation, needs $needed: which cargo is first on PATH?"
        say "rust: for this shell: . \"${CARGO_HOME:-$HOME/.cargo}/env\""
    fi
    if ! have cargo-fmt cargo-clippy || ! cargo fmt --version >/dev/null 2>&1 ||
        ! cargo clippy --version >/dev/null 2>&1; then
        have rustup || die "rust: rustfmt or clippy is missing: install them for Rust $version"
        say "rust: installing rustfmt and clippy"
        rustup component add rustfmt clippy || die "rustup could not install rustfmt and clippy"
    fi
    say "rust: $version ready"
}

# Does a compiler that lambdas could be built with have the library for them? First those on PATH, as `lnic build` looks for them.
rust_for_lambdas() {
    local rustc libraries
    while read -r rustc; do
        libraries=$(cd / && "$rustc" --print target-libdir --target wasm32-unknown-unknown 2>/dev/null) || continue
        if compgen -G "$libraries/libcore-*" >/dev/null && [[ -x ${rustc%/*}/cargo ]]; then
            say "rust for lambdas: $rustc"
            return 0
        fi
    done < <(type -ap rustc; echo /usr/bin/rustc)
    return 1
}

# Debian's, in /usr/bin: which is first on PATH stays first. Lambdas need no newer one, and what a certain one makes of them is known:
# later ones put more into an object than the analysis tells apart, and pin lambdas that need not be.
setup_rust_for_lambdas() {
    rust_for_lambdas && return
    install_packages "rust for lambdas" cargo rustc libstd-rust-dev-wasm32
    rust_for_lambdas || die "rust: no compiler has the target wasm32-unknown-unknown"
}

# What tests need and Debian lacks, in an environment of its own. Without a network those tests are skipped.
setup_python() {
    local environment=$CARGO_TARGET_DIR/python
    if [[ -x $environment/bin/schemathesis ]]; then
        say "python: ready"
        return
    fi
    say "python: installing schemathesis in $environment"
    rm -rf "$environment"
    /usr/bin/python3 -m venv "$environment" || die "python3 could not make $environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --timeout 20 \
        'schemathesis>=4,<5' prometheus_client || {
        rm -rf "$environment"
        say "python: PyPI cannot be reached; the tests of the OpenAPI document are skipped"
    }
}

if $runtime; then
    if installed libdpdk-dev; then # which depends on all of them
        say "runtime: ready"
    else
        abi=$(dpdk_abi)
        if [[ -z $abi ]]; then
            update_lists
            abi=$(dpdk_abi)
        fi
        [[ -n $abi ]] || die "this distribution has no DPDK packages: use Debian 12"
        mapfile -t packages < <(runtime_packages "$abi")
        install_packages runtime "${packages[@]}"
    fi
fi
if $build; then
    # protoc makes the client of etcd; its own messages come with libprotobuf-dev.
    install_packages build build-essential ca-certificates clang curl libclang-dev libdpdk-dev libprotobuf-dev lld \
        pkg-config protobuf-compiler
    setup_rust
    setup_rust_for_lambdas
fi
if $test; then
    # Tests start their own etcd and memcached: the packages shall start none.
    RUNLEVEL=1 install_packages test ca-certificates curl dpdk-dev ethtool etcd-server iproute2 iputils-arping \
        iputils-ping jq libmemcached-tools memcached openssl procps python3-pil python3-prometheus-client \
        python3-pymemcache python3-pytest python3-scapy python3-venv shellcheck tcpdump tshark util-linux
    setup_python
fi
if $bench; then
    # A benchmark starts its own: the package shall start none, on port 80.
    RUNLEVEL=1 install_packages bench libnginx-mod-http-echo nginx-light wrk
fi
if $dev; then
    if have cargo-deny; then
        say "dev: ready"
    else
        say "dev: building cargo-deny"
        cargo install --quiet --locked cargo-deny || die "cargo could not install cargo-deny"
    fi
fi
