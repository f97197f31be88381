"""Traffic as the verbs that decide it are told to find it: a file of lines, standard input, or a spec of made-up
requests. Used by replay and diff."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path

from policies.load import SUFFIXES, Config
from policies.problems import did_you_mean
from proxy.replay.synthesize import read_spec, rows
from proxy.traffic import Recorded, read_row, read_traffic

TOLD_EVERY = 0.25  # seconds between two looks of progress, for a person at a terminal
LOGGED_EVERY = 10.0  # and between two lines of it, for a log


class Unusable(Exception):
    """An argument that cannot be used, as it is to be told."""


@dataclass(frozen=True, slots=True)
class Source:
    """Traffic, and what it says of itself."""

    about: str
    traffic: Iterable[Recorded]
    baseline: float | None = None  # dollars a picture


def source(name: str) -> Source:
    """A file, a shipped spec by its name, or ``-``. Raises Unusable, ConfigError and OSError; what it holds raises
    TrafficError while it is read."""
    if name == "-":
        return Source("standard input", read_traffic(sys.stdin.buffer))
    path = Path(name)
    if path.exists() and path.suffix not in SUFFIXES:
        return Source(path.name, read_traffic(_lines(path)))
    spec = read_spec(*content(name, "traffic", "--traffic"))
    return Source(spec.about, map(read_row, rows(spec)), spec.baseline)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as lines:
        yield from lines


def content(name: str, folder: str, option: str) -> tuple[str, bytes]:
    """A file, or a shipped one by its name without a suffix; what to call it, and its bytes."""
    path = Path(name)
    if path.exists():
        return str(path), path.read_bytes()
    shipped = {file.name.removesuffix(".yaml"): file for file in resources("policies").joinpath(folder).iterdir()}
    if name in shipped and shipped[name].is_file():
        return f"shipped/{folder}/{name}.yaml", shipped[name].read_bytes()
    names = ", ".join(sorted(name for name, file in shipped.items() if file.is_file()))
    raise Unusable(f"{option} {name}: no such file, and none that Muxel ships: {names}")


def credentials(given: str | None, *configs: Config) -> frozenset[str] | None:
    """The providers with a key, as they are told; each is known to one of the configurations. Raises Unusable."""
    if given is None:
        return None
    providers = [name for config in configs for name in config.catalog.providers]
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in providers:
            raise Unusable(f"--providers {name}: there is no such provider{did_you_mean(name, providers)}")
    return frozenset(names)


def watched(traffic: Iterable[Recorded]) -> Iterator[Recorded]:
    """The same, with progress on standard error: always at a terminal, and elsewhere if it takes long."""
    terminal = sys.stderr.isatty()
    start, end, every = ("\r", "", TOLD_EVERY) if terminal else ("", "\n", LOGGED_EVERY)
    begun = told = time.monotonic()
    for count, recorded in enumerate(traffic, 1):
        yield recorded
        if (now := time.monotonic()) - told > every:
            told = now
            text = f"{start}{count:,} requests, {count / (now - begun):,.0f} a second "
            print(text, end=end, file=sys.stderr, flush=True)
    if terminal:
        print("\r" + " " * 50 + "\r", end="", file=sys.stderr, flush=True)
