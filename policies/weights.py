"""The learned weights: how far each word, and each pair of neighbours, speaks for each task.

Knows the format of ``weights.bin``, which policies/training/train.py writes, and how scores are summed. ``lexicon``
loads the file at start, ``classify`` adds the scores to the votes of the lexicon. Must not know a request, nor which
words speak for what. A task that was not in the training has no score, which counts as nought.

Each unit has one integer with a byte for each task, widened to a lane of 16 bits when it is loaded: so one addition
adds a word to the scores of all tasks. A byte of ``NEUTRAL`` is no weight at all. A word that was not learned is heard
by its pieces, runs of four and five letters: "Firmenlogo" by the "logo" in it, a misspelt word by what is left of it.
"""

import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice, pairwise
from math import sqrt
from struct import Struct
from sys import intern
from typing import Any

VERSION = 2
NEUTRAL = 128
CALM = 6  # a text of one or two known units says little
LANE = 2  # bytes, which hold the sum of
TOGETHER = 256  # bytes of weights; what has more units is summed in parts
PIECES = (4, 5)  # letters; the ends of a word count as one
REMEMBERED = 16_384  # words heard by their pieces, about 100 bytes each


@dataclass(frozen=True, slots=True)
class Weights:
    """What was learned for one group of tasks."""

    tasks: tuple[str, ...]
    scale: float  # of a byte
    temperature: float  # which makes votes and scores together say how sure we are
    units: "Units"
    pairs: Mapping[tuple[str, str], int]
    lanes: Struct


class Units(dict[str, int]):
    """The lanes of what was learned, a word or a character of an unspaced script; of any other word those of its
    pieces, 0 where none of them is known."""

    def __init__(self, learned: Iterable[tuple[str, int]], spell: Callable[[str], int]) -> None:
        super().__init__(learned)
        self.spell = spell

    def __missing__(self, word: str) -> int:
        return self.spell(word)


def score(weights: Weights, units: Sequence[str], loudness: float = 1.0) -> Iterator[tuple[str, float]]:
    """Every task with its score for a text cut into ``units``, as log odds times ``loudness``; none if nothing in it is
    known. However often a unit is there, it counts once; and the more there are the less each says, or long texts would
    always seem sure."""
    pairs = {*filter(weights.pairs.__contains__, pairwise(units))}
    found = [*filter(None, map(weights.units.__getitem__, {*units})), *map(weights.pairs.__getitem__, pairs)]
    if not found:
        return iter(())
    lanes = weights.lanes
    parts = [sum(found[at : at + TOGETHER]) for at in range(0, len(found), TOGETHER)]
    columns = [lanes.unpack(part.to_bytes(lanes.size, "little")) for part in parts]
    sums = columns[0] if len(columns) == 1 else [*map(sum, zip(*columns, strict=True))]
    neutral, scale = NEUTRAL * len(found), weights.scale * loudness / sqrt(len(found) + CALM)
    return zip(weights.tasks, [(total - neutral) * scale for total in sums], strict=True)


def pieces_of(word: str) -> set[str]:
    """The runs of letters a word is heard by; none of a short word, a number, a signal or an unspaced script."""
    if len(word) < PIECES[0] or not word.isalpha() or word[0] > "\u04ff":
        return set()
    framed = f"<{word}>"
    return {framed[at : at + size] for size in PIECES for at in range(len(framed) - size + 1)}


def keep_tasks(weights: Weights, tasks: Collection[str]) -> Weights:
    """Without the scores of tasks that are not in ``tasks``: an operator may have dropped one."""
    lanes = Struct("<" + "".join("H" if task in tasks else f"{LANE}x" for task in weights.tasks))
    return replace(weights, tasks=tuple(task for task in weights.tasks if task in tasks), lanes=lanes)


def _speller(pieces: Mapping[str, int], table: bytes, lanes: Struct) -> Callable[[str], int]:
    """``pieces`` say where in the table each one's bytes begin. Spelling out is slow and words come again; the memory
    is bounded and holds nothing but what follows from them."""
    width = lanes.size // LANE

    @lru_cache(REMEMBERED)
    def spell(word: str) -> int:
        found = [table[at : at + width] for piece in pieces_of(word) if (at := pieces.get(piece)) is not None]
        if not found:
            return 0
        neutral, root = NEUTRAL * len(found), sqrt(len(found))
        sums = (round((sum(column) - neutral) / root) for column in zip(*found, strict=True))
        return int.from_bytes(
            lanes.pack(*(NEUTRAL + min(NEUTRAL - 1, max(1 - NEUTRAL, told)) for told in sums)), "little"
        )

    return spell


# ----------------------------------------------------------------------------------------------------------- the file


@cache
def load_weights() -> Mapping[str, Weights]:
    """The weights shipped beside this module, by group. For start-up."""
    return unpack(files("policies").joinpath("weights.bin").read_bytes())


def unpack(data: bytes) -> dict[str, Weights]:
    """Raises ValueError if it is not a file of this version.

    A line of JSON, then, compressed, for each group its keys, one a line, and after them a byte for each key and task.
    ``text`` is the length of the keys; first come ``units`` units, then ``pairs`` pairs, then the pieces of words.
    """
    head, _, body = data.partition(b"\n")
    header = json.loads(head) if head[:1] == b"{" else {}
    if header.get("version") != VERSION:
        raise ValueError(f"weights: need version {VERSION}, got {header.get('version')!r}")
    body = zlib.decompress(body)
    groups: dict[str, Weights] = {}
    for name, group in header["groups"].items():
        keys = body[: group["text"]].decode().split("\n")
        end = group["text"] + len(keys) * len(group["tasks"])
        groups[name] = _unpack_group(group, keys, body[group["text"] : end])
        body = body[end:]
    return groups


def _unpack_group(header: Mapping[str, Any], keys: Sequence[str], table: bytes) -> Weights:
    width, summed = len(header["tasks"]), header["units"] + header["pairs"]
    lanes = Struct(f"<{width}H")
    wide = bytearray(summed * lanes.size)
    wide[::LANE] = table[: summed * width]
    rows = (int.from_bytes(wide[at : at + lanes.size], "little") for at in range(0, len(wide), lanes.size))
    numbers = zip(map(intern, keys), rows, strict=False)
    learned = dict(islice(numbers, header["units"]))
    pairs = {(intern(one), intern(other)): row for key, row in numbers for one, other in [key.split(" ")]}
    pieces = {piece: at * width for at, piece in enumerate(keys[summed:], summed)}
    units = Units(learned.items(), _speller(pieces, table, lanes))
    return Weights(tuple(header["tasks"]), header["scale"], header["temperature"], units, pairs, lanes)
