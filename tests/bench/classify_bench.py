"""How well prompts are classified, and how long one takes.

The labelled sets stand in tests/policies/classify: ``prompts`` is what the lexicon was made with, the others were kept
out of lexicon and weights. Each is judged by the lexicon alone and with the learned weights: the share that is right,
and macro-F1, in percent; ``accepted`` counts the second tasks too that a person would let pass. Times are for the
labelled prompts, for real ones, and for 60 words of labelled prompts joined, where most words tell.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from adapters.ir import Media, MediaRequest, Operation
from policies.classify import Lexicon, classify, load_lexicon
from policies.weights import load_weights

CLASSIFY = Path(__file__).parents[1] / "policies" / "classify"
SETS = ("prompts", "unseen", "real", "languages")
ROUNDS = 20


def run() -> dict[str, float]:
    """Percent, and microseconds; loading is milliseconds."""
    lexicon = load_lexicon()
    sets = {name: [json.loads(line) for line in _lines(name)] for name in SETS}
    return _judge_all(sets, lexicon) | _time_all(sets, lexicon) | {"classify_load_weights_ms": _time_loading()}


def _lines(name: str) -> list[str]:
    return (CLASSIFY / f"{name}.jsonl").read_text("utf-8").splitlines()


def as_request(case: Mapping[str, Any]) -> MediaRequest:
    return MediaRequest(
        Operation(case.get("operation", "image.generate")),
        prompt=case["prompt"],
        negative_prompt=case.get("negative_prompt", ""),
        size=tuple(case["size"]) if "size" in case else None,
        references=(Media(url="https://example.com/a.png"),) * case.get("references", 0),
    )


# -------------------------------------------------------------------------------------------------------------- quality


def _judge_all(sets: Mapping[str, Sequence[Mapping[str, Any]]], lexicon: Lexicon) -> dict[str, float]:
    unlearned = replace(
        lexicon, groups={operation: replace(group, weights=None) for operation, group in lexicon.groups.items()}
    )
    figures: dict[str, float] = {}
    for name, cases in sets.items():
        for part, some in {name: cases, **_parts(name, cases)}.items():
            for how, voices in (("lexicon", unlearned), ("both", lexicon)):
                told = [classify(as_request(case), voices).task for case in some]
                pairs = [(case["task"], task) for case, task in zip(some, told, strict=True)]
                figures[f"{part}_{how}_right"] = 100 * sum(wanted == told for wanted, told in pairs) / len(pairs)
                if name == "real":
                    passed = sum(
                        task in (case["task"], *case.get("also", ())) for case, task in zip(some, told, strict=True)
                    )
                    figures[f"{part}_{how}_accepted"] = 100 * passed / len(some)
                if part == name:
                    figures[f"{part}_{how}_macro_f1"] = 100 * macro_f1(pairs)
    return figures


def _parts(name: str, cases: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The languages of a set, or its kinds of operation."""
    parts: dict[str, list[Mapping[str, Any]]] = {}
    if name in ("languages", "real"):
        for case in cases:
            kind = case.get("language") or case.get("operation", "image.generate").replace("from_image", "generate")
            parts.setdefault(f"{name}_{kind}", []).append(case)
    return parts


def macro_f1(pairs: Iterable[tuple[str, str]]) -> float:
    """Over the tasks that are wanted somewhere; ``pairs`` are wanted and told."""
    both = Counter(pairs)
    wanted, told = Counter[str](), Counter[str]()
    for (one, other), count in both.items():
        wanted[one] += count
        told[other] += count
    return sum(2 * both[task, task] / (wanted[task] + told[task]) for task in wanted) / len(wanted)


# ---------------------------------------------------------------------------------------------------------------- speed


def _time_all(sets: Mapping[str, Sequence[Mapping[str, Any]]], lexicon: Lexicon) -> dict[str, float]:
    words = " ".join(case["prompt"] for case in sets["prompts"] if case["prompt"].isascii()).split()
    requests = {
        "labelled": [as_request(case) for case in sets["prompts"]],
        "real": [as_request(case) for case in sets["real"]],
        "60_words": [
            MediaRequest(Operation.GENERATE, prompt=" ".join(words[at : at + 60]))
            for at in range(0, len(words) - 60, 9)
        ],
    }
    figures: dict[str, float] = {}
    for name, some in requests.items():
        spent: list[int] = []
        for request in some * ROUNDS:
            start = perf_counter_ns()
            classify(request, lexicon)
            spent.append(perf_counter_ns() - start)
        spent.sort()
        figures[f"classify_{name}_p50_us"] = spent[len(spent) // 2] / 1_000
        figures[f"classify_{name}_p99_us"] = spent[len(spent) * 99 // 100] / 1_000
    return figures


def _time_loading() -> float:
    load_weights.cache_clear()
    start = perf_counter_ns()
    load_weights()
    return (perf_counter_ns() - start) / 1e6
