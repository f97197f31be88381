"""The hard filters that need nothing live, and the price: what a request's shape decides of every deployment.

``decide`` asks for a ``Sheet`` and adds breakers and measured latency. Prompts differ, shapes hardly do, so everything
here is worked out once for each shape and kept; without that a decision takes ten times as long. The caches are bounded
and hold pure results. Must not look at health, and must not order anything.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, TypeVar

from adapters.ir import MediaRequest, Operation
from policies.catalog import Catalog, Deployment, Limits
from policies.decision import Candidate, Code, Rejection
from policies.match import Policy, Rule
from policies.price import formula_for, price

ROOM = 256  # results kept in each cache of a screen: about 6 MB in all for 130 deployments
SCREENS = 8  # pairs of policy and catalog kept: the policies in force, and those a reload has just replaced
ROUNDING = 1e-9  # dollars by which a sum of prices may pass a ceiling through rounding alone

Key = TypeVar("Key")
Value = TypeVar("Value")


class Shape(NamedTuple):
    """All of a request that fitness and price are read from: nothing that differs from prompt to prompt."""

    operation: Operation
    n: int
    size: tuple[int, int] | None
    aspect: tuple[int, int] | None
    resolution: str
    quality: str
    references: int
    style_references: int
    loras: int
    masked: bool
    vector: bool
    transparent: bool
    prompt_step: int  # how many of the catalog's prompt limits the prompt is beyond


class Terms(NamedTuple):
    """What is asked of a deployment beside doing the work."""

    rule: Rule
    tasks: tuple[str, ...]  # the lower quartile of each must reach the floor
    floor: float  # 0 asks for nothing, not even a score
    ceiling: float | None  # dollars for the whole request
    pinned: frozenset[str] | None  # these deployments, by id, and no others; None: no pin
    keyless: frozenset[str]  # the providers without a usable key
    day: int  # since 1970-01-01


class Sheet(NamedTuple):
    """Every deployment of the catalog, once, and what stands against it as far as the shape decides."""

    sound: tuple[Candidate, ...]  # best quality first, then by id; with the catalog's latency
    poor: tuple[Rejection, ...]  # UNKNOWN_QUALITY, QUALITY: told only where BREAKER and LATENCY do not apply
    dear: tuple[Rejection, ...]  # UNKNOWN_PRICE, COST: told only where BREAKER does not apply
    barred: tuple[Rejection, ...]
    preferred: frozenset[str]  # by the rule, by id


class _Offer(NamedTuple):
    unfit: Rejection | None
    price: float | None
    estimated: bool


class _Grade(NamedTuple):
    poor: Rejection | None
    score: float | None
    p25: float | None
    why: str


@dataclass(slots=True)
class Screen:
    """One policy against one catalog, with what was worked out so far: sheets, and the columns they are joined from."""

    policy: Policy
    catalog: Catalog
    prompt_limits: tuple[int, ...]  # all different ones of the catalog, rising
    unable: dict[Operation, tuple[Rejection, ...]] = field(default_factory=dict)
    bars: dict[tuple[Operation, Rule, int], tuple[Rejection | None, ...]] = field(default_factory=dict)
    offers: dict[Shape, tuple[_Offer, ...]] = field(default_factory=dict)
    grades: dict[tuple[Operation, tuple[str, ...], float], tuple[_Grade, ...]] = field(default_factory=dict)
    sheets: dict[tuple[Shape, Terms], Sheet] = field(default_factory=dict)


_screens: dict[tuple[int, int], Screen] = {}


def screen(policy: Policy, catalog: Catalog) -> Screen:
    """The screen of this pair. Found by identity, which is safe: a screen that is kept keeps both alive."""

    def build() -> Screen:
        limits = {most for deployment in catalog.deployments if (most := deployment.limits.max_prompt) is not None}
        return Screen(policy, catalog, tuple(sorted(limits)))

    return _kept(_screens, (id(policy), id(catalog)), build, SCREENS)


def sheet(screen: Screen, request: MediaRequest, terms: Terms) -> Sheet:
    """What can be said of every deployment without looking at its health."""
    shape = Shape(
        request.operation,
        request.n,
        request.size,
        request.aspect,
        request.resolution,
        request.quality,
        len(request.references),
        len(request.style_references),
        len(request.loras),
        request.mask is not None,
        request.format == "svg" or request.operation is Operation.VECTORIZE,
        request.background == "transparent",
        bisect_left(screen.prompt_limits, len(request.prompt)),
    )
    return _kept(screen.sheets, (shape, terms), lambda: _join(screen, request, shape, terms))


def _kept(cache: dict[Key, Value], key: Key, build: Callable[[], Value], room: int = ROOM) -> Value:
    """``build()``, or what it gave before. A full cache is emptied: cheaper than keeping count of what is used."""
    found = cache.get(key)
    if found is None:
        if len(cache) >= room:
            cache.clear()
        found = cache[key] = build()
    return found


def _join(screen: Screen, request: MediaRequest, shape: Shape, terms: Terms) -> Sheet:
    """Joins columns that are each kept for what they alone depend on: most new sheets are new only in one of them."""
    operation, rule = request.operation, terms.rule
    able = screen.catalog.by_operation.get(operation, ())
    unable = _kept(screen.unable, operation, lambda: _unable(screen.catalog, operation))
    bars = _kept(
        screen.bars,
        (operation, rule, terms.day),
        lambda: tuple(_retired(one, terms.day) or _denied(one, screen.policy, rule) for one in able),
    )
    offers = _kept(screen.offers, shape, lambda: _offers(able, request, shape))
    grades = _kept(
        screen.grades,
        (operation, terms.tasks, terms.floor),
        lambda: tuple(_grade(one, terms.tasks, terms.floor) for one in able),
    )
    sound: list[Candidate] = []
    poor: list[Rejection] = []
    dear: list[Rejection] = []
    barred = list(unable)
    for one, bar, offer, grade in zip(able, bars, offers, grades, strict=True):
        if rejection := bar or _not_asked(one, terms.pinned) or _without_key(one, terms.keyless) or offer.unfit:
            barred.append(rejection)
        elif rejection := _too_dear(one, offer.price, terms.ceiling):
            dear.append(rejection)
        elif rejection := grade.poor:
            poor.append(rejection)
        else:
            numbers = (offer.price, offer.estimated, grade.score, grade.p25, one.p50, one.p95)
            sound.append(Candidate(one, *numbers, grade.why))
    sound.sort(key=lambda one: (-(one.score or 0.0), one.deployment.id))
    prefers = rule.prefer or (lambda one: False)
    preferred = frozenset(one.deployment.id for one in sound if prefers(one.deployment))
    return Sheet(tuple(sound), tuple(poor), tuple(dear), tuple(barred), preferred)


# -------------------------------------------------------------------------------------------- who may be asked at all


def _unable(catalog: Catalog, operation: Operation) -> tuple[Rejection, ...]:
    able = {deployment.id for deployment in catalog.by_operation.get(operation, ())}
    return tuple(
        Rejection(deployment, Code.OPERATION, f"does not do {operation.value}")
        for deployment in catalog.deployments
        if deployment.id not in able
    )


def _retired(deployment: Deployment, day: int) -> Rejection | None:
    retires = deployment.model.retires
    if retires is None or day < (retires - date(1970, 1, 1)).days:
        return None
    return Rejection(deployment, Code.RETIRED, f"since {retires.isoformat()}")


def _denied(deployment: Deployment, policy: Policy, rule: Rule) -> Rejection | None:
    lists = (
        (policy.allow, True, "not in allow of the policy"),
        (policy.deny, False, "in deny of the policy"),
        (rule.use, True, f"not in use of rule {rule.name}"),
        (rule.require, True, f"not in require of rule {rule.name}"),
        (rule.avoid, False, f"in avoid of rule {rule.name}"),
    )
    for selects, wanted, detail in lists:
        if selects is not None and selects(deployment) is not wanted:
            return Rejection(deployment, Code.DENIED, detail)
    return None


def _not_asked(deployment: Deployment, pinned: frozenset[str] | None) -> Rejection | None:
    if pinned is None or deployment.id in pinned:
        return None
    return Rejection(deployment, Code.NOT_ASKED, "another model was asked for")


def _without_key(deployment: Deployment, keyless: frozenset[str]) -> Rejection | None:
    provider = deployment.provider.name
    return Rejection(deployment, Code.CREDENTIAL, f"no key for {provider}") if provider in keyless else None


# --------------------------------------------------------------------------------------- capability, limits and price


def _offers(able: tuple[Deployment, ...], request: MediaRequest, shape: Shape) -> tuple[_Offer, ...]:
    size, prompt = request.dimensions(), len(request.prompt)
    offers = []
    for one in able:
        unfit = _incapable(one, shape) or _beyond(one, size, prompt)
        formula = formula_for(request, one)
        offers.append(_Offer(unfit, price(request, one), formula is not None and formula.estimated))
    return tuple(offers)


def _incapable(deployment: Deployment, shape: Shape) -> Rejection | None:
    limits = deployment.limits
    for name, given, most in (
        ("references", shape.references, limits.max_references),
        ("style references", shape.style_references, limits.max_style_references),
        ("LoRAs", shape.loras, limits.max_loras),
    ):
        if given > most:
            return Rejection(deployment, Code.CAPABILITY, f"{name} {given} > {most}")
    if shape.masked and not limits.mask:
        return Rejection(deployment, Code.CAPABILITY, "mask")
    if shape.transparent and not limits.transparent:
        return Rejection(deployment, Code.CAPABILITY, "transparent background")
    if shape.vector is not limits.vector:
        return Rejection(deployment, Code.CAPABILITY, "makes only SVG" if limits.vector else "SVG")
    return None


def _beyond(deployment: Deployment, size: tuple[int, int] | None, prompt: int) -> Rejection | None:
    limits = deployment.limits
    if limits.max_prompt is not None and prompt > limits.max_prompt:
        # The length itself is left out: the rejection is kept for every prompt that is too long.
        return Rejection(deployment, Code.LIMIT, f"prompt longer than {limits.max_prompt} characters")
    detail = _ill_sized(*size, limits) if size else ""
    return Rejection(deployment, Code.LIMIT, detail) if detail else None


def _ill_sized(width: int, height: int, limits: Limits) -> str:
    short, long = min(width, height), max(width, height)
    if short < limits.min_edge:
        return f"edge {short} < {limits.min_edge}"
    if long > limits.max_edge:
        return f"edge {long} > {limits.max_edge}"
    if limits.max_pixels is not None and width * height > limits.max_pixels:
        return f"pixels {width * height} > {limits.max_pixels}"
    if long > short * limits.max_aspect:
        return f"aspect {long / short:.2f} > {limits.max_aspect:.2f}"
    return ""


def _too_dear(deployment: Deployment, usd: float | None, ceiling: float | None) -> Rejection | None:
    if ceiling is None:
        return None
    if usd is None:
        return Rejection(deployment, Code.UNKNOWN_PRICE, f"unknown price under a ceiling of ${ceiling:.3f}")
    if usd <= ceiling + ROUNDING:
        return None
    return Rejection(deployment, Code.COST, f"${usd:.3f} > ceiling ${ceiling:.3f}", usd - ceiling)


# ------------------------------------------------------------------------------------------------------------- quality


def _grade(deployment: Deployment, tasks: tuple[str, ...], floor: float) -> _Grade:
    """Judged by the task it is weakest at; one task without a score leaves the whole unknown."""
    known = [(score, task) for task in tasks if (score := deployment.model.quality_for(task)) is not None]
    if len(known) < len(tasks):
        unknown = next(task for task in tasks if deployment.model.quality_for(task) is None)
        poor = Rejection(deployment, Code.UNKNOWN_QUALITY, f"no score for {unknown}") if floor > 0 else None
        return _Grade(poor, None, None, "no floor to clear")
    weakest, task = min(known, key=lambda pair: pair[0].p25)
    if weakest.p25 < floor:
        detail = f"p25 {weakest.p25:.3g} < floor {floor:.3g} for {task}"
        return _Grade(Rejection(deployment, Code.QUALITY, detail, floor - weakest.p25), weakest.score, weakest.p25, "")
    why = f"p25 {weakest.p25:.3g} clears {floor:.3g} for {task}" if floor > 0 else "no floor to clear"
    return _Grade(None, weakest.score, weakest.p25, why)
