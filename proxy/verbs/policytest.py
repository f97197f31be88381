"""The verb test: the tests that stand beside policies, for people and for CI systems."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from policies.classify import load_lexicon
from policies.load import Config, ConfigError, load_documents
from policies.problems import Problem
from proxy.configuration import WIRE_FACTS
from proxy.policytest import report
from proxy.policytest.junit import junit
from proxy.policytest.run import Outcome, run
from proxy.policytest.sarif import of_failures, of_problems, sarif
from proxy.snapshot import snapshot
from proxy.state import unreadable
from proxy.verbs.output import OK, PROBLEM, USAGE, fail, print_json, refuse
from proxy.verbs.trees import configurations, missing


def test(arguments: argparse.Namespace) -> int:
    """1 where a test fails, where a configuration does not load, and where there is no test at all."""
    policy: list[Path] = arguments.policy or []
    if told := missing([*arguments.paths, *policy]):
        return fail(told, USAGE)
    tasks = load_lexicon().tasks()
    outcomes: list[Outcome] = []
    hashes: list[str] = []
    problems: list[Problem] = []
    for paths in configurations(arguments.paths):
        try:
            config = _config(paths, policy, tasks)
            outcomes += run(config, time.time(), time.perf_counter)
            hashes.append(config.hash)
        except ConfigError as error:
            problems += error.problems
        except OSError as error:
            problems.append(unreadable(error))
    if not outcomes and not problems:
        problems.append(Problem(str(arguments.paths[0]), 1, 1, "there is no test here"))
    told_once = ConfigError(problems).problems  # in reading order
    try:
        _write(arguments, outcomes, told_once)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", USAGE)
    _tell(arguments, outcomes, told_once, hashes[0] if len(hashes) == 1 else None)
    return OK if not told_once and all(one.passed for one in outcomes) else PROBLEM


def _config(paths: Sequence[Path], policy: Sequence[Path], tasks: frozenset[str]) -> Config:
    """The configuration of all these paths, with the tests of ``paths`` alone. Raises ConfigError, OSError."""
    files = snapshot(paths, tests=True)
    around = {name: content for name, content in snapshot(policy).items() if name not in files}
    config = load_documents({**around, **files}, WIRE_FACTS, tasks=tasks, tests=True)
    return replace(config, tests=tuple(one for one in config.tests if one.file in files))


def _write(arguments: argparse.Namespace, outcomes: Sequence[Outcome], problems: Sequence[Problem]) -> None:
    if arguments.junit:
        arguments.junit.write_bytes(junit(outcomes, problems))
    if arguments.sarif:
        arguments.sarif.write_bytes(sarif(of_problems(problems) + of_failures(outcomes)))


def _tell(
    arguments: argparse.Namespace, outcomes: Sequence[Outcome], problems: Sequence[Problem], hash: str | None
) -> None:
    if arguments.json:
        print_json(report.as_dict(outcomes, hash, problems))
        return
    if outcomes:
        print("\n".join(report.lines(outcomes)))
    if problems:
        refuse(problems)
