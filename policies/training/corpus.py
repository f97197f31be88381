"""The labelled prompts the weights are learned from, and what the classifier finds in them.

Knows ``prompts/<task>.txt`` (our own prompts, one a line), ``labelled.jsonl`` (public prompts, read and labelled one by
one), ``public.jsonl`` (chosen from public sets by choose.py) and which sets are kin (``labels.yaml``). Prompts are read
by ``policies.classify.read``, so that training sees what the classifier will see.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from adapters.ir import MediaRequest, Operation
from policies.classify import odds_of, read
from policies.lexicon import GROUPS, Lexicon

HERE = Path(__file__).parent
OPERATIONS = dict(zip(GROUPS, (Operation.GENERATE, Operation.EDIT, Operation.VIDEO_GENERATE), strict=True))
OWN = "own"
MARKS = frozenset(",.;:!?")
READ_TRUST, ROUGH_TRUST = 2.0, 0.5  # in labels somebody wrote for this prompt, and in those of a set or a teacher
FIRST_SHARE = 0.7  # of a prompt's first task, where a second one was accepted too

Unit = str | tuple[str, str]


class Labelled(NamedTuple):
    """A prompt, the tasks it speaks for with their shares, best first, and how far to trust them."""

    prompt: str
    tasks: Mapping[str, float]
    source: str
    trust: float
    judged: bool  # whether its first task is taken for the truth


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled prompt as the weights see it, for one of its tasks."""

    prompt: str
    task: str
    family: str  # of sets that share prompts, or are translations of each other
    share: float
    trust: float
    judged: bool
    spoken: tuple[str, ...]  # as policies.weights is given it
    units: frozenset[Unit]
    odds: tuple[float, ...]  # the lexicon's, for each task of the group


def read_corpus(lexicon: Lexicon) -> dict[str, list[Example]]:
    """Every labelled prompt, by group. A prompt with several tasks is there for each of them, and only the first is
    judged. Labels somebody wrote go before rough ones of the same prompt."""
    corpus: dict[str, list[Example]] = {name: [] for name in GROUPS}
    known: set[str] = set()
    for labelled in (*read_own(), *read_labelled(), *_public()):
        if labelled.prompt not in known:
            known.add(labelled.prompt)
            corpus[group_of(next(iter(labelled.tasks)), lexicon)] += _examples(labelled, lexicon)
    return corpus


def group_of(task: str, lexicon: Lexicon) -> str:
    return next(name for name, operation in OPERATIONS.items() if task in lexicon.groups[operation].tasks)


@cache
def sets() -> Mapping[str, Any]:
    """What labels.yaml says of each public set."""
    return yaml.safe_load((HERE / "labels.yaml").read_text("utf-8"))


def _examples(labelled: Labelled, lexicon: Lexicon) -> Iterator[Example]:
    (first, share), *others = labelled.tasks.items()
    operation = OPERATIONS[group_of(first, lexicon)]
    group = lexicon.groups[operation]
    reading = read(MediaRequest(operation, prompt=labelled.prompt), lexicon)
    odds = odds_of(reading, group)
    example = Example(
        labelled.prompt,
        first,
        family=sets().get(labelled.source, {}).get("family", labelled.source),
        share=share,
        trust=labelled.trust,
        judged=labelled.judged,
        spoken=tuple(reading.units),
        units=_units(reading.units),
        odds=tuple(odds.get(name, 0.0) for name in group.tasks),
    )
    yield example
    yield from (replace(example, task=task, share=share, judged=False) for task, share in others)


def count_units(examples: Iterable[Example]) -> Counter[Unit]:
    """In how many prompts each unit is."""
    return Counter(unit for units in {example.prompt: example.units for example in examples}.values() for unit in units)


def _units(units: Sequence[str]) -> frozenset[Unit]:
    singles = (unit for unit in units if unit and unit not in MARKS)
    pairs = (pair for pair in pairwise(units) if all(pair) and not MARKS.intersection(pair) and "#" not in pair[1][0])
    return frozenset((*singles, *pairs))


def read_own() -> Iterator[Labelled]:
    """Our own prompts."""
    for path in sorted((HERE / "prompts").glob("*.txt")):
        for line in path.read_text("utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                yield Labelled(line.strip(), {path.stem: 1.0}, OWN, READ_TRUST, judged=True)


def read_labelled() -> Iterator[Labelled]:
    """Public prompts with labels of our own."""
    for row in _rows("labelled.jsonl"):
        share = FIRST_SHARE if "also" in row else 1.0
        tasks = {row["task"]: share} | {task: 1 - share for task in row.get("also", ())[:1]}
        yield Labelled(row["prompt"], tasks, row["source"], READ_TRUST, judged=True)


def _public() -> Iterator[Labelled]:
    for row in _rows("public.jsonl"):
        tasks = row["tasks"]
        yield Labelled(row["prompt"], tasks, row["source"], ROUGH_TRUST, judged=next(iter(tasks.values())) == 1)


def _rows(name: str) -> Iterator[Mapping[str, Any]]:
    path = HERE / name
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        yield json.loads(line)
