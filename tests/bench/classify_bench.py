"""How long one classification takes: the labelled prompts, and 60 words of them joined, where most words tell."""

import json
from pathlib import Path
from time import perf_counter_ns

from adapters.ir import MediaRequest, Operation
from policies.classify import classify, load_lexicon

PROMPTS = Path(__file__).parents[1] / "policies" / "classify" / "prompts.jsonl"
ROUNDS = 20


def run() -> dict[str, float]:
    """Microseconds."""
    lexicon = load_lexicon()
    cases = [json.loads(line) for line in PROMPTS.read_text("utf-8").splitlines()]
    words = " ".join(case["prompt"] for case in cases if case["prompt"].isascii()).split()
    sets = {
        "labelled": [
            MediaRequest(Operation(case.get("operation", "image.generate")), prompt=case["prompt"]) for case in cases
        ],
        "60_words": [
            MediaRequest(Operation.GENERATE, prompt=" ".join(words[at : at + 60]))
            for at in range(0, len(words) - 60, 9)
        ],
    }
    figures: dict[str, float] = {}
    for name, requests in sets.items():
        spent: list[int] = []
        for request in requests * ROUNDS:
            start = perf_counter_ns()
            classify(request, lexicon)
            spent.append(perf_counter_ns() - start)
        spent.sort()
        figures[f"classify_{name}_p50_us"] = spent[len(spent) // 2] / 1_000
        figures[f"classify_{name}_p99_us"] = spent[len(spent) * 99 // 100] / 1_000
    return figures
