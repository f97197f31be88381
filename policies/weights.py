"""The learned weights: how far each word, and each pair of neighbours, speaks for each task.

Knows the format of ``weights.bin``, which policies/training/train.py writes, and how scores are summed. ``lexicon``
loads the file at start, ``classify`` adds the scores to the votes of the lexicon. Must not know a request, nor which
words speak for what. A task that was not in the training has no score, which counts as nought.

Each unit has one integer with a byte for each task, widened to a lane of 32 bits when it is loaded: so one addition
adds a word to the scores of all tasks. A byte of ``NEUTRAL`` is no weight at all.
"""

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from math import sqrt
from struct import Struct

VERSION = 1
NEUTRAL = 128
CALM = 6  # a text of one or two known units says little
LANE = 4  # bytes: no text is long enough to overflow it


@dataclass(frozen=True, slots=True)
class Weights:
    """What was learned for one group of tasks."""

    tasks: tuple[str, ...]
    scale: float  # of a byte
    temperature: float  # which makes votes and scores together say how sure we are
    units: Mapping[str, int]  # a word, or a character of an unspaced script
    pairs: Mapping[tuple[str, str], int]
    lanes: Struct


def score(weights: Weights, units: Sequence[str]) -> dict[str, float]:
    """The score of every task for a text cut into ``units``, as log odds; none if nothing in it is known. However often
    a unit is there, it counts once; and the more there are the less each says, or long texts would always seem sure."""
    found = [
        *filter(None, map(weights.units.get, {*units})),
        *filter(None, map(weights.pairs.get, {*pairwise(units)})),
    ]
    if not found:
        return {}
    sums = weights.lanes.unpack(sum(found).to_bytes(weights.lanes.size, "little"))
    neutral, scale = NEUTRAL * len(found), weights.scale / sqrt(len(found) + CALM)
    return {task: (total - neutral) * scale for task, total in zip(weights.tasks, sums, strict=True)}


def keep_tasks(weights: Weights, tasks: Collection[str]) -> Weights:
    """Without the scores of tasks that are not in ``tasks``: an operator may have dropped one."""
    lanes = Struct("<" + "".join("I" if task in tasks else f"{LANE}x" for task in weights.tasks))
    return replace(weights, tasks=tuple(task for task in weights.tasks if task in tasks), lanes=lanes)


# ----------------------------------------------------------------------------------------------------------- the file


@cache
def load_weights() -> Mapping[str, Weights]:
    """The weights shipped beside this module, by group. For start-up."""
    return unpack(files("policies").joinpath("weights.bin").read_bytes())


def unpack(data: bytes) -> dict[str, Weights]:
    """Raises ValueError if it is not a file of this version."""
    head, _, body = data.partition(b"\n")
    header = json.loads(head) if head[:1] == b"{" else {}
    if header.get("version") != VERSION:
        raise ValueError(f"weights: need version {VERSION}, got {header.get('version')!r}")
    body = zlib.decompress(body)
    groups: dict[str, Weights] = {}
    for name, group in header["groups"].items():
        width = len(group["tasks"])
        text, at = body[: group["text"]].decode(), group["text"]
        keys = text.split("\n")
        lanes = bytearray(len(keys) * width * LANE)
        lanes[::LANE] = body[at : at + len(keys) * width]
        body = body[at + len(keys) * width :]
        numbers = [int.from_bytes(lanes[at : at + width * LANE], "little") for at in range(0, len(lanes), width * LANE)]
        units, pairs = keys[: group["units"]], (key.split(" ") for key in keys[group["units"] :])
        groups[name] = Weights(
            tasks=tuple(group["tasks"]),
            scale=group["scale"],
            temperature=group["temperature"],
            units=dict(zip(units, numbers, strict=False)),
            pairs=dict(zip(((one, other) for one, other in pairs), numbers[len(units) :], strict=True)),
            lanes=Struct(f"<{width}I"),
        )
    return groups
