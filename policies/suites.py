"""The tests that stand beside policies: found in the documents in force, and their names checked against the rest.

``load`` calls it where tests are wanted, which is never while serving. What a test says is ``cases``; what came of it
is ``verify``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from policies import schema
from policies.cases import Case, PolicyTest
from policies.check import Names, means_any, unknown
from policies.parse import Document, Path
from policies.problems import Problem, excerpt
from policies.validate import spell

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Placed:
    """One test and where it stands. ``suite`` is the name of its document, ``policy`` the one that is asked."""

    case: Case
    suite: str
    policy: str
    document: Document
    path: Path  # of the test in its document

    @property
    def file(self) -> str:
        return self.document.file

    def place(self, *path: str | int) -> tuple[int, int]:
        """Line and column of the test, or of a part of it."""
        return self.document.locate((*self.path, *path))


def placed(document: Document, spec: PolicyTest | schema.RoutingPolicy) -> Iterator[Placed]:
    """The tests of one document. Those inside a policy are of that policy."""
    own = spec.metadata.name if isinstance(spec, schema.RoutingPolicy) else ""
    for index, case in enumerate(spec.spec.tests):
        policy = own or case.policy or case.request.policy or DEFAULT
        yield Placed(case, spec.metadata.name, policy, document, ("spec", "tests", index))


def check_cases(
    document: Document,
    spec: PolicyTest | schema.RoutingPolicy,
    names: Names,
    rules: Mapping[str, frozenset[str] | None],
    tasks: frozenset[str] | None,
) -> Iterator[Problem]:
    """``rules`` are the names of the rules of every policy, None for a policy that is not valid; ``tasks`` as in
    ``load_documents``."""
    seen: dict[str, Path] = {}
    for one in placed(document, spec):
        first = seen.setdefault(one.case.name, one.path)
        if first != one.path:
            line, column = document.locate((*first, "name"))
            where = (*one.path, "name")
            told = f'{spell(where)} "{excerpt(one.case.name)}" is already the name of the test at {line}:{column}'
            yield document.problem(where, told)
        yield from _check_policy(one, isinstance(spec, schema.RoutingPolicy), rules)
        yield from _check_names(one, names)
        if tasks is not None:
            yield from _check_tasks(one, tasks)


def _check_policy(one: Placed, inside: bool, rules: Mapping[str, frozenset[str] | None]) -> Iterator[Problem]:
    case, document = one.case, one.document
    given = [(path, name) for path, name in _policies(case) if name]
    for path, name in given:
        where = (*one.path, *path)
        if inside:
            yield document.problem(where, f"{spell(where)}: a test inside a policy is of that policy")
        elif name not in rules:
            yield unknown(document, where, "policy", name, rules)
    if len(given) > 1 and not inside:
        where = (*one.path, "policy")
        yield document.problem(where, f"{spell(where)} is told twice: request.policy names one too")
    known, rule = rules.get(one.policy), case.expect.rule
    if rule and known is not None and rule not in known:
        yield unknown(document, (*one.path, "expect", "rule"), "rule", rule, known)


def _policies(case: Case) -> tuple[tuple[Path, str], ...]:
    return (("policy",), case.policy or ""), (("request", "policy"), case.request.policy)


def _check_names(one: Placed, names: Names) -> Iterator[Problem]:
    """Every name means something in force: otherwise a test could pass because of a slip."""
    case, expect = one.case, one.case.expect
    not_routed = expect.not_routed if isinstance(expect.not_routed, tuple) else ()
    lists: tuple[tuple[Path, Iterable[str]], ...] = (
        (("unavailable",), case.unavailable),
        (("expect", "model"), expect.model or ()),
        (("expect", "candidates"), expect.candidates or ()),
        (("expect", "notRouted"), not_routed),
    )
    for path, globs in lists:
        for index, glob in enumerate(globs):
            if not means_any(glob, names.models):
                yield unknown(one.document, (*one.path, *path, index), "model", glob, names.models)
    for index, glob in enumerate(expect.provider or ()):
        if not means_any(glob, names.providers):
            where = (*one.path, "expect", "provider", index)
            yield unknown(one.document, where, "provider", glob, names.providers)
    for path, keys in ((("health",), case.health), (("expect", "rejected"), expect.rejected or {})):
        for glob in keys:
            if not means_any(glob, names.models):
                yield unknown(one.document, (*one.path, *path, glob), "model", glob, names.models, key=True)


def _check_tasks(one: Placed, tasks: frozenset[str]) -> Iterator[Problem]:
    traits = one.case.request.traits
    found: list[tuple[Path, str]] = [
        (("expect", "task", index), task) for index, task in enumerate(one.case.expect.task or ())
    ]
    if traits:
        found.append((("request", "traits", "task"), traits.task))
        found += [(("request", "traits", "tasks", task), task) for task in traits.tasks]
    for path, task in found:
        if task not in tasks:
            yield unknown(one.document, (*one.path, *path), "task", task, tasks)
