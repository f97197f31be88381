"""What came of tests, as lines for a person and as the JSON of ``muxel test --json``.

Called by ``verbs.policytest``; ``junit`` and ``sarif`` use the lines of one failure. No word of a request is repeated
but the name of its test.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from policies.problems import Problem
from policies.verify import Mismatch, outcome
from proxy.policytest.run import Outcome, applied

_WIDE = 12  # of the column of keys


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Every failure with its place first, for editors to find, and a summary."""
    failed = [one for one in outcomes if not one.passed]
    for one in failed:
        line, column = one.place
        yield f"{one.test.file}:{line}:{column}: FAILED {one.test.case.name}"
        yield from (f"    {told}" for told in failure(one))
        yield ""
    files = len({one.test.file for one in outcomes})
    where = f"in {files} file{'s' * (files != 1)}"
    tests = f"{len(outcomes)} test{'s' * (len(outcomes) != 1)}"
    yield f"{len(failed)} of {tests} {where} failed" if failed else f"ok: {tests} {where}"


def failure(one: Outcome) -> Iterator[str]:
    """Expected and got for everything that does not hold, then what the decision says of itself."""
    for mismatch in one.mismatches:
        yield from _mismatch(mismatch)
    if one.decision.candidates or one.decision.refusal:  # else the reason says it all
        yield _row("decided", outcome(one.decision))
    yield _row("reason", one.decision.reason)
    yield _row("policy", f"{one.test.policy}; {'; '.join(applied(one)) or 'no rules'}")


def _mismatch(mismatch: Mismatch) -> Iterator[str]:
    yield _row(mismatch.field, f"expected  {mismatch.expected}")
    yield _row("", f"got       {mismatch.got}")
    yield from (_row("", f"          {line}") for line in mismatch.because)


def _row(name: str, text: str) -> str:
    return f"{name:<{_WIDE}}{text}"


def summary(one: Outcome) -> str:
    """A failure in one line."""
    return "; ".join(f"{found.field}: expected {found.expected}, got {found.got}" for found in one.mismatches)


def as_dict(outcomes: Iterable[Outcome], hash: str | None, problems: Iterable[Problem]) -> dict[str, Any]:
    """The stable JSON shape; keys are only ever added. ``hash`` is None where there is no one configuration."""
    rows = [_as_dict(one) for one in outcomes]
    told = [asdict(problem) for problem in problems]
    failed = sum(not row["ok"] for row in rows)
    ok = bool(rows) and not failed and not told
    return {"ok": ok, "hash": hash, "total": len(rows), "failed": failed, "tests": rows, "problems": told}


def _as_dict(one: Outcome) -> dict[str, Any]:
    line, column = one.place
    chosen = one.decision.candidates[0] if one.decision.candidates else None
    return {
        "name": one.test.case.name,
        "suite": one.test.suite,
        "file": one.test.file,
        "line": line,
        "column": column,
        "ok": one.passed,
        "failures": [asdict(mismatch) for mismatch in one.mismatches],
        "policy": one.test.policy,
        "rule": one.decision.rule,
        "rules": [{"name": name, "applies": holds} for name, holds in one.trace],
        "task": one.decision.traits.task,
        "tier": one.decision.tier.value,
        "chosen": chosen.deployment.id if chosen else None,
        "price_usd": chosen.price_usd if chosen else None,
        "refusal": one.decision.refusal,
        "reason": one.decision.reason,
    }
