"""Learns the weights: ``python -m policies.training.train`` writes policies/weights.bin, and prints for the model card
how each set fares when it is left out whole. Needs numpy and scipy, which Muxel itself does not (README.md, beside).

For each group of tasks: a linear softmax over words and pairs of neighbours on top of the lexicon's odds, so that it
learns what the lexicon does not hear; L2-regularised, every task of equal weight. Then, from sets that were left out,
how loud it speaks beside the lexicon, and how sure both together may be.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import yaml
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import log_softmax

from policies.classify import HUSHED, TEXT
from policies.lexicon import load_lexicon
from policies.training.corpus import HERE, OPERATIONS, OWN, Example, Unit, count_units, read_corpus
from policies.weights import CALM, NEUTRAL, VERSION

WEIGHTS = HERE.parent / "weights.bin"
LEAST_UNITS, LEAST_PAIRS = 1, 2  # prompts a word, and a pair, must be in
PENALTY = 1.0  # of the squared weights
STEEP = 4.0  # a prompt is a vector of this length
TRUST, OWN_TRUST = 0.5, 2.0  # of public prompts, and of our own
FOLDS = 3  # of our own prompts, which have no source to be left out
MOST = 8_000  # units and pairs of a group that are kept
LOUDEST = 99.9  # percentile of a weight that still fits in a byte

FAMILIES: Mapping[str, str] = {
    source: spec["family"] for source, spec in yaml.safe_load((HERE / "labels.yaml").read_text("utf-8")).items()
}


Held = tuple[str, Sequence[Example], np.ndarray]  # a family that was left out, its prompts, their scores


@dataclass(frozen=True, slots=True)
class Model:
    """One group's weights, before they are bytes."""

    units: Mapping[Unit, int]
    weights: np.ndarray  # units x tasks


def main() -> None:
    lexicon = load_lexicon()
    packed: dict[str, tuple[dict[str, Any], bytes]] = {}
    for name, examples in read_corpus(lexicon).items():
        tasks = lexicon.groups[OPERATIONS[name]].tasks
        held = [(family, part, score(fit(rest, tasks), part)) for family, part, rest in split(examples)]
        loudness, temperature = calibrate(held, tasks)
        print(f"{name}: {len(examples)} examples, loudness {loudness:.2f}, temperature {temperature:.2f}\n")
        print_judgement([(family, part, scores * loudness) for family, part, scores in held], tasks)
        packed[name] = pack(fit(examples, tasks), tasks, loudness, temperature)
    WEIGHTS.write_bytes(to_bytes(packed))


# ------------------------------------------------------------------------------------------------------------- learning


def fit(examples: Sequence[Example], tasks: Sequence[str]) -> Model:
    counts = count_units(examples)
    least = {unit: LEAST_UNITS if isinstance(unit, str) else LEAST_PAIRS for unit in counts}
    known = sorted((unit for unit, count in counts.items() if count >= least[unit]), key=str)
    units = {unit: at for at, unit in enumerate(known)}
    prompts = list({example.prompt: example for example in examples}.values())
    wanted = wanted_shares(examples, prompts, tasks)
    total = wanted.sum(axis=1, keepdims=True)
    odds, features = odds_of(prompts), vectors(units, prompts)
    turned = features.T.tocsr()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(len(units), len(tasks))
        log = log_softmax(odds + features @ weights, axis=1)
        slope = turned @ (np.exp(log) * total - wanted) + PENALTY * weights
        return -(wanted * log).sum() + PENALTY / 2 * (flat @ flat), slope.ravel()

    start = np.zeros(len(units) * len(tasks))
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return Model(units, best.x.reshape(len(units), len(tasks)))


def wanted_shares(examples: Sequence[Example], prompts: Sequence[Example], tasks: Sequence[str]) -> np.ndarray:
    """How much each prompt speaks for each task, prompts x tasks; all tasks are spoken for equally much."""
    rows = {example.prompt: row for row, example in enumerate(prompts)}
    wanted = np.zeros((len(prompts), len(tasks)))
    for example in examples:
        trust = OWN_TRUST if example.source == OWN else TRUST
        wanted[rows[example.prompt], tasks.index(example.task)] = trust * example.share
    masses = wanted.sum(axis=0)
    return wanted * np.divide(masses.sum() / len(tasks), masses, where=masses > 0, out=np.zeros(len(tasks)))


def odds_of(examples: Sequence[Example]) -> np.ndarray:
    return np.array([example.odds for example in examples])


def vectors(units: Mapping[Unit, int], examples: Sequence[Example]) -> csr_matrix:
    rows, columns, values = [], [], []
    for row, example in enumerate(examples):
        found = [units[unit] for unit in example.units if unit in units]
        rows += [row] * len(found)
        columns += found
        values += [STEEP / sqrt(len(found) + CALM)] * len(found)
    return csr_matrix((values, (rows, columns)), shape=(len(examples), len(units)))


def score(model: Model, examples: Sequence[Example]) -> np.ndarray:
    scores = vectors(model.units, examples) @ model.weights
    return scores * np.array([[HUSHED if TEXT in example.units else 1.0] for example in examples])


# -------------------------------------------------------------------------------------------------------------- judging


def split(examples: Sequence[Example]) -> Iterator[tuple[str, list[Example], list[Example]]]:
    """Each family of sets with labels, and all the others; our own prompts in folds, which says less."""
    kin = [OWN if example.source == OWN else FAMILIES.get(example.source, "") for example in examples]
    labelled = [(example, its) for example, its in zip(examples, kin, strict=True) if example.share == 1]
    for family in sorted({its for _, its in labelled} - {OWN}):
        rest = [example for example, its in zip(examples, kin, strict=True) if its != family]
        yield family, [example for example, its in labelled if its == family], rest
    own = [example for example, its in labelled if its == OWN]
    for fold in range(FOLDS):
        part = own[fold::FOLDS]
        held = {example.prompt for example in part}
        yield OWN, part, [example for example in examples if example.prompt not in held]


def calibrate(held: Sequence[Held], tasks: Sequence[str]) -> tuple[float, float]:
    """How loud the scores are beside the lexicon's odds, and the temperature of both together, so that prompts that
    were left out have the highest likelihood; each set has the same weight."""
    odds = np.concatenate([odds_of(part) for _, part, _ in held])
    scores = np.concatenate([scores for _, _, scores in held])
    truth = np.array([tasks.index(example.task) for _, part, _ in held for example in part])
    folds = Counter(family for family, _, _ in held)
    share = np.concatenate([np.full(len(part), 1 / len(part) / folds[family]) for family, part, _ in held])

    def loss(logs: np.ndarray) -> float:
        loudness, temperature = np.exp(logs)
        log = log_softmax((odds + loudness * scores) / temperature, axis=1)
        return float(-(share * log[np.arange(len(truth)), truth]).sum())

    loudness, temperature = np.exp(minimize(loss, np.zeros(2), method="Nelder-Mead").x)
    return float(loudness), float(temperature)


def print_judgement(held: Sequence[Held], tasks: Sequence[str]) -> None:
    """For the model card, in Markdown: what each left-out set makes of the lexicon and of both, and what is taken for
    what in all of them."""
    print("| left out | prompts | lexicon | macro-F1 | both | macro-F1 |\n|---|---|---|---|---|---|")
    confused: Counter[tuple[str, str]] = Counter()
    for family, part, scores in held:
        odds = odds_of(part)
        wanted = [example.task for example in part]
        cells = [family, str(len(part))]
        for logits in (odds, odds + scores):
            pairs = list(zip(wanted, (tasks[at] for at in logits.argmax(axis=1)), strict=True))
            cells += [f"{sum(one == other for one, other in pairs) / len(part):.3f}", f"{macro_f1(pairs):.3f}"]
        confused.update(pairs)
        print(f"| {' | '.join(cells)} |")
    print(f"\n| wanted, told | {' | '.join(tasks)} |\n|{'---|' * (len(tasks) + 1)}")
    for task in tasks:
        print(f"| {task} | {' | '.join(str(confused[task, other] or '') for other in tasks)} |")


def macro_f1(pairs: Iterable[tuple[str, str]]) -> float:
    """Over the tasks that are wanted somewhere; ``pairs`` are wanted and told."""
    both = Counter(pairs)
    wanted, told = Counter[str](), Counter[str]()
    for (one, other), count in both.items():
        wanted[one] += count
        told[other] += count
    return sum(2 * both[task, task] / (wanted[task] + told[task]) for task in wanted) / len(wanted)


# ------------------------------------------------------------------------------------------------------------- the file


def pack(model: Model, tasks: Sequence[str], loudness: float, temperature: float) -> tuple[dict[str, Any], bytes]:
    """The group's part of the header, and of the body: its units, its pairs, then a byte of each for each task."""
    weights = model.weights * loudness * STEEP
    loudest = np.abs(weights).max(axis=1)
    scale = float(np.percentile(loudest, LOUDEST)) / (NEUTRAL - 1)
    lanes = np.clip(np.rint(weights / scale), 1 - NEUTRAL, NEUTRAL - 1) + NEUTRAL
    kept = sorted(np.argsort(-loudest, kind="stable")[:MOST].tolist())
    spelled = list(model.units)
    units = [at for at in kept if isinstance(spelled[at], str)]
    pairs = [at for at in kept if not isinstance(spelled[at], str)]
    text = "\n".join([*(str(spelled[at]) for at in units), *(" ".join(spelled[at]) for at in pairs)]).encode()
    header = {
        "tasks": [*tasks],
        "scale": round(scale, 6),
        "temperature": round(temperature, 4),
        "text": len(text),
        "units": len(units),
    }
    return header, text + lanes[units + pairs].astype(np.uint8).tobytes()


def to_bytes(packed: Mapping[str, tuple[dict[str, Any], bytes]]) -> bytes:
    header = {"version": VERSION, "groups": {name: header for name, (header, _) in packed.items()}}
    body = b"".join(body for _, body in packed.values())
    return json.dumps(header).encode() + b"\n" + zlib.compress(body, 9)


if __name__ == "__main__":
    main()
