#!/usr/bin/env bash
# Fuzzes what hostile bytes reach: frames, messages, modules.
#
#   scripts/fuzz.sh [--seconds N] [TARGET …]      default: 60 s for each of fuzz/fuzz_targets/*.rs
#
# libFuzzer with the stable compiler: coverage by -Cpasses, no sanitizer (the fuzzed crates have no unsafe code). What was found
# interesting stays in the cargo target folder and is where the next run goes on; a crash is written to fuzz/artifacts/TARGET
# and ends the run with its input's name. Keep every crash as a unit test.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
targets=()
while (($#)); do
    case $1 in
    --seconds)
        seconds=${2:?--seconds needs a number}
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
    *)
        [[ -f fuzz/fuzz_targets/$1.rs ]] || {
            names=(fuzz/fuzz_targets/*.rs)
            names=("${names[@]##*/}")
            echo "fuzz: no target \"$1\"; there are: ${names[*]%.rs}" >&2
            exit 2
        }
        targets+=("$1")
        shift
        ;;
    esac
done
if ((${#targets[@]} == 0)); then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/fuzz
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# An explicit target keeps the flags away from build scripts.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --locked --manifest-path fuzz/Cargo.toml --target "$host" --bins

# Rust prints where a panic came from; libFuzzer then saves the input.
export RUST_BACKTRACE=1
for target in "${targets[@]}"; do
    corpus=$CARGO_TARGET_DIR/corpus/$target
    mkdir -p "$corpus" "fuzz/artifacts/$target"
    seeds=()
    [[ -d fuzz/seeds/$target ]] && seeds=("fuzz/seeds/$target")
    log=$CARGO_TARGET_DIR/$target.log
    if ! "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -max_len=16384 -timeout=5 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" "$corpus" "${seeds[@]}" \
        >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "fuzz: $target failed; its input is in fuzz/artifacts/$target" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    echo "fuzz: $target: $runs inputs in $seconds s, $edges edges covered, nothing found"
done
