"""The labelled prompts the weights are learned from, and what the classifier finds in them.

Knows ``prompts/<task>.txt`` (our own prompts, one a line) and ``public.jsonl`` (chosen from public sets by choose.py,
with their sources). Prompts are read by ``policies.classify.read``, so that training sees what the classifier will see.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from adapters.ir import MediaRequest, Operation
from policies.classify import odds_of, read
from policies.lexicon import GROUPS, Lexicon

HERE = Path(__file__).parent
OPERATIONS = dict(zip(GROUPS, (Operation.GENERATE, Operation.EDIT, Operation.VIDEO_GENERATE), strict=True))
OWN = "own"
MARKS = frozenset(",.;:!?")

Unit = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled prompt as the weights see it."""

    prompt: str
    task: str
    source: str
    share: float  # below 1 the task is one of several that a teacher thought of
    units: frozenset[Unit]
    odds: tuple[float, ...]  # the lexicon's, for each task of the group


def read_corpus(lexicon: Lexicon) -> dict[str, list[Example]]:
    """Every labelled prompt, by group. A prompt with several tasks is there for each of them."""
    corpus: dict[str, list[Example]] = {name: [] for name in GROUPS}
    for prompt, tasks, source in (*((prompt, {task: 1.0}, source) for prompt, task, source in read_own()), *_public()):
        name = group_of(next(iter(tasks)), lexicon)
        first, *others = tasks
        example = as_example(prompt, first, source, tasks[first], lexicon)
        corpus[name] += [example, *(replace(example, task=task, share=tasks[task]) for task in others)]
    return corpus


def group_of(task: str, lexicon: Lexicon) -> str:
    return next(name for name, operation in OPERATIONS.items() if task in lexicon.groups[operation].tasks)


def as_example(prompt: str, task: str, source: str, share: float, lexicon: Lexicon) -> Example:
    operation = OPERATIONS[group_of(task, lexicon)]
    group = lexicon.groups[operation]
    reading = read(MediaRequest(operation, prompt=prompt), lexicon)
    odds = odds_of(reading, group)
    known = tuple(odds.get(name, 0.0) for name in group.tasks)
    return Example(prompt, task, source, share, _units(reading.units), known)


def count_units(examples: Iterable[Example]) -> Counter[Unit]:
    """In how many prompts each unit is."""
    return Counter(unit for units in {example.prompt: example.units for example in examples}.values() for unit in units)


def _units(units: Sequence[str]) -> frozenset[Unit]:
    singles = (unit for unit in units if unit and unit not in MARKS)
    pairs = (pair for pair in pairwise(units) if all(pair) and not MARKS.intersection(pair) and "#" not in pair[1][0])
    return frozenset((*singles, *pairs))


def read_own() -> Iterator[tuple[str, str, str]]:
    """Prompt, task and source of our own prompts."""
    for path in sorted((HERE / "prompts").glob("*.txt")):
        for line in path.read_text("utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line.strip(), path.stem, OWN


def _public() -> Iterator[tuple[str, dict[str, float], str]]:
    for line in (HERE / "public.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        yield row["prompt"], row["tasks"], row["source"]
