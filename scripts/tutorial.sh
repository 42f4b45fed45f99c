#!/usr/bin/env bash
# Does what the tutorial in lambdas/sdk/README.md says, literally: its sh blocks, in order, in one shell, in a network namespace and a
# folder of their own. A text block is what the sh block before it has to print; … in it stands for anything on a line.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<END
usage: scripts/tutorial.sh [--binary PATH] [--until STEP]

Runs the tutorial of lambdas/sdk/README.md. Needs root, or sudo, for a network namespace and a tap.
  --binary PATH  take this lnic [default: what cargo build --release made]
  --until STEP   only the steps before this one, such as 3: those need no tap
END
}

binary=$CARGO_TARGET_DIR/release/lnic until=''
while (($#)); do
    case $1 in
        --binary | --until)
            (($# >= 2)) || { usage >&2 && exit 2; }
            if [[ $1 == --binary ]]; then binary=$2; else until=$2; fi
            shift
            ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done
[[ -x $binary ]] || die "no program $binary: cargo build --release, or --binary"
binary=$(realpath -- "$binary")
if ((EUID != 0)); then
    have sudo || die "needs root: a network namespace and a tap; there is no sudo"
    # sudo's own PATH and root's home have no cargo of the user's, and its compilers are found by RUSTUP_HOME.
    exec sudo -- env "PATH=$PATH:/usr/sbin:/sbin" "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" \
        "$root/scripts/tutorial.sh" --binary "$binary" ${until:+--until "$until"}
fi
have python3 unshare setpriv || die "needs python3 and util-linux"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/bin" "$work/home" "$work/output"
ln -s "$binary" "$work/bin/lnic"

# Each sh block writes to a file of its own, which is compared where a text block follows.
python3 - "$root/lambdas/sdk/README.md" "$work" "$until" <<'END'
import re
import sys
from pathlib import Path

readme, work, until = Path(sys.argv[1]).read_text(), Path(sys.argv[2]), sys.argv[3]
tutorial = readme.split("## Your first lambda\n")[1].split("\n## ")[0]
if until:
    tutorial = tutorial.split(f"\n**{until}. ")[0]
blocks = re.findall(r"^```(sh|text)\n(.*?)^```$", tutorial, re.M | re.S)
assert blocks and blocks[0][0] == "sh", "no tutorial"
shell, number = [], 0
for kind, text in blocks:
    if kind == "sh":
        number += 1
        title = text.splitlines()[0].replace("'", "")
        shell.append(f"printf '\\n--- %s\\n' '{title}' >&3\n{{\n{text}}} > '{work}/output/{number}' 2>&1\n"
                     f"cat '{work}/output/{number}' >&3\n")
    else:
        (work / "output" / f"{number}.expected").write_text(text)
(work / "tutorial").write_text("exec 3>&1\nset -e\n" + "".join(shell))
END

# Killed with the script, whatever becomes of it. A PID namespace of its own ends all that was begun in it.
# What cargo and lnic keep between builds goes with the rest.
code=0
# shellcheck disable=SC2016 # for the inner shell
(cd "$work/home" && PATH=$work/bin:$PATH XDG_CACHE_HOME=$work/cache CARGO_HOME=$work/cargo unshare --net --pid --fork --kill-child --mount-proc \
    bash -c 'ip link set lo up; exec bash "$1"' tutorial "$work/tutorial") || code=$?
((code == 0)) || {
    # The block that failed has not been shown.
    newest=$(find "$work/output" -name '*[0-9]' -printf '%f\n' | sort -n | tail -1)
    cat "$work/output/$newest" >&2
    [[ ! -f $work/home/lnic.log ]] || tail -20 "$work/home/lnic.log" >&2
    die "block $newest of the tutorial ended with exit code $code"
}

python3 - "$work/output" <<'END'
import re
import sys
from pathlib import Path

wrong = 0
for expected in sorted(Path(sys.argv[1]).glob("*.expected")):
    said, got = expected.read_text().splitlines(), expected.with_suffix("").read_text().splitlines()
    same = len(said) == len(got) and all(
        re.fullmatch(".*".join(map(re.escape, line.split("…"))), other) for line, other in zip(said, got))
    if not same:
        wrong += 1
        print(f"block {expected.stem} prints something else.\nThe tutorial says:", *said, "It was:", *got, sep="\n    ", file=sys.stderr)
sys.exit(wrong > 0)
END
say "the tutorial does what it says"
