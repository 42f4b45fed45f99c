"""What every suite prints: a table for people, and a JSON file with one schema (as appliance/benches/report does)."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Figure:
    """One measured figure: its median over rounds, and their spread."""

    name: str
    unit: str
    better: str
    rounds: list[float]
    bar: float | None = None
    value: float = field(init=False)

    def __post_init__(self) -> None:
        self.value = statistics.median(self.rounds)

    def verdict(self) -> str:
        if self.bar is None:
            return ""
        met = self.value <= self.bar if self.better == "lower" else self.value >= self.bar
        return f"{'≤' if self.better == 'lower' else '≥'} {self.bar} {'met' if met else 'MISSED'}"

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "min": round(min(self.rounds), 4),
            "max": round(max(self.rounds), 4),
            "unit": self.unit,
            "better": self.better,
            "bar": self.bar,
        }


def machine() -> str:
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(": ", 1)[1]
            break
    return f"{os.cpu_count()} × {model}"


def report(suite: str, figures: list[Figure], json_file: str | None) -> None:
    print(f"\n{'FIGURE':<40} {'MEDIAN':>12} {'MIN':>12} {'MAX':>12}  {'UNIT':<18} BAR")
    for figure in figures:
        low, high = min(figure.rounds), max(figure.rounds)
        print(
            f"{figure.name:<40} {figure.value:>12,.2f} {low:>12,.2f} {high:>12,.2f}  "
            f"{figure.unit:<18} {figure.verdict()}"
        )
    if json_file:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        ).stdout.strip()
        text = {
            "suite": suite,
            "commit": commit,
            "machine": machine(),
            "figures": [figure.as_json() for figure in figures],
        }
        Path(json_file).write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n")
