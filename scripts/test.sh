#!/usr/bin/env bash
# Everything that has to pass before a change goes in: format, lints, tests, documentation, lambdas, some fuzzing, and the
# program itself between network namespaces. With CI=true, what cannot be tested is a failure.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

sections=(setup build format lints tests documentation lambdas tutorial fuzz end-to-end dependencies scripts)

usage() {
    cat <<END
usage: scripts/test.sh [SECTION...]

Runs all sections, or those that are named:
  ${sections[*]}
Exit code 1 if one fails. With CI=true, a section that cannot run fails too, unless it needs a tool that is optional.
END
}

for argument in "$@"; do
    [[ $argument != -h && $argument != --help ]] || { usage && exit; }
    [[ " ${sections[*]} " == *" $argument "* ]] || { usage >&2 && exit 2; }
done
(($# == 0)) || sections=("$@")

cd "$root"
# Debian's, which has Debian's pytest and scapy, whatever else is first on PATH.
python=/usr/bin/python3
lnic=$CARGO_TARGET_DIR/release/lnic
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export PYTHONDONTWRITEBYTECODE=1

passed=0 failed=0 skipped=0 summary=() reason=''

# Sections are functions: status 0 is passed, 77 is skipped, for `reason`, and all others are failed. `set -e` is off in
# them, as the caller looks at the status.
cannot() {
    reason=$1
    return 77
}

# The same for what CI has to have: failed there.
cannot_but_must() {
    reason=$1
    [[ ${CI:-} != true ]] || return 1
    return 77
}

section_setup() {
    "$root/scripts/setup.sh"
}

section_build() {
    cargo build --release --workspace --features lnic-client/async --all-targets --locked
}

section_format() {
    cargo fmt --all --check
}

section_lints() {
    cargo clippy --release --workspace --features lnic-client/async --all-targets --locked -- --deny warnings
}

section_tests() {
    cargo test --release --workspace --features lnic-client/async --locked
}

section_documentation() {
    RUSTDOCFLAGS='--deny warnings' cargo doc --release --workspace --features lnic-client/async --no-deps --locked
}

section_lambdas() {
    local folder
    [[ -x $lnic ]] || { cannot_but_must "no program $lnic"; return; }
    for folder in lambdas/*/; do
        folder=${folder%/}
        # A lambda is C files or a crate; the others are what lambdas are made with.
        case $folder in lambdas/abi | lambdas/sdk) continue ;; esac
        "$lnic" build "$folder" --output "$work/${folder##*/}.wasm" || return 1
        if [[ -f $folder/Cargo.toml ]]; then
            cargo fmt --check --manifest-path "$folder/Cargo.toml" || return 1
            cargo test --quiet --manifest-path "$folder/Cargo.toml" --target-dir "$CARGO_TARGET_DIR/lambdas" || return 1
        fi
    done
    # Folders that are no lambdas have no packet scripts.
    "$lnic" test lambdas/*
}

section_tutorial() {
    [[ -x $lnic ]] || { cannot_but_must "no program $lnic"; return; }
    [[ -c /dev/net/tun ]] || { cannot_but_must "no /dev/net/tun"; return; }
    if ((EUID != 0)) && { ! have sudo || ! sudo -n true 2>/dev/null; }; then
        cannot_but_must "needs root, or sudo without a password"
        return
    fi
    scripts/tutorial.sh --binary "$lnic"
}

section_fuzz() {
    # Long enough to see that targets build, seeds pass and nothing falls over at once; more of it: scripts/fuzz.sh.
    scripts/fuzz.sh --seconds 5
}

section_end-to-end() {
    local root_prefix=()
    [[ -x $lnic ]] || { cannot_but_must "no program $lnic"; return; }
    [[ -c /dev/net/tun ]] || { cannot_but_must "no /dev/net/tun"; return; }
    if ((EUID != 0)); then
        if ! have sudo || ! sudo -n true 2>/dev/null; then
            cannot_but_must "needs root, or sudo without a password"
            return
        fi
        root_prefix=(sudo -n env "CI=${CI:-}" PYTHONDONTWRITEBYTECODE=1)
    fi
    "${root_prefix[@]}" env "LNIC=$lnic" "$python" -m pytest --quiet --tb=short appliance/tests/e2e
}

section_dependencies() {
    have cargo-deny || { cannot "no cargo-deny: scripts/setup.sh --dev"; return; }
    cargo deny --locked check bans licenses sources || return 1
    cargo deny --locked --manifest-path fuzz/Cargo.toml --config deny.toml check bans licenses sources || return 1
    # The list of advisories comes from the network.
    cargo deny --locked fetch db || { cannot "licences and sources are right; no network for advisories"; return; }
    cargo deny --locked check advisories
}

section_scripts() {
    local shell=(scripts/*.sh .ci/run)
    find appliance client scripts -name '*.py' -print0 | xargs -0 "$python" -c '
import sys
for path in sys.argv[1:]:
    compile(open(path, encoding="utf-8").read(), path, "exec")
' || return 1
    local script
    for script in "${shell[@]}"; do
        bash -n "$script" || return 1
    done
    have shellcheck || { cannot "syntax is right; no shellcheck for the rest: apt-get install shellcheck"; return; }
    shellcheck -x "${shell[@]}"
}

run_section() {
    local name=$1 code=0 start=$SECONDS result
    reason=''
    printf '\n=== %s\n' "$name"
    "section_$name" || code=$?
    case $code in
        0) result=passed passed=$((passed + 1)) ;;
        77) result=skipped skipped=$((skipped + 1)) ;;
        *) result=failed failed=$((failed + 1)) ;;
    esac
    summary+=("$(printf '%-8s %-14s %5d s  %s' "$result" "$name" $((SECONDS - start)) "$reason")")
    say "--- $name: $result${reason:+: $reason}"
}

for name in "${sections[@]}"; do
    run_section "$name"
done

printf '\n=== summary\n'
printf '%s\n' "${summary[@]}"
say "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
