"""How long the verbs that need no network take from start to end, beside the bare interpreter."""

import subprocess
import sys
from statistics import median
from time import perf_counter

VERBS = (("wires",), ("models",), ("explain", "a red bicycle"), ("classify",), ("check", "policies/defaults"))
ROUNDS = 5


def run() -> dict[str, float]:
    """Milliseconds of wall time, medians."""
    figures = {"python -c pass ms": _timed([sys.executable, "-c", "pass"])}
    for verb in VERBS:
        figures[f"muxel {verb[0]} ms"] = _timed([sys.executable, "-m", "proxy.cli", *verb])
    return figures


def _timed(command: list[str]) -> float:
    times = []
    for _ in range(ROUNDS):
        begun = perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        times.append((perf_counter() - begun) * 1000)
    return median(times)
