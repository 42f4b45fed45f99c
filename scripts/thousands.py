#!/usr/bin/env python3
"""Makes thousands of lambdas with distinct code, and a configuration that deploys them.

    scripts/thousands.py --count 10000 --folder /tmp/thousands
    lnic run /tmp/thousands/thousands.toml

Each is an echo that sums its payload from a seed of its own and answers with the sum (4 bytes, little-endian): `seed(ID)`
below says which. One is compiled from C by `lnic build`; the others differ from it in the seed, and so in code and hash.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

MARK = 0x4EADBEEF
SOURCE = f"""#include <lnic.h>

LAMBDA(sum) {{
    uint32_t sum = {MARK}u;
    for (uint32_t at = 0; at < match_data->length; at++) {{
        sum = sum * 31 + lnic_payload(match_data)[at];
    }}
    return lnic_reply_with(headers, match_data, STATUS_OK, &sum, sizeof sum);
}}
"""


def seed(lambda_id: int) -> int:
    """What the sum of lambda `lambda_id` starts from. Large, so that all take the same five bytes in the module."""
    return 0x40000000 + lambda_id * 7919


def answer(lambda_id: int, payload: bytes) -> bytes:
    """What lambda `lambda_id` answers."""
    total = seed(lambda_id)
    for byte in payload:
        total = (total * 31 + byte) & 0xFFFFFFFF
    return total.to_bytes(4, "little")


def leb128(value: int) -> bytes:
    """A signed 32-bit constant as modules have it, in five bytes."""
    return bytes((value >> 7 * at) & 0x7F | (0x80 if at < 4 else 0) for at in range(5))


def modules(lnic: str, folder: Path, count: int) -> None:
    """Writes 1.wasm to COUNT.wasm."""
    source = folder / "template"
    source.mkdir(parents=True, exist_ok=True)
    (source / "sum.c").write_text(SOURCE)
    subprocess.run([lnic, "build", source, "--output", source / "sum.wasm"], check=True, stdout=subprocess.DEVNULL)
    template = (source / "sum.wasm").read_bytes()
    if leb128(MARK) not in template:
        sys.exit("thousands: the seed is not where it was expected in the module")
    for number in range(1, count + 1):
        (folder / f"{number}.wasm").write_bytes(template.replace(leb128(MARK), leb128(seed(number))))


def configuration(folder: Path, count: int, base: str) -> Path:
    """Writes thousands.toml: `base`, and COUNT lambdas with the IDs 1 to COUNT."""
    path = folder / "thousands.toml"
    with path.open("w") as out:
        out.write(base)
        for number in range(1, count + 1):
            out.write(f'\n[[lambdas]]\nname = "sum-{number}"\nid = {number}\nentry = "sum"\nfile = "{number}.wasm"\n')
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="lambdas, 1–65536")
    parser.add_argument("--folder", type=Path, required=True, help="where they go")
    parser.add_argument("--mode", choices=["dispatcher", "run-to-completion"], default="dispatcher")
    parser.add_argument("--devargs", default="net_tap0,iface=lnic0", help="the port's device")
    parser.add_argument("--lnic", default=os.environ.get("LNIC", "lnic"), help="the program")
    options = parser.parse_args()
    if not 1 <= options.count <= 65_536:
        parser.error("--count: 1 to 65536")
    options.folder.mkdir(parents=True, exist_ok=True)
    modules(options.lnic, options.folder, options.count)
    base = f"""socket = "lnic.sock"

[scheduling]
mode = "{options.mode}"

[[ports]]
name = "p0"
devargs = "{options.devargs}"
ipv4 = "10.77.0.1"
"""
    path = configuration(options.folder, options.count, base)
    print(f"{options.count} lambdas in {options.folder}; lnic run {path}")


if __name__ == "__main__":
    main()
