"""How long a replay of 100,000 made-up requests takes, what of it is reading them, and what two sides of it take."""

from dataclasses import replace
from importlib.resources import files
from time import perf_counter

from policies.load import Config
from proxy.configuration import load_config
from proxy.replay.compare import compare
from proxy.replay.measure import Replay, per_picture
from proxy.replay.outcome import Side
from proxy.replay.synthesize import read_spec, rows
from proxy.traffic import read_row, read_traffic, write_line

REQUESTS = 20_000
NOW = 1_795_000_000.0


def run() -> dict[str, float]:
    """Seconds for 100,000, from a fifth of them; ``diff`` has the reading in it, as the command has."""
    content = files("policies").joinpath("traffic", "enterprise.yaml").read_bytes()
    spec = read_spec("enterprise.yaml", content).model_copy(update={"requests": REQUESTS})
    lines = [write_line(read_row(row)) for row in rows(spec)]
    config = load_config([])
    replay = Replay(config, per_picture(0.04), NOW)
    begun = perf_counter()
    traffic = list(read_traffic(lines))
    read = perf_counter()
    replay.run(traffic)
    replayed = perf_counter()
    compare(read_traffic(lines), Side(config, NOW), Side(_stricter(config), NOW))
    compared = perf_counter()
    scale = 100_000 / REQUESTS
    return {
        "read_100k_s": (read - begun) * scale,
        "replay_100k_s": (replayed - begun) * scale,
        "diff_100k_s": (compared - replayed) * scale,
    }


def _stricter(config: Config) -> Config:
    """The same with higher floors, so that the other side is decided anew and much of it otherwise."""
    policies = {
        name: replace(
            policy,
            tiers={tier: replace(terms, floor=min(1.0, terms.floor + 0.03)) for tier, terms in policy.tiers.items()},
        )
        for name, policy in config.policies.items()
    }
    return replace(config, policies=policies, hash="stricter")
