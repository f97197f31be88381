"""Findings as SARIF 2.1.0, as code scanning reads it: mistakes in documents, and tests that failed, at their lines.

``verbs.policytest`` and ``verbs.catalog`` (``muxel check``) write with it. Beyond what the standard asks for it has
what GitHub does (docs.github.com, "SARIF support for code scanning", seen 2026-11): short and full descriptions and
help for every rule, a whole region, and a fingerprint that stays when lines above move.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from policies.problems import Problem
from proxy.policytest.report import failure
from proxy.policytest.run import Outcome

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
CONFIGURATION, TEST = "muxel/configuration", "muxel/policy-test"

_RULES = {
    CONFIGURATION: (
        "Mistake in a Muxel document",
        "A policy, catalog, provider or test that Muxel refuses to load. A running Muxel keeps its last good one.",
        "Run `muxel check` on the same paths: every mistake is told with the nearest right spelling.",
    ),
    TEST: (
        "Policy test failed",
        "The policies in force do not do with a request what a test beside them expects.",
        "Run `muxel test` on the same paths: it tells what was expected, what was decided, and why. Mend the policy, "
        "or the test where it is the expectation that has changed.",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. ``identity`` is what makes it the same finding when the lines around it change."""

    rule: str
    file: str
    line: int
    column: int
    message: str
    identity: str


def of_problems(problems: Iterable[Problem]) -> list[Finding]:
    return [
        Finding(CONFIGURATION, one.file, one.line, one.column, one.message, f"{one.file}\0{one.message}")
        for one in problems
    ]


def of_failures(outcomes: Iterable[Outcome]) -> list[Finding]:
    findings = []
    for one in outcomes:
        if not one.passed:
            told = "\n".join((f"{one.test.case.name}", *failure(one)))
            identity = f"{one.test.file}\0{one.test.suite}\0{one.test.case.name}"
            findings.append(Finding(TEST, one.test.file, *one.place, told, identity))
    return findings


def sarif(findings: Iterable[Finding]) -> bytes:
    """The log of one run. Files below the working directory are told relative to it."""
    rules = list(_RULES)
    driver = {
        "name": "muxel",
        "semanticVersion": version("muxel"),
        "rules": [_rule(name) for name in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, rules.index(one.rule)) for one in findings],
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return orjson.dumps(log, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _rule(name: str) -> dict[str, Any]:
    short, full, help = _RULES[name]
    return {
        "id": name,
        "name": "".join(word.capitalize() for word in name.replace("/", "-").split("-")),
        "shortDescription": {"text": short},
        "fullDescription": {"text": full},
        "help": {"text": help, "markdown": help},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["configuration"], "precision": "very-high", "problem.severity": "error"},
    }


def _result(one: Finding, index: int) -> dict[str, Any]:
    region = {"startLine": one.line, "startColumn": one.column, "endLine": one.line, "endColumn": one.column + 1}
    return {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": one.message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(one.file)}, "region": region}}],
        "partialFingerprints": {
            "primaryLocationLineHash": blake2b(
                f"{one.rule}\0{one.identity}".encode("utf-8", "surrogateescape"), digest_size=8
            ).hexdigest()
            + ":1"
        },
    }


def _uri(file: str) -> str:
    """Relative to the working directory where it is below it, so that it is a path of the repository."""
    path = Path(file)
    if path.is_absolute():
        here = Path.cwd()
        if not path.is_relative_to(here):
            return "file://" + quote(path.as_posix())
        path = path.relative_to(here)
    return quote(path.as_posix())
