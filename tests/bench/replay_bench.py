"""How long a replay of 100,000 made-up requests takes, and what of it is reading them."""

from importlib.resources import files
from time import perf_counter

from policies.classify import load_lexicon
from proxy.configuration import load_config
from proxy.replay.measure import Replay, per_picture
from proxy.replay.synthesize import read_spec, rows
from proxy.traffic import read_row, read_traffic, write_line

REQUESTS = 20_000
NOW = 1_795_000_000.0


def run() -> dict[str, float]:
    """Seconds for 100,000, from a fifth of them."""
    content = files("policies").joinpath("traffic", "enterprise.yaml").read_bytes()
    spec = read_spec("enterprise.yaml", content).model_copy(update={"requests": REQUESTS})
    lines = [write_line(read_row(row)) for row in rows(spec)]
    replay = Replay(load_config([]), load_lexicon(), per_picture(0.04), NOW)
    begun = perf_counter()
    traffic = list(read_traffic(lines))
    read = perf_counter()
    replay.run(traffic)
    scale = 100_000 / REQUESTS
    return {"read_100k_s": (read - begun) * scale, "replay_100k_s": (perf_counter() - begun) * scale}
