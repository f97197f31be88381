"""The hard filters that need nothing live, and the price: what a request's shape decides of every deployment.

``decide`` asks for a ``Sheet`` and takes from it what breakers and measured latency forbid. Prompts differ, shapes
hardly do, so everything here is worked out once for each shape and kept; without that a decision takes ten times as
long. The caches are bounded and hold pure results. Must not look at health, and must not order anything.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple, TypeVar

from adapters.ir import MediaRequest, Operation
from policies.catalog import Catalog, Deployment, Model
from policies.decision import Candidate, Code, Rejection, codes_of
from policies.match import Policy, Rule
from policies.price import formula_for, price

ROOM = 256  # results kept in each cache of a screen: about 6 MB in all for 130 deployments
SCREENS = 8  # pairs of policy and catalog kept
UNABLE = "does not do %s"
UNSENDABLE = "does %s, but its wire cannot send it yet"
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
    duration: float | None
    priority: str
    references: int
    style_references: int
    loras: int
    masked: bool
    vector: bool
    transparent: bool
    prompt_step: int  # how many of the prompt limits for the operation the prompt is beyond


class Admission(NamedTuple):
    """Who may be asked at all, whatever it can do."""

    rule: Rule
    pinned: frozenset[str] | None  # these deployments, by id, and no others; None: no pin
    likeness: str | None  # only what takes references, and this model whether or not it does; None: no such demand
    keyless: frozenset[str]  # the providers without a usable key
    day: int  # since 1970-01-01


class Terms(NamedTuple):
    """What is asked of a deployment beside doing the work."""

    admission: Admission
    tasks: tuple[str, ...]  # the lower quartile of each must reach the floor
    floor: float  # 0 asks for nothing, not even a score
    ceiling: float | None  # dollars for the whole request


class Sheet(NamedTuple):
    """Every deployment of the catalog, once, and what stands against it as far as the shape decides."""

    sound: tuple[Candidate, ...]  # best quality first, then by id; with the catalog's latency
    rejected: tuple[Rejection, ...]
    codes: str  # of the rejected, as ``codes_of`` writes them: once for all prompts of a shape
    preferred: frozenset[str]  # by the rule, by id


class _Offer(NamedTuple):
    unfit: Rejection | None
    price: float | None
    estimated: bool


class _Grade(NamedTuple):
    """Of the task it is weakest at; score and p25 are None where that one was never measured."""

    score: float | None
    p25: float | None
    task: str


@dataclass(slots=True)
class Screen:
    """One policy against one catalog, with what was worked out so far: sheets, and the columns they are joined from."""

    policy: Policy
    catalog: Catalog
    prompt_limits: Mapping[Operation, tuple[int, ...]]  # all different ones of those that do it, rising
    unable: dict[Operation, tuple[Rejection, ...]] = field(default_factory=dict)
    bars: dict[tuple[Operation, Admission], tuple[Rejection | None, ...]] = field(default_factory=dict)
    offers: dict[Shape, tuple[_Offer, ...]] = field(default_factory=dict)
    grades: dict[tuple[Operation, tuple[str, ...]], tuple[_Grade, ...]] = field(default_factory=dict)
    poor: dict[tuple[Operation, tuple[str, ...], float], dict[str, Rejection]] = field(default_factory=dict)
    sheets: dict[tuple[Shape, Terms], Sheet] = field(default_factory=dict)


_screens: dict[tuple[int, int], Screen] = {}


def screen(policy: Policy, catalog: Catalog) -> Screen:
    """The screen of this pair. Found by identity, which is safe: a screen that is kept keeps both alive."""

    def build() -> Screen:
        limits = {operation: _prompt_limits(able) for operation, able in catalog.by_operation.items()}
        return Screen(policy, catalog, limits)

    return _kept(_screens, (id(policy), id(catalog)), build, SCREENS)


def forget() -> None:
    """Lets go of every screen, and so of catalogs that are no longer in force: each holds megabytes. A request that
    started before builds its own again."""
    _screens.clear()


def _prompt_limits(able: Iterable[Deployment]) -> tuple[int, ...]:
    return tuple(sorted({most for one in able if (most := one.limits.max_prompt) is not None}))


def sheet(screen: Screen, request: MediaRequest, terms: Terms) -> Sheet:
    """What can be said of every deployment without looking at its health."""
    shape = Shape(
        request.operation,
        request.n,
        request.size,
        request.aspect,
        request.resolution,
        request.duration,
        request.ask.priority,
        len(request.references),
        len(request.style_references),
        len(request.loras),
        request.mask is not None,
        request.format == "svg" or request.operation is Operation.VECTORIZE,
        request.background == "transparent",
        bisect_left(screen.prompt_limits.get(request.operation, ()), len(request.prompt)),
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
    operation, admission = request.operation, terms.admission
    able = screen.catalog.by_operation.get(operation, ())
    unable = _kept(screen.unable, operation, lambda: _unable(screen.catalog, operation))
    bars = _kept(screen.bars, (operation, admission), lambda: _bars(screen, able, admission))
    offers = _kept(screen.offers, shape, lambda: _offers(able, request, shape))
    grades = _kept(
        screen.grades, (operation, terms.tasks), lambda: tuple(_grade(one.model, terms.tasks) for one in able)
    )
    # By id, filled as they are met: most deployments are poor for most requests, and new sheets say the same of them.
    poor = _kept(screen.poor, (operation, terms.tasks, terms.floor), dict)
    floor, ceiling = terms.floor, terms.ceiling
    sound: list[Candidate] = []
    rejected = list(unable)
    for one, barred, (unfit, usd, estimated), grade in zip(able, bars, offers, grades, strict=True):
        if rejection := barred or unfit or (ceiling is not None and _too_dear(one, usd, ceiling)):
            rejected.append(rejection)
        elif floor > 0 and (grade.p25 is None or grade.p25 < floor):
            rejected.append(poor.get(one.id) or poor.setdefault(one.id, _too_poor(one, grade, floor)))
        else:
            sound.append(Candidate(one, usd, estimated, grade.score, grade.p25, one.p50, one.p95, "", None, grade.task))
    sound.sort(key=lambda one: (-(one.score or 0.0), one.deployment.id))
    prefers = admission.rule.prefer
    preferred = frozenset(one.deployment.id for one in sound if prefers(one.deployment)) if prefers else frozenset()
    return Sheet(tuple(sound), tuple(rejected), codes_of(rejected), preferred)


# -------------------------------------------------------------------------------------------- who may be asked at all


def _unable(catalog: Catalog, operation: Operation) -> tuple[Rejection, ...]:
    able = {deployment.id for deployment in catalog.by_operation.get(operation, ())}
    return tuple(
        Rejection(
            deployment, Code.OPERATION, (UNSENDABLE if operation in deployment.unsendable else UNABLE) % operation
        )
        for deployment in catalog.deployments
        if deployment.id not in able
    )


def days_left(model: Model, day: int) -> int | None:
    """Until the model retires: 0 or less where it has. None: no date is known. ``day`` counts from 1970-01-01."""
    return None if model.retires is None else (model.retires - date(1970, 1, 1)).days - day


def _bars(screen: Screen, able: tuple[Deployment, ...], admission: Admission) -> tuple[Rejection | None, ...]:
    return tuple(_barred(one, screen.policy, admission) for one in able)


def _barred(deployment: Deployment, policy: Policy, admission: Admission) -> Rejection | None:
    rule, pinned, likeness, keyless, day = admission
    left = days_left(deployment.model, day)
    if left is not None and left <= 0:
        return Rejection(deployment, Code.RETIRED, f"since {deployment.model.retires}")
    if denied := _denied(deployment, policy, rule):
        return Rejection(deployment, Code.DENIED, denied)
    if pinned is not None and deployment.id not in pinned:
        return Rejection(deployment, Code.NOT_ASKED, "another model was asked for")
    if likeness not in (None, deployment.model.id) and not deployment.limits.max_references:
        return Rejection(deployment, Code.SESSION, "takes no references to keep the session's look by")
    provider = deployment.provider.name
    return Rejection(deployment, Code.CREDENTIAL, f"no key for {provider}") if provider in keyless else None


def _denied(deployment: Deployment, policy: Policy, rule: Rule) -> str:
    lists = (
        (policy.allow, True, "not in allow of the policy"),
        (policy.deny, False, "in deny of the policy"),
        (rule.use, True, f"not in use of rule {rule.name}"),
        (rule.require, True, f"not in require of rule {rule.name}"),
        (rule.avoid, False, f"in avoid of rule {rule.name}"),
    )
    return next((why for selects, wanted, why in lists if selects and selects(deployment) is not wanted), "")


# --------------------------------------------------------------------------------------- capability, limits and price


def _offers(able: tuple[Deployment, ...], request: MediaRequest, shape: Shape) -> tuple[_Offer, ...]:
    size, prompt = request.dimensions(), len(request.prompt)
    offers = []
    for one in able:
        if unfit := _incapable(one, shape) or _beyond(one, size, prompt, shape):
            offers.append(_Offer(unfit, None, False))
        else:
            formula = formula_for(request, one)
            offers.append(_Offer(None, price(request, one), formula is not None and formula.estimated))
    return tuple(offers)


def _incapable(deployment: Deployment, shape: Shape) -> Rejection | None:
    limits = deployment.limits
    loras = shape.loras + len(deployment.loras)
    if shape.references < limits.min_references:
        return Rejection(deployment, Code.CAPABILITY, "references %d < %d", (shape.references, limits.min_references))
    if shape.references > limits.max_references:
        return _too_many(deployment, "references", shape.references, limits.max_references)
    if shape.style_references > limits.max_style_references:
        return _too_many(deployment, "style references", shape.style_references, limits.max_style_references)
    if loras > limits.max_loras:
        return _too_many(deployment, "LoRAs", loras, limits.max_loras)
    if shape.masked and not limits.mask:
        return Rejection(deployment, Code.CAPABILITY, "mask")
    if shape.transparent and not limits.transparent:
        return Rejection(deployment, Code.CAPABILITY, "transparent background")
    if shape.vector is not limits.vector:
        return Rejection(deployment, Code.CAPABILITY, "makes only SVG" if limits.vector else "SVG")
    return None


def _too_many(deployment: Deployment, what: str, given: int, most: int) -> Rejection:
    return Rejection(deployment, Code.CAPABILITY, "%s %d > %d", (what, given, most))


def _beyond(deployment: Deployment, size: tuple[int, int] | None, prompt: int, shape: Shape) -> Rejection | None:
    limits = deployment.limits
    if limits.max_prompt is not None and prompt > limits.max_prompt:
        # The length itself is left out: the rejection is kept for every prompt that is too long.
        return Rejection(deployment, Code.LIMIT, "prompt longer than %d characters", (limits.max_prompt,))
    if shape.duration is not None and shape.duration < limits.min_seconds:
        return Rejection(deployment, Code.LIMIT, "seconds %g < %g", (shape.duration, limits.min_seconds))
    if shape.duration is not None and limits.max_seconds is not None and shape.duration > limits.max_seconds:
        return Rejection(deployment, Code.LIMIT, "seconds %g > %g", (shape.duration, limits.max_seconds))
    if size is None:
        return None
    short, long, area = min(size), max(size), size[0] * size[1]
    if short < limits.min_edge:
        return Rejection(deployment, Code.LIMIT, "edge %d < %d", (short, limits.min_edge))
    if long > limits.max_edge:
        return Rejection(deployment, Code.LIMIT, "edge %d > %d", (long, limits.max_edge))
    if limits.max_pixels is not None and area > limits.max_pixels:
        return Rejection(deployment, Code.LIMIT, "pixels %d > %d", (area, limits.max_pixels))
    if long > short * limits.max_aspect:
        return Rejection(deployment, Code.LIMIT, "aspect %.2f > %.2f", (long / short, limits.max_aspect))
    return None


def _too_dear(deployment: Deployment, usd: float | None, ceiling: float) -> Rejection | None:
    if usd is None:
        return Rejection(deployment, Code.UNKNOWN_PRICE, "unknown price under a ceiling of $%.3f", (ceiling,))
    if usd <= ceiling + ROUNDING:
        return None
    return Rejection(deployment, Code.COST, "$%.3f > ceiling $%.3f", (usd, ceiling), usd - ceiling)


# ------------------------------------------------------------------------------------------------------------- quality


def _grade(model: Model, tasks: tuple[str, ...]) -> _Grade:
    """Judged by the task it is weakest at; one task without a score leaves the whole unknown."""
    weakest: _Grade | None = None
    for task in tasks:
        score = model.quality_for(task)
        if score is None:
            return _Grade(None, None, task)
        if weakest is None or weakest.p25 is None or score.p25 < weakest.p25:
            weakest = _Grade(score.score, score.p25, task)
    return weakest or _Grade(None, None, "")


def _too_poor(deployment: Deployment, grade: _Grade, floor: float) -> Rejection:
    _, p25, task = grade
    if p25 is None:
        return Rejection(deployment, Code.UNKNOWN_QUALITY, "no score for %s", (task,))
    return Rejection(deployment, Code.QUALITY, "p25 %.3g < floor %.3g for %s", (p25, floor, task), floor - p25)
