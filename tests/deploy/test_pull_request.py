"""deploy/pull-request: what it tells people to run exists, and the tests it shows are valid."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from time import perf_counter, time
from typing import Any

import pytest
import yaml

from policies.cases import Expect
from policies.lexicon import load_lexicon
from policies.load import load_documents
from proxy.cli import _parser
from proxy.configuration import WIRE_FACTS
from proxy.policytest.run import run
from proxy.settings import Settings

HERE = Path(__file__).parents[2] / "deploy" / "pull-request"
README = (HERE / "README.md").read_text("utf-8")


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((HERE / name).read_text("utf-8"))
    return document


def commands() -> Iterator[str]:
    for step in read("github.yaml")["jobs"]["policies"]["steps"]:
        if "$MUXEL" in step.get("run", ""):
            yield step["run"].replace("$MUXEL", "muxel")
    yield from read("gitlab.yaml")["policies"]["script"]
    yield from (line.replace("FILE", "traffic.jsonl") for line in re.findall(r"`(muxel [^`]+)`", README))


@pytest.mark.parametrize("command", [*commands()])
def test_every_command_is_one_that_muxel_takes(command: str) -> None:
    _, *argv = shlex.split(command.partition(" > ")[0])
    _parser().parse_args(argv)


def test_the_tests_shown_are_valid_and_hold() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    config = load_documents({"shown.test.yaml": shown}, WIRE_FACTS, tasks=load_lexicon().tasks(), tests=True)
    failed = [outcome.test.case.name for outcome in run(config, time(), perf_counter) if not outcome.passed]
    assert failed == []


def test_every_expectation_limit_and_variable_is_told() -> None:
    told = set(re.findall(r"`([\w-]+)[^`]*`", README))
    assert {field.alias for field in Expect.model_fields.values()} <= told
    assert {f"MUXEL_{one.name.upper()}" for one in fields(Settings) if one.name.startswith("record")} <= told
    limits = re.findall(r"--(?:max|no)-[a-z-]+", _parser().format_help() + _help("diff"))
    assert set(limits) <= set(re.findall(r"--[a-z-]+", README))


def _help(verb: str) -> str:
    choices: Any = _parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    text: str = choices[verb].format_help()
    return text
