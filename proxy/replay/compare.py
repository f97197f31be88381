"""Two configurations against each other: every recorded request decided under both, and what is different added up.

Called by ``verbs.diff`` and the benchmark. Each request is classified once, unless the sides differ in what they listen
for, and each kind of request is decided once a side. What a request comes to is ``outcome``, how sure a difference is
``paired``. Does no IO and reads no clock, and must not look at a prompt but to keep the beginning of an example, where
that was asked for.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from policies.decision import Code, Decision
from policies.problems import excerpt
from proxy.replay.measure import KEPT, Tally, count
from proxy.replay.outcome import Outcome, Served, Side, Unserved, clears, likeness, outcome
from proxy.replay.paired import Lines, Paired
from proxy.traffic import Recorded

NOTHING, REFUSED = "(nothing eligible)", "(refused)"  # in the place of a model
SHOWN = 100  # characters of a prompt in an example
_CODES = {code: position for position, code in enumerate(Code)}


class Move(NamedTuple):
    """A way in which requests change."""

    task: str
    old: str  # model, NOTHING or REFUSED
    new: str


@dataclass(frozen=True, slots=True)
class Example:
    """One request that moves: its number in the traffic, counted from 1, and its shape. ``prompt`` is empty unless
    prompts may be shown."""

    request: int
    shape: str
    old: str  # reason
    new: str
    prompt: str = ""


@dataclass(slots=True)
class Moved:
    """All requests of one move. ``why`` says what became of the old choice, ``rules`` which rule applied and now
    does."""

    example: Example
    requests: int = 0
    cost: Paired = field(default_factory=Paired)
    why: Counter[str] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(slots=True)
class Comparison:
    """What came of it. All counts are of requests, each line of traffic by its weight."""

    old: Tally = field(default_factory=Tally)
    new: Tally = field(default_factory=Tally)
    lines: int = 0
    requests: int = 0
    changed: int = 0  # another model, or served on one side alone
    rehosted: int = 0  # the same model at another provider
    moves: dict[Move, Moved] = field(default_factory=dict)
    cost: Paired = field(default_factory=Paired)  # dollars; of requests whose price is known on both sides
    p50: Paired = field(default_factory=Paired)  # seconds; of requests served on both sides
    p95: Paired = field(default_factory=Paired)
    unpriced: int = 0  # served on both sides, and of unknown price on one of them
    lowered: Counter[str] = field(default_factory=Counter)  # floors that are lower than they were, by "tier from -> to"
    below: Counter[str] = field(default_factory=Counter)  # under the old floor, by the model that is chosen now
    unserved: Counter[str] = field(default_factory=Counter)  # nothing serves them any more, by reason
    refused: Counter[str] = field(default_factory=Counter)  # newly, by rule
    admitted: Counter[str] = field(default_factory=Counter)  # no longer refused, by the rule that did

    @property
    def changed_share(self) -> float:
        return self.changed / self.requests if self.requests else 0.0

    @property
    def at_risk(self) -> int:
        """Floors; one request may be counted in two ways."""
        return self.lowered.total() + self.below.total() + self.unserved.total()

    def biggest(self) -> list[tuple[Move, Moved]]:
        return sorted(self.moves.items(), key=lambda one: (-one[1].requests, one[0]))


@dataclass(frozen=True, slots=True)
class _Pair:
    """What one kind of request comes to on both sides, and what of the difference only the decisions tell."""

    old: Outcome
    new: Outcome
    why: str
    rules: tuple[str, str]
    lowered: str
    below: bool
    example: Example | None  # where it moves


def compare(traffic: Iterable[Recorded], old: Side, new: Side, *, show_prompts: bool = False) -> Comparison:
    """Decides all of ``traffic`` under both sides. ``show_prompts``: examples may have the beginning of a prompt."""
    found, alike = Comparison(), old.config.lexicon() is new.config.lexicon()
    kept: dict[Hashable, tuple[_Pair, str, Lines]] = {}
    for number, recorded in enumerate(traffic, 1):
        request, before = recorded.request, old.classify(recorded)
        after = before if alike else new.classify(recorded)
        key: Hashable = old.kind(request, before), new.kind(request, after), likeness(recorded, before)
        if after is not before:
            key = key, likeness(recorded, after)
        known = kept.get(key)
        if known is None:
            if len(kept) >= KEPT:
                _add(found, kept.values())
                kept.clear()
            decisions = old.decide(recorded, before), new.decide(recorded, after)
            pair = _pair(recorded, *decisions, number, show_prompts)
            known = kept[key] = pair, after.task, Lines()
        known[2].add(recorded.weight)
    _add(found, kept.values())
    return found


# ---------------------------------------------------------------------------------------------- one request, both sides


def _pair(
    recorded: Recorded, before: Decision | None, after: Decision | None, number: int, show_prompts: bool
) -> _Pair:
    old, new = outcome(recorded, before), outcome(recorded, after)
    moves = _model(old) != _model(new)
    return _Pair(
        old=old,
        new=new,
        why=_why(before, after) if moves else "",
        rules=(before.rule if before else "", after.rule if after else ""),
        lowered=_lowered(before, after),
        below=bool(before and isinstance(old, Served) and after and after.candidates and not clears(after, before)),
        example=_example(recorded, before, after, old, new, number, show_prompts) if moves else None,
    )


def _model(one: Outcome) -> str:
    match one:
        case Served():
            return one.model
        case Unserved():
            return REFUSED if one.refused_by else NOTHING


def _lowered(before: Decision | None, after: Decision | None) -> str:
    """How, where a request that something served is now held against a lower floor."""
    if not before or not after or not before.candidates or after.refusal or after.floor >= before.floor:
        return ""
    return f"{before.tier.value} {before.floor:.3g} -> {after.tier.value} {after.floor:.3g}"


def _why(before: Decision | None, after: Decision | None) -> str:
    """What became of the old choice."""
    if after is None:
        return "there is no such policy any more"
    if after.refusal:
        return "refused"
    if before is None or not before.candidates:
        return "served now"
    if not after.candidates and after.unknown_model:
        return "the model asked for is unknown"
    chosen = before.candidates[0].deployment
    if any(one.deployment.id == chosen.id for one in after.candidates):
        return "still eligible"
    codes = {one.deployment.id: one.code for one in after.rejected if one.deployment.model.id == chosen.model.id}
    elsewhere = any(one.deployment.model.id == chosen.model.id for one in after.candidates)
    if code := codes.get(chosen.id):
        return f"{code.value}, still eligible at another provider" if elsewhere else code.value
    if elsewhere:
        return "gone from its provider, still eligible at another one"
    return max(codes.values(), key=_CODES.__getitem__).value if codes else "gone from the catalog"


def _example(
    recorded: Recorded,
    before: Decision | None,
    after: Decision | None,
    old: Outcome,
    new: Outcome,
    number: int,
    show_prompts: bool,
) -> Example:
    request = recorded.request
    size = request.dimensions()
    words = [request.operation.value, f"n {request.n}" if request.n > 1 else ""]
    words += ["{}x{}".format(*size) if size else "", f"references {len(request.references)}" * bool(request.references)]
    words += [f"tier {request.ask.tier.value}" if request.ask.tier else ""]
    return Example(
        request=number,
        shape=", ".join(filter(None, words)),
        old=_reason(before, old),
        new=_reason(after, new),
        prompt=excerpt(request.prompt, SHOWN) if show_prompts and not recorded.traits else "",
    )


def _reason(decision: Decision | None, came_to: Outcome) -> str:
    if decision is None or isinstance(came_to, Unserved):
        return came_to.reason if isinstance(came_to, Unserved) else ""
    return f"{came_to.deployment}: {decision.reason}"


# ------------------------------------------------------------------------------------------------------ the whole of it


def _add(found: Comparison, pairs: Iterable[tuple[_Pair, str, Lines]]) -> None:
    for pair, task, lines in pairs:
        weight = lines.weight
        found.lines += lines.count
        found.requests += weight
        for tally, came_to in ((found.old, pair.old), (found.new, pair.new)):
            tally.lines += lines.count
            tally.add("", weight, came_to)
        _add_effects(found, pair, lines)
        _add_risks(found, pair, weight)
        if pair.example:
            found.changed += weight
            move = Move(task, _model(pair.old), _model(pair.new))
            moved = found.moves.setdefault(move, Moved(pair.example))
            moved.requests += weight
            moved.why[pair.why] += weight
            moved.rules[pair.rules] += weight
            _add_cost(moved.cost, pair, lines)


def _add_effects(found: Comparison, pair: _Pair, lines: Lines) -> None:
    old, new = pair.old, pair.new
    if not isinstance(old, Served) or not isinstance(new, Served):
        return
    if not _add_cost(found.cost, pair, lines):
        found.unpriced += lines.weight
    found.p50.add(lines, old.p50, new.p50)
    found.p95.add(lines, old.p95, new.p95)
    if old.model == new.model and old.deployment != new.deployment:
        found.rehosted += lines.weight


def _add_cost(cost: Paired, pair: _Pair, lines: Lines) -> bool:
    """False where there is nothing to compare."""
    old, new = pair.old, pair.new
    if isinstance(old, Served) and isinstance(new, Served) and old.usd is not None and new.usd is not None:
        cost.add(lines, old.usd, new.usd)
        return True
    return False


def _add_risks(found: Comparison, pair: _Pair, weight: int) -> None:
    old, new = pair.old, pair.new
    if pair.lowered:
        found.lowered[pair.lowered] += weight
    if pair.below:
        found.below[_model(new)] += weight
    match old, new:
        case Served(), Unserved(refused_by=""):
            count(found.unserved, new.reason, weight)
        case Served() | Unserved(refused_by=""), Unserved():
            if new.refused_by:
                found.refused[new.refused_by] += weight
        case Unserved(), Served() | Unserved(refused_by=""):
            if old.refused_by:
                found.admitted[old.refused_by] += weight
        case _:
            pass
