"""What no single field can tell: names that must exist elsewhere, figures that must fit each other, names used twice.

Called by ``load`` with the documents in force, after each was validated by itself. Only documents that are valid are
looked into; the names of the others count, so that one mistake does not make ten.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from adapters.ir import Operation
from policies import schema, supply
from policies.compile import deployment_ids
from policies.expressions import mistake
from policies.globs import names as meant_by
from policies.lexicon import as_heard
from policies.parse import Document, Path
from policies.problems import Problem, did_you_mean, excerpt
from policies.validate import spell
from policies.when import Engineless, mistakes
from policies.windows import zone, zones

DEFAULT = "default"  # the policy of every request that names no other
ACTIONS = ("use", "require", "prefer", "avoid")


@dataclass(frozen=True, slots=True)
class WireFacts:
    """What the provider face of a wire can send, and the option keys a deployment may set for it."""

    operations: frozenset[Operation]
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class Names:
    """Every name in force that another document may use, by the key of ``Selector`` that uses it."""

    models: frozenset[str]  # ids, aliases, ids of deployments, and model@provider
    providers: frozenset[str]
    vendors: frozenset[str]
    regions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model in force, and where it stands: ``path`` is that of the model in its document."""

    document: Document
    path: Path
    model: supply.Model
    shipped: bool


# -------------------------------------------------------------------------------------------------------------- names


def names_of(documents: Iterable[Document]) -> Names:
    """The names these documents bring, valid or not."""
    models: set[str] = set()
    providers: set[str] = set()
    vendors: set[str] = set()
    regions: set[str] = set()
    for document in documents:
        if _text(document.data, "kind") == "Provider":
            providers.add(_text(_inner(document.data, "metadata"), "name"))
        for model in _list(_inner(document.data, "spec"), "models"):
            hosts = [
                (_text(host, "provider"), _text(host, "remote"), _text(host, "region"))
                for host in _list(model, "deployments")
            ]
            models.update(deployment_ids(_text(model, "id"), hosts), {_text(model, "id")})
            models.update(f"{_text(model, 'id')}@{provider}" for provider, _, _ in hosts)
            models.update(alias for alias in _list(model, "aliases") if isinstance(alias, str))
            vendors.add(_text(model, "vendor"))
            regions.update(region for _, _, region in hosts)
    return Names(*(frozenset(names - {""}) for names in (models, providers, vendors, regions)))


def _inner(data: object, key: str) -> object:
    return data.get(key) if isinstance(data, Mapping) else None


def _text(data: object, key: str) -> str:
    value = _inner(data, key)
    return value if isinstance(value, str) else ""


def _list(data: object, key: str) -> list[object]:
    value = _inner(data, key)
    return value if isinstance(value, list) else []


# ----------------------------------------------------------------------------------------------------------- providers


def check_provider(document: Document, provider: supply.Provider, wires: Mapping[str, WireFacts]) -> Iterator[Problem]:
    if provider.spec.wire not in wires:
        yield unknown(document, ("spec", "wire"), "wire", provider.spec.wire, wires)


# -------------------------------------------------------------------------------------------------------------- lexicon


def check_lexicon(document: Document, lexicon: schema.TaskLexicon, shipped: Mapping[str, Any]) -> Iterator[Problem]:
    """``shipped`` is lexicon.yaml: a task there is keeps its group, and says nothing twice."""
    ignored = frozenset(shipped["ignored"])
    for task, more in lexicon.spec.tasks.items():
        path: Path = ("spec", "tasks", task)
        known = shipped["tasks"].get(task)
        if known is None and more.group is None:
            yield document.problem(
                path, f"{spell(path)} is a new task and needs a group: image, edit or video", key=True
            )
        elif known is not None and more.group not in (None, known["group"]):
            yield document.problem((*path, "group"), f"{spell((*path, 'group'))} must be {known['group']}, as shipped")
        heard = (
            {as_heard(phrase, ignored) for listed in known["phrases"].values() for phrase in listed} if known else set()
        )
        for weight, listed in document.data["spec"]["tasks"][task]["phrases"].items():
            for index, phrase in enumerate(listed):
                where = (*path, "phrases", weight, index)
                try:
                    key = as_heard(phrase, ignored)
                except ValueError as error:
                    yield document.problem(where, f"{spell(where)} {error}")
                    continue
                if key in heard:
                    yield document.problem(where, f"{spell(where)} {excerpt(phrase)!r} is there already for this task")
                heard.add(key)


# -------------------------------------------------------------------------------------------------------------- models


def check_models(
    entries: Sequence[Entry],
    providers: Mapping[str, supply.Provider],
    known: frozenset[str] | None,
    wires: Mapping[str, WireFacts],
    tasks: frozenset[str] | None,
) -> Iterator[Problem]:
    """``known`` are the names of all providers, valid or not; ``tasks`` those of all tasks. None: any name will do.

    An operation that no wire can send yet may be listed anywhere; one that some can send, only where the wire can.
    """
    sendable = frozenset[Operation]().union(*(facts.operations for facts in wires.values()))
    for entry in entries:
        yield from _check_model(entry, tasks)
        for index, host in enumerate(entry.model.deployments):
            path = (*entry.path, "deployments", index)
            yield from _check_deployment(entry, path, host)
            if known is not None and host.provider not in known:
                yield unknown(entry.document, (*path, "provider"), "provider", host.provider, known)
            elif (provider := providers.get(host.provider)) and (facts := wires.get(provider.spec.wire)):
                yield from _check_options(entry, path, host, provider.spec.wire, facts)
                yield from _check_operations(entry, path, host, provider.spec.wire, sendable - facts.operations)


def _check_model(entry: Entry, tasks: frozenset[str] | None) -> Iterator[Problem]:
    document, path, model = entry.document, entry.path, entry.model
    for task, score in model.quality.items():
        where = (*path, "quality", task)
        if tasks is not None and task not in (*tasks, "general"):
            hint = did_you_mean(task, (*tasks, "general"))
            yield document.problem(where, f"{spell(where)} is not a known task{hint}", key=True)
        if score.p25 > score.score:
            where = (*where, "p25")
            yield document.problem(where, f"{spell(where)} {score.p25:g} is above score {score.score:g}")
    if model.released and model.retires and model.retires < model.released:
        where = (*path, "retires")
        yield document.problem(where, f"{spell(where)} is before released {model.released}")
    yield from _check_limits(document, (*path, "limits"), model.limits)
    seen: dict[tuple[str, str, str], int] = {}
    for index, host in enumerate(model.deployments):
        first = seen.setdefault((host.provider, host.remote, host.region), index)
        if first != index:
            where = (*path, "deployments", index)
            line, column = document.locate((*path, "deployments", first))
            message = f"{spell(where)} has the provider, remote and region of the deployment at {line}:{column}"
            yield document.problem(where, message)


def _check_deployment(entry: Entry, path: Path, host: supply.Deployment) -> Iterator[Problem]:
    document = entry.document
    for index, operation in enumerate(host.operations or ()):
        if operation not in entry.model.operations:
            where = (*path, "operations", index)
            yield document.problem(where, f"{spell(where)} {operation} is not among the model's operations")
    if host.limits:
        yield from _check_limits(document, (*path, "limits"), host.limits)
    for key, price in (("price", host.price), ("editPrice", host.edit_price)):
        formula = price.formula if price else None
        if (
            isinstance(formula, supply.PerResolution | supply.PerResolutionSecond)
            and formula.default not in formula.usd
        ):
            where = (*path, key, "formula", "default")
            yield document.problem(where, f"{spell(where)} {formula.default} has no price in usd")
    if host.latency and host.latency.p95 < host.latency.p50:
        where = (*path, "latency", "p95")
        yield document.problem(where, f"{spell(where)} {host.latency.p95:g} is below p50 {host.latency.p50:g}")
    most = (host.limits or entry.model.limits).max_loras
    if len(host.loras) > most:
        where = (*path, "loras")
        yield document.problem(where, f"{spell(where)} has {len(host.loras)}, above maxLoras {most}")


def _check_limits(document: Document, path: Path, limits: supply.Limits) -> Iterator[Problem]:
    if limits.min_edge > limits.max_edge:
        where = (*path, "minEdge")
        yield document.problem(where, f"{spell(where)} {limits.min_edge} is above maxEdge {limits.max_edge}")
    if limits.min_references > limits.max_references:
        where = (*path, "minReferences")
        message = f"{spell(where)} {limits.min_references} is above maxReferences {limits.max_references}"
        yield document.problem(where, message)
    if limits.max_seconds is not None and limits.min_seconds > limits.max_seconds:
        where = (*path, "minSeconds")
        yield document.problem(
            where, f"{spell(where)} {limits.min_seconds:g} is above maxSeconds {limits.max_seconds:g}"
        )


def _check_options(entry: Entry, path: Path, host: supply.Deployment, wire: str, facts: WireFacts) -> Iterator[Problem]:
    document = entry.document
    for option in host.options:
        if option not in facts.options:
            where = (*path, "options", option)
            hint = did_you_mean(option, facts.options)
            yield document.problem(where, f"{spell(where)} is not an option of wire {wire}{hint}", key=True)


def _check_operations(
    entry: Entry, path: Path, host: supply.Deployment, wire: str, beyond: frozenset[Operation]
) -> Iterator[Problem]:
    """``beyond`` are the operations that other wires can send and this one cannot."""
    document = entry.document
    if host.operations is None:
        if unable := ", ".join(operation for operation in entry.model.operations if operation in beyond):
            message = f"wire {wire} cannot do {unable}: list the operations this deployment has"
            yield document.problem(path, f"{spell(path)}: {message}")
        return
    for index, operation in enumerate(host.operations):
        if operation in beyond:
            where = (*path, "operations", index)
            yield document.problem(where, f"{spell(where)}: wire {wire} cannot do {operation}")


# ------------------------------------------------------------------------------------------------------------ policies


def check_policy(document: Document, policy: schema.RoutingPolicy, tasks: frozenset[str] | None) -> Iterator[Problem]:
    tiers = policy.spec.tiers
    steps = (("draft", tiers.draft), ("standard", tiers.standard), ("premium", tiers.premium))
    for (lower, below), (upper, above) in pairwise(steps):
        if above.floor < below.floor:
            where: Path = ("spec", "tiers", upper, "floor")
            message = f"{spell(where)} {above.floor:g} is below the floor {below.floor:g} of {lower}"
            yield document.problem(where, message)
    seen: dict[str, int] = {}
    for index, rule in enumerate(policy.spec.rules):
        path: Path = ("spec", "rules", index)
        first = seen.setdefault(rule.name, index)
        if first != index:
            where = (*path, "name")
            line, column = document.locate(("spec", "rules", first, "name"))
            yield document.problem(
                where, f'{spell(where)} "{rule.name}" is already the name of the rule at {line}:{column}'
            )
        yield from _check_match(document, (*path, "match"), rule.match, tasks)
        if rule.when is not None:
            yield from _check_when(document, (*path, "when"), rule.when)
        if rule.rewrite:
            yield from _check_rewrite(document, (*path, "rewrite"), rule.rewrite)


def check_rollout(
    document: Document,
    policy: schema.RoutingPolicy,
    policies: Mapping[str, schema.RoutingPolicy],
    known: frozenset[str] | None,
) -> Iterator[Problem]:
    """``policies`` are the valid ones by name; ``known`` the names of all of them, None: any name will do."""
    rollout, name = policy.spec.rollout, policy.metadata.name
    if rollout is None:
        return
    path: Path = ("spec", "rollout")
    where: Path = (*path, "candidate")
    if rollout.candidate == name:
        yield document.problem(where, f"{spell(where)} is the policy itself")
    elif known is not None and rollout.candidate not in known:
        yield unknown(document, where, "policy", rollout.candidate, known - {name})
    elif (candidate := policies.get(rollout.candidate)) and candidate.spec.rollout:
        yield document.problem(where, f'{spell(where)} "{rollout.candidate}" rolls out a candidate of its own')
    if rollout.mode == "canary" and rollout.percent is None and not rollout.callers:
        yield document.problem(path, f"{spell(path)} needs percent or callers: a canary is for some requests")
    if name != DEFAULT and not rollout.named:
        message = f"no request takes part: whoever gets this policy names it; set {spell((*path, 'named'))}"
        yield document.problem(path, f"{spell(path)}: {message}")


def _check_match(
    document: Document, path: Path, match: schema.Match, tasks: frozenset[str] | None
) -> Iterator[Problem]:
    for index, task in enumerate(match.task or ()):
        if tasks is not None and task not in tasks:
            yield unknown(document, (*path, "task", index), "task", task, tasks)
    if match.prompt is not None and (wrong := mistake(match.prompt)):
        where = (*path, "prompt")
        yield document.problem_inside(where, wrong.offset, f"{spell(where)} {wrong.message}")
    for index, window in enumerate(match.during or ()):
        yield from _check_window(document, (*path, "during", index), window)
    for low, high, least, most in (
        ("minConfidence", "maxConfidence", match.min_confidence, match.max_confidence),
        ("minReferences", "maxReferences", match.min_references, match.max_references),
        ("minPixels", "maxPixels", match.min_pixels, match.max_pixels),
    ):
        if least is not None and most is not None and least > most:
            where = (*path, low)
            yield document.problem(where, f"{spell(where)} {least} is above {high} {most}: the rule never applies")


def _check_window(document: Document, path: Path, window: schema.Window) -> Iterator[Problem]:
    try:
        zone(window.time_zone)
    except ValueError:
        yield unknown(document, (*path, "timeZone"), "time zone", window.time_zone, zones())
    if window.begins == window.ends:
        message = f"{spell(path)} begins and ends at {window.begins}: leave both out for the whole day"
        yield document.problem(path, message)
    elif window.begins == "24:00":
        where = (*path, "from")
        yield document.problem(where, f"{spell(where)} is the end of a day: write 00:00, and the day after")


def _check_when(document: Document, path: Path, expression: str) -> Iterator[Problem]:
    try:
        for wrong in mistakes(expression):
            yield document.problem_inside(path, wrong.offset, f"{spell(path)} {wrong.message}")
    except Engineless as error:
        yield document.problem(path, f"{spell(path)} {error}")


def _check_rewrite(document: Document, path: Path, rewrite: schema.Rewrite) -> Iterator[Problem]:
    for key, value in (("aspect", rewrite.aspect), ("resolution", rewrite.resolution)):
        if rewrite.size and value:
            where = (*path, key)
            yield document.problem(where, f"{spell(where)} is said twice: size {rewrite.size} already says it")


def check_selectors(document: Document, policy: schema.RoutingPolicy, names: Names) -> Iterator[Problem]:
    """Every name in a selector means something in force: otherwise it is a slip, and ``deny`` would deny nothing."""
    spec = policy.spec
    selectors: list[tuple[Path, schema.Selector | None]] = [
        (("spec", "allow"), spec.allow),
        (("spec", "deny"), spec.deny),
    ]
    for index, rule in enumerate(spec.rules):
        selectors.extend((("spec", "rules", index, action), getattr(rule, action)) for action in ACTIONS)
    for path, selector in selectors:
        if selector is None:
            continue
        wanted = {key: getattr(selector, key) for key in ("models", "providers", "vendors", "regions")}
        if not any(wanted.values()):
            message = f"{spell(path)} selects nothing: give models, providers, vendors or regions"
            yield document.problem(path, message)
        for key, globs in wanted.items():
            known: frozenset[str] = getattr(names, key)
            for index, glob in enumerate(globs):
                if not means_any(glob, known):
                    yield unknown(document, (*path, key, index), key.removesuffix("s"), glob, known)


def means_any(glob: str, known: Iterable[str]) -> bool:
    """Whether ``glob`` is one of the names, or stands for one by its ``*``."""
    return any(map(meant_by((glob,)), known))


def unknown(
    document: Document, path: Path, what: str, name: str, known: Iterable[str], *, key: bool = False
) -> Problem:
    """``key``: it is the key at the end of ``path`` that names it."""
    hint = did_you_mean(name, known)
    return document.problem(path, f'{spell(path)} names the unknown {what} "{excerpt(name)}"{hint}', key=key)
