"""How long one decision takes, over a synthetic catalog of 130 deployments and requests of many shapes.

The time is that of the thread: a decision waits for nothing, and what else runs on the machine is not its own.
"""

import gc
import random
from time import thread_time_ns
from typing import TypeVar

from adapters.ir import Ask, MediaRequest, Operation, Tier
from policies.catalog import Catalog, Limits
from policies.classify import Traits
from policies.decide import Health, HealthView, decide
from policies.match import Policy, first_match
from policies.subject import Subject
from tests.policies.catalogs import catalog, deployment, model, policy, traits

NOW = 1_795_000_000.0
TASKS = ("portrait", "product_photo", "text_in_image", "landscape", "logo_vector", "food", "illustration", "ui_design")
SIZES = (None, None, (1024, 1024), (1024, 1024), (1536, 1024), (512, 512), (2048, 2048))
WHEN = (
    "tier == 'standard' && request.width * request.height * request.n > 8000000"
    " && (traits.task in ['food', 'portrait'] || traits.confidence < 0.4) && request.caller.startsWith('vip-')"
)
REQUESTS, ROUNDS, DEPLOYMENTS, HOSTS = 200, 25, 130, 16

Question = tuple[MediaRequest, Traits]
Value = TypeVar("Value")


def run() -> dict[str, float]:
    """Microseconds: warm is a running sidecar's, cold the first decisions after a reload with nothing cached."""
    chance = random.Random(7)
    hosted, health = _catalog(chance), _health(chance)
    questions = [_question(chance) for _ in range(REQUESTS)]
    _measure(questions, _policy(), hosted, health)
    cold = [_measure(questions, _policy(), hosted, health) for _ in range(3)]
    kept = _policy()
    warm = [_measure(questions, kept, hosted, health) for _ in range(ROUNDS)][1:]
    whens = _measure_rule(questions, policy(rules=[{"name": "when", "when": WHEN}]))
    prompts = _measure_rule(questions, policy(rules=[{"name": "words", "match": {"prompt": r"\b(flyer|leaflet)\b"}}]))
    return {
        "decide_p50_us": _percentile(warm, 50),
        "decide_p99_us": _percentile(warm, 99),
        "decide_cold_p50_us": _percentile(cold, 50),
        "decide_cold_p99_us": _percentile(cold, 99),
        "rule_when_p50_us": _percentile([whens], 50),
        "rule_when_p99_us": _percentile([whens], 99),
        "rule_prompt_p50_us": _percentile([prompts], 50),
    }


def _measure_rule(questions: list[Question], rules: Policy) -> list[float]:
    """One rule asked by itself, which hardly ever holds."""
    took = []
    gc.collect()
    for request, seen in questions * 10:
        start = thread_time_ns()
        first_match(rules, Subject(request, seen, Tier.STANDARD, NOW))
        took.append((thread_time_ns() - start) / 1000)
    return took


def _measure(questions: list[Question], rules: Policy, hosted: Catalog, health: HealthView) -> list[float]:
    keys = frozenset(name for name in hosted.providers if name != "host-3")
    took = []
    gc.collect()
    for request, seen in questions:
        start = thread_time_ns()
        decide(request, seen, rules, hosted, health, NOW, credentials=keys)
        took.append((thread_time_ns() - start) / 1000)
    return took


def _percentile(rounds: list[list[float]], percent: int) -> float:
    ordered = sorted(took for one in rounds for took in one)
    return round(ordered[len(ordered) * percent // 100], 1)


def _policy() -> Policy:
    return policy(
        ceilings={"costUsd": 0.5},
        deny={"providers": ["host-15"]},
        rules=[
            {"name": "vip", "match": {"caller": ["vip-*"]}, "tier": "premium", "prefer": {"vendors": ["vendor-1"]}},
            {"name": "words", "match": {"prompt": r"\b(poster|banner)\b"}, "require": {"models": ["model-1*"]}},
            {"name": "drafts", "match": {"tier": ["draft"]}, "ceilings": {"costUsd": 0.05}},
        ],
    )


def _catalog(chance: random.Random) -> Catalog:
    """Forty-odd models at one to five of sixteen providers; a quarter do other work than generate."""
    deployments = []
    while len(deployments) < DEPLOYMENTS:
        name = f"model-{len(deployments)}"
        general = chance.uniform(0.1, 0.7)
        quality = {task: min(0.95, max(0.02, general + chance.gauss(0, 0.08))) for task in TASKS[:6]}
        operations = [Operation.GENERATE, Operation.EDIT] if chance.random() < 0.75 else [Operation.UPSCALE]
        made = model(
            name, {"general": general, **quality}, vendor=f"vendor-{chance.randrange(8)}", operations=operations
        )
        usd = 0.002 * 4 ** (general * 5)
        limits = Limits(
            max_images=4,
            max_references=chance.choice((0, 1, 8)),
            mask=chance.random() < 0.3,
            transparent=chance.random() < 0.2,
            max_prompt=4000,
            min_edge=64,
            max_edge=2048,
        )
        for host in chance.sample(range(HOSTS), chance.randint(1, 5)):
            cost = None if chance.random() < 0.05 else usd * chance.uniform(0.9, 1.2)
            deployments.append(deployment(made, f"host-{host}", cost, chance.uniform(1, 25), limits=limits))
    return catalog(*deployments[:DEPLOYMENTS])


def _health(chance: random.Random) -> HealthView:
    """Half of a busy sidecar's deployments have been measured, one in twenty is shut."""
    return {
        one.id: Health(
            chance.random() > 0.05, "", chance.uniform(1, 20), chance.uniform(20, 40), chance.uniform(0.9, 1)
        )
        for one in _catalog(random.Random(7)).deployments
        if chance.random() < 0.5
    }


def _one_in_five(chance: random.Random, value: Value) -> Value | None:
    return value if chance.random() < 0.2 else None


def _question(chance: random.Random) -> Question:
    words = chance.choices(("a", "red", "ship", "in", "the", "harbour", "at", "night"), k=chance.randint(4, 60))
    if chance.random() < 0.1:
        words.append("poster")
    ask = Ask(
        tier=chance.choice((None, None, None, *Tier)),
        max_cost=_one_in_five(chance, 0.08),
        max_latency=_one_in_five(chance, 15.0),
        session=_one_in_five(chance, "session-7") or "",
        priority=_one_in_five(chance, chance.choice(("high", "low"))) or "",
        caller=_one_in_five(chance, "vip-1") or "shop",
    )
    request = MediaRequest(
        chance.choice((Operation.GENERATE, Operation.GENERATE, Operation.EDIT)),
        prompt=" ".join(words),
        n=chance.choice((1, 1, 1, 2, 4)),
        size=chance.choice(SIZES),
        background=chance.choice(("", "", "", "transparent")),
        ask=ask,
    )
    return request, traits(chance.choice(TASKS), chance.uniform(0.3, 1.0), *chance.sample(TASKS, 2))
