"""Learns the weights: ``python -m policies.training.train`` writes policies/weights.bin, and prints for the model card
how each set fares when it is left out whole. Needs numpy and scipy, which Muxel itself does not (README.md, beside).

For each group of tasks: a linear softmax over words, pairs of neighbours and pieces of words on top of the lexicon's
odds, so that it learns what the lexicon does not hear; L2-regularised, every task of equal weight. Then, from sets that
were left out, how loud it speaks beside the lexicon, and how sure both together may be. What is judged is always the
packed file, read and summed by ``policies.weights``.
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
from policies.lexicon import compile_lexicon
from policies.training.corpus import HERE, OPERATIONS, OWN, Example, Unit, count_units, read_corpus
from policies.weights import CALM, NEUTRAL, VERSION, Weights, pieces_of, score, unpack

WEIGHTS = HERE.parent / "weights.bin"
LEAST_PAIRS, LEAST_PIECES = 2, 3  # prompts a pair, and words a piece, must be in
PENALTY = 1.0  # of the squared weights
STEEP = 4.0  # a prompt is a vector of this length
FOLDS = 3  # of our own prompts, which have no source to be left out
OFTEN = 3  # prompts a word must be in to be kept however little it says, or its pieces would speak in its place
MOST_UNITS, MOST_PAIRS, MOST_PIECES = 12_000, 6_000, 8_000  # of a group that are kept
LOUDEST = 99.9  # percentile of a weight that still fits in a byte

Held = tuple[str, Sequence[Example], np.ndarray]  # a family that was left out, its prompts, their scores


@dataclass(frozen=True, slots=True)
class Model:
    """One group's weights, before they are bytes. A row of ``weights`` for each unit or pair, then for each piece."""

    tasks: Sequence[str]
    units: Mapping[Unit, int]
    pieces: Mapping[str, int]
    weights: np.ndarray


def main() -> None:
    lexicon = compile_lexicon(yaml.safe_load((HERE.parent / "lexicon.yaml").read_text("utf-8")))
    packed: dict[str, tuple[dict[str, Any], bytes]] = {}
    for name, examples in read_corpus(lexicon).items():
        tasks = lexicon.groups[OPERATIONS[name]].tasks
        held = [(family, part, score_all(fit(rest, tasks), rest, part)) for family, part, rest in split(examples)]
        loudness, temperature = calibrate(held, tasks)
        print(f"{name}: {len(examples)} examples, loudness {loudness:.2f}, temperature {temperature:.2f}\n")
        print_judgement([(family, part, scores * loudness) for family, part, scores in held], tasks)
        packed[name] = pack(fit(examples, tasks), examples, loudness, temperature)
    WEIGHTS.write_bytes(to_bytes(packed))


# ------------------------------------------------------------------------------------------------------------- learning


def fit(examples: Sequence[Example], tasks: Sequence[str]) -> Model:
    counts = count_units(examples)
    units = [unit for unit, count in counts.items() if isinstance(unit, str) or count >= LEAST_PAIRS]
    found = Counter(piece for unit in counts for piece in spelled(unit))
    pieces = sorted(piece for piece, count in found.items() if count >= LEAST_PIECES)
    model = Model(
        tasks,
        units={unit: at for at, unit in enumerate(sorted(units, key=str))},
        pieces={piece: at for at, piece in enumerate(pieces, len(units))},
        weights=np.zeros((len(units) + len(pieces), len(tasks))),
    )
    prompts = list({example.prompt: example for example in examples}.values())
    wanted = wanted_shares(examples, prompts, tasks)
    total = wanted.sum(axis=1, keepdims=True)
    odds, features = odds_of(prompts), vectors(model, prompts)
    turned = features.T.tocsr()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(model.weights.shape)
        log = log_softmax(odds + features @ weights, axis=1)
        slope = turned @ (np.exp(log) * total - wanted) + PENALTY * weights
        return -(wanted * log).sum() + PENALTY / 2 * (flat @ flat), slope.ravel()

    best = minimize(loss, model.weights.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    model.weights[:] = best.x.reshape(model.weights.shape)
    return model


def wanted_shares(examples: Sequence[Example], prompts: Sequence[Example], tasks: Sequence[str]) -> np.ndarray:
    """How much each prompt speaks for each task, prompts x tasks; all tasks are spoken for equally much."""
    rows = {example.prompt: row for row, example in enumerate(prompts)}
    wanted = np.zeros((len(prompts), len(tasks)))
    for example in examples:
        wanted[rows[example.prompt], tasks.index(example.task)] = example.trust * example.share
    masses = wanted.sum(axis=0)
    return wanted * np.divide(masses.sum() / len(tasks), masses, where=masses > 0, out=np.zeros(len(tasks)))


def odds_of(examples: Sequence[Example]) -> np.ndarray:
    return np.array([example.odds for example in examples])


def vectors(model: Model, examples: Sequence[Example]) -> csr_matrix:
    rows, columns, values = [], [], []
    for row, example in enumerate(examples):
        heard = [found for unit in example.units if (found := columns_of(model, unit))]
        for unit, pieces in heard:
            told = [1.0] * len(unit) + [1 / sqrt(len(pieces) or 1)] * len(pieces)
            rows += [row] * len(told)
            columns += unit + pieces
            values += [value * STEEP / sqrt(len(heard) + CALM) for value in told]
    return csr_matrix((values, (rows, columns)), shape=(len(examples), len(model.weights)))


def spelled(unit: Unit) -> set[str]:
    """Pieces; a pair has none."""
    return pieces_of(unit) if isinstance(unit, str) else set()


def columns_of(model: Model, unit: Unit) -> tuple[list[int], list[int]] | None:
    """Its own column, if it has one, and those of its pieces; None where there is neither."""
    own = [model.units[unit]] if unit in model.units else []
    pieces = [model.pieces[piece] for piece in spelled(unit) if piece in model.pieces]
    return (own, pieces) if own or pieces else None


def score_all(model: Model, examples: Sequence[Example], others: Sequence[Example]) -> np.ndarray:
    """What the packed ``model``, learned from ``examples``, says of ``others``: prompts x tasks."""
    name = "judged"
    weights = unpack(to_bytes({name: pack(model, examples, 1.0, 1.0)}))[name]
    return np.array([_score(weights, example) for example in others])


def _score(weights: Weights, example: Example) -> list[float]:
    scores = dict(score(weights, example.spoken, HUSHED if f"#{TEXT}" in example.spoken else 1.0))
    return [scores.get(task, 0.0) for task in weights.tasks]


# -------------------------------------------------------------------------------------------------------------- judging


def split(examples: Sequence[Example]) -> Iterator[tuple[str, list[Example], list[Example]]]:
    """Each family of sets with labels, and all the others; our own prompts in folds, which says less."""
    labelled = [example for example in examples if example.judged]
    for family in sorted({example.family for example in labelled} - {OWN}):
        rest = [example for example in examples if example.family != family]
        yield family, [example for example in labelled if example.family == family], rest
    own = [example for example in labelled if example.family == OWN]
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


def pack(
    model: Model, examples: Iterable[Example], loudness: float, temperature: float
) -> tuple[dict[str, Any], bytes]:
    """The group's part of the header, and of the body: units, pairs and pieces, and a byte of each for each task."""
    weights = folded(model) * loudness * STEEP
    loudest = np.abs(weights).max(axis=1)
    scale = float(np.percentile(loudest, LOUDEST)) / (NEUTRAL - 1)
    lanes = np.clip(np.rint(weights / scale), 1 - NEUTRAL, NEUTRAL - 1) + NEUTRAL
    counts = count_units(examples)
    often = {at: counts[unit] >= OFTEN for unit, at in model.units.items()}
    by_loudness = sorted(range(len(weights)), key=lambda at: (-often.get(at, 0), -loudest[at], at))
    units = {at: unit for unit, at in model.units.items() if isinstance(unit, str)}
    pairs = {at: " ".join(unit) for unit, at in model.units.items() if not isinstance(unit, str)}
    pieces = {at: piece for piece, at in model.pieces.items()}
    kept: list[list[tuple[str, int]]] = []
    for keys, most in ((units, MOST_UNITS), (pairs, MOST_PAIRS), (pieces, MOST_PIECES)):
        kept.append(sorted((keys[at], at) for at in [at for at in by_loudness if at in keys][:most]))
    rows = [row for part in kept for row in part]
    text = "\n".join(key for key, _ in rows).encode()
    header = {
        "tasks": [*model.tasks],
        "scale": round(scale, 6),
        "temperature": round(temperature, 4),
        "text": len(text),
        "units": len(kept[0]),
        "pairs": len(kept[1]),
    }
    return header, text + lanes[[at for _, at in rows]].astype(np.uint8).tobytes()


def folded(model: Model) -> np.ndarray:
    """With what the pieces of a known word say added to what it says itself: a known word is not spelled out."""
    weights = model.weights.copy()
    for unit in model.units:
        own, pieces = columns_of(model, unit) or ([], [])
        if own and pieces:
            weights[own[0]] += model.weights[pieces].sum(axis=0) / sqrt(len(pieces))
    return weights


def to_bytes(packed: Mapping[str, tuple[dict[str, Any], bytes]]) -> bytes:
    header = {"version": VERSION, "groups": {name: header for name, (header, _) in packed.items()}}
    body = b"".join(body for _, body in packed.values())
    return json.dumps(header).encode() + b"\n" + zlib.compress(body, 9)


if __name__ == "__main__":
    main()
