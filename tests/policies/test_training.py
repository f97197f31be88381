"""What the weights are learned from: enough of it, labelled with tasks there are, and nothing of what judges them."""

import json
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from policies.lexicon import load_lexicon

TRAINING = files("policies").joinpath("training")
TESTS = Path(__file__).parent / "classify"
JUDGES = ("held", "real", "unseen", "languages")
STORED = 320  # characters of a public prompt that are kept


def rows(name: str) -> Iterator[dict[str, Any]]:
    return map(json.loads, TRAINING.joinpath(f"{name}.jsonl").read_text("utf-8").splitlines())


def own() -> Iterator[tuple[str, str]]:
    for file in TRAINING.joinpath("prompts").iterdir():
        for line in file.read_text("utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line.strip(), file.name.removesuffix(".txt")


def judged() -> Iterator[dict[str, Any]]:
    for name in JUDGES:
        yield from map(json.loads, (TESTS / f"{name}.jsonl").read_text("utf-8").splitlines())


def test_every_task_has_a_hundred_and_fifty_prompts_of_our_own() -> None:
    counts = Counter(task for _, task in own())
    assert {*counts} == load_lexicon().tasks()
    assert min(counts.values()) >= 150


def test_every_label_is_a_task() -> None:
    labels = {task for row in rows("labelled") for task in (row["task"], *row.get("also", ()))}
    labels |= {task for row in rows("public") for task in row["tasks"]}
    assert labels <= load_lexicon().tasks()


def test_no_prompt_that_judges_is_trained_on() -> None:
    trained = {row["prompt"] for name in ("labelled", "public") for row in rows(name)} | {prompt for prompt, _ in own()}
    both = [row["prompt"] for row in judged() if row["prompt"].strip()[:STORED] in trained]
    assert both == []


def test_of_a_set_that_is_held_out_nothing_is_trained_on() -> None:
    sets = yaml.safe_load(TRAINING.joinpath("labels.yaml").read_text("utf-8"))
    held = {name for name, spec in sets.items() if spec.get("held")}
    used = {row["source"] for name in ("labelled", "public") for row in rows(name)}
    assert held == {json.loads(line)["source"] for line in (TESTS / "held.jsonl").read_text("utf-8").splitlines()}
    assert not held & used
