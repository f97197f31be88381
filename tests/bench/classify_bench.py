"""How well prompts are classified, and how long one takes.

The labelled sets stand in tests/policies/classify. ``unseen`` and ``languages`` were written for the purpose; ``real``
and ``held`` are prompts of public sets, labelled by reading them, and of the sets in ``held`` nothing at all was
trained on. Each is judged by the lexicon alone and with the learned weights: the share that is right, and macro-F1, in
percent; ``accepted`` counts the second tasks too that a person would let pass, ``plausible`` the prompts whose true
task is among those the decision guards. The model card (policies/training/README.md) has what is taken for what.

Times are of the thread, for 60 words of labelled prompts joined, where most words tell, and for the labelled prompts;
"least" takes the fastest of all rounds for each prompt: what it costs where no neighbour is in the way.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import Any

from adapters.ir import Media, MediaRequest, Operation
from policies.classify import Lexicon, Traits, classify, load_lexicon
from policies.weights import load_weights

CLASSIFY = Path(__file__).parents[1] / "policies" / "classify"
SETS = ("unseen", "languages", "real", "held")
PARTS = {"languages": "language", "held": "source"}  # sets that are judged by part as well, and the key that tells it
ROUNDS = 20
SURE = 0.6  # the shipped policy's minConfidence: above it one task's floor is enough

Case = Mapping[str, Any]


def run() -> dict[str, float]:
    """Percent, and microseconds; loading is milliseconds."""
    lexicon = load_lexicon()
    sets = {name: read_cases(name) for name in (*SETS, "prompts")}
    return _judge_all(sets, lexicon) | _time_all(sets["prompts"], lexicon) | {"load_weights_ms": _time_loading()}


def read_cases(name: str) -> list[Case]:
    return [json.loads(line) for line in (CLASSIFY / f"{name}.jsonl").read_text("utf-8").splitlines()]


def as_request(case: Case) -> MediaRequest:
    return MediaRequest(
        Operation(case.get("operation", "image.generate")),
        prompt=case["prompt"],
        negative_prompt=case.get("negative_prompt", ""),
        size=tuple(case["size"]) if "size" in case else None,
        references=(Media(url="https://example.com/a.png"),) * case.get("references", 0),
    )


# -------------------------------------------------------------------------------------------------------------- quality


def _judge_all(sets: Mapping[str, Sequence[Case]], lexicon: Lexicon) -> dict[str, float]:
    unlearned = replace(
        lexicon, groups={operation: replace(group, weights=None) for operation, group in lexicon.groups.items()}
    )
    figures: dict[str, float] = {}
    for name in SETS:
        figures |= _judge(f"{name} lexicon", sets[name], unlearned)
        figures |= _judge(name, sets[name], lexicon, lenient=True)
        for part, cases in _parts(name, sets[name]).items():
            figures |= _judge(part, cases, lexicon)
    return figures


def _judge(name: str, cases: Sequence[Case], lexicon: Lexicon, *, lenient: bool = False) -> dict[str, float]:
    told = [classify(as_request(case), lexicon) for case in cases]
    pairs = [(case["task"], traits.task) for case, traits in zip(cases, told, strict=True)]
    right = sum(wanted == task for wanted, task in pairs)
    figures = {f"{name} right %": 100 * right / len(pairs), f"{name} macro-F1 %": 100 * macro_f1(pairs)}
    return figures | _lenient(name, cases, told) if lenient else figures


def _parts(name: str, cases: Sequence[Case]) -> dict[str, list[Case]]:
    parts: dict[str, list[Case]] = {}
    for case in cases if name in PARTS else ():
        parts.setdefault(f"{name} {case[PARTS[name]]}", []).append(case)
    return parts


def _lenient(part: str, cases: Sequence[Case], told: Sequence[Traits]) -> dict[str, float]:
    both = list(zip(cases, told, strict=True))
    accepted = sum(traits.task in (case["task"], *case.get("also", ())) for case, traits in both)
    plausible = sum(case["task"] in guarded(traits) for case, traits in both)
    return {f"{part} accepted %": 100 * accepted / len(both), f"{part} plausible %": 100 * plausible / len(both)}


def guarded(traits: Traits) -> set[str]:
    """The tasks whose floor the shipped policy has a model clear."""
    return {traits.task} if traits.confidence >= SURE else {task for task, _ in traits.tasks}


def macro_f1(pairs: Iterable[tuple[str, str]]) -> float:
    """Over the tasks that are wanted somewhere; ``pairs`` are wanted and told."""
    both = Counter(pairs)
    wanted, told = Counter[str](), Counter[str]()
    for (one, other), count in both.items():
        wanted[one] += count
        told[other] += count
    return sum(2 * both[task, task] / (wanted[task] + told[task]) for task in wanted) / len(wanted)


# ---------------------------------------------------------------------------------------------------------------- speed


def _time_all(prompts: Sequence[Case], lexicon: Lexicon) -> dict[str, float]:
    words = " ".join(case["prompt"] for case in prompts if case["prompt"].isascii()).split()
    requests = {
        "labelled": [as_request(case) for case in prompts],
        "60 words": [
            MediaRequest(Operation.GENERATE, prompt=" ".join(words[at : at + 60]))
            for at in range(0, len(words) - 60, 9)
        ],
    }
    figures: dict[str, float] = {}
    for name, some in requests.items():
        rounds = [[_time(request, lexicon) for request in some] for _ in range(ROUNDS)]
        spent = sorted(took for one in rounds for took in one)
        least = sorted(map(min, zip(*rounds, strict=True)))
        figures[f"{name} p50 us"] = spent[len(spent) // 2]
        figures[f"{name} p99 us"] = spent[len(spent) * 99 // 100]
        figures[f"{name} p50 us, least"] = least[len(least) // 2]
        figures[f"{name} p99 us, least"] = least[len(least) * 99 // 100]
    return figures


def _time(request: MediaRequest, lexicon: Lexicon) -> float:
    start = thread_time_ns()
    classify(request, lexicon)
    return (thread_time_ns() - start) / 1_000


def _time_loading() -> float:
    load_weights.cache_clear()
    start = perf_counter_ns()
    load_weights()
    return (perf_counter_ns() - start) / 1e6
