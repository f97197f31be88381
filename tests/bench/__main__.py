"""``make bench``: every measurement, printed as it comes. ``make bench ARGS=decide`` runs those whose name holds that.

Machines differ and drift, so the first figure is what a fixed piece of Python takes here; divide by it to compare.
"""

import sys
from importlib import import_module
from statistics import median
from time import perf_counter_ns

BENCHES = (
    "classify_bench",
    "decide_bench",
    "translate_bench",
    "path_bench",
    "replay_bench",
    "proxy_bench",
    "start_bench",
)


def main(*wanted: str) -> None:
    print(f"{'machine: sum(range(10_000)) us':<48}{_reference():>10.1f}", flush=True)
    for name in BENCHES:
        if wanted and not any(word in name for word in wanted):
            continue
        for figure, value in import_module(f"tests.bench.{name}").run().items():
            print(f"{name.removesuffix('_bench') + ': ' + figure:<48}{value:>10.1f}", flush=True)


def _reference() -> float:
    times = []
    for _ in range(300):
        begun = perf_counter_ns()
        sum(range(10_000))
        times.append((perf_counter_ns() - begun) / 1000)
    return median(times)


if __name__ == "__main__":
    main(*sys.argv[1:])
