"""The verb test: what it tells whom, as golden files in ``policytest/``, and what ends it with which status."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from policies.load import ConfigError
from policies.problems import Problem
from proxy.configuration import load_config
from proxy.policytest.junit import junit
from proxy.policytest.sarif import of_problems, sarif
from proxy.snapshot import snapshot
from proxy.verbs.trees import configurations
from tests.proxy.commands import ran
from tests.proxy.test_cli import GOOD, ROOT, Ended

HERE = Path(__file__).parent / "policytest"
Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A verb in this process, where the golden files are."""
    monkeypatch.chdir(HERE)
    return partial(ran, capsys)


Golden = Callable[[str, str], None]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares with a file, without what differs from run to run: times, hashes of what is shipped, the version."""

    def compare(name: str, text: str) -> None:
        steady = re.sub(r'time="\d+\.\d+"', 'time="0"', text)
        steady = re.sub(r'("hash": ?)"[0-9a-f]{12}"', r'\1"HASH"', steady)
        steady = re.sub(r'("semanticVersion": ?)"[^"]*"', r'\1"VERSION"', steady)
        if request.config.getoption("--regold"):
            (HERE / name).write_text(steady, "utf-8")
        assert steady == (HERE / name).read_text("utf-8")

    return compare


# ------------------------------------------------------------------------------------------------------ what is told


@pytest.mark.parametrize("case", ["house", "broken"])
def test_what_is_told_to_people_and_machines_is_golden(run: Run, golden: Golden, tmp_path: Path, case: str) -> None:
    xml, log = tmp_path / "junit.xml", tmp_path / "sarif.json"
    lines = run("test", case, "--junit", xml, "--sarif", log)
    golden(f"{case}.out.txt", lines.out + lines.err)
    golden(f"{case}.junit.xml", xml.read_text("utf-8"))
    golden(f"{case}.sarif.json", log.read_text("utf-8"))
    as_json = run("test", case, "--json")
    golden(f"{case}.out.json", json.dumps(as_json.json, indent=2) + "\n")
    assert lines.status == as_json.status == 1
    assert as_json.err == ""


def test_check_tells_the_same_mistakes_as_sarif(run: Run, golden: Golden, tmp_path: Path) -> None:
    log = tmp_path / "sarif.json"
    assert run("check", "broken", "--sarif", log).status == 1
    golden("broken.sarif.json", log.read_text("utf-8"))
    assert run("check", "house", "--sarif", log).status == 0
    assert json.loads(log.read_text("utf-8"))["runs"][0]["results"] == []


def test_no_word_of_a_request_is_told(run: Run, tmp_path: Path) -> None:
    secret = (HERE / "house" / "refusals.test.yaml").read_text().replace("a house on fire", "Zanzibar")
    (tmp_path / "house.yaml").write_text((HERE / "house" / "house.yaml").read_text())
    (tmp_path / "secret.test.yaml").write_text(secret)
    paths = (tmp_path / "j.xml", tmp_path / "s.json")
    told = run("test", tmp_path, "--junit", paths[0], "--sarif", paths[1])
    assert told.status == 1
    assert "Zanzibar" not in told.out + told.err + "".join(path.read_text() for path in paths)


# ------------------------------------------------------------------------------------------------ what machines need


def sound(log: dict[str, Any]) -> None:
    """What GitHub asks of SARIF beyond the standard, and the standard of what is there."""
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    rules = driver["rules"]
    for rule in rules:
        assert re.fullmatch(r"muxel/[a-z-]+", rule["id"])
        for key in ("shortDescription", "fullDescription", "help"):
            assert rule[key]["text"]
        assert len(rule["shortDescription"]["text"]) <= 1024
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert rule["properties"]["problem.severity"] in ("error", "warning", "recommendation")
    prints = set()
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[\w.~%/:@!$&'()*+,;=-]+", uri)
        region = location["physicalLocation"]["region"]
        assert 1 <= region["startLine"] <= region["endLine"]
        assert 1 <= region["startColumn"] < region["endColumn"]
        assert re.fullmatch(r"[0-9a-f]{16}:1", result["partialFingerprints"]["primaryLocationLineHash"])
        prints.add(result["partialFingerprints"]["primaryLocationLineHash"])
    assert len(prints) == len(run["results"])


@pytest.mark.parametrize("case", ["house", "broken"])
def test_sarif_has_what_code_scanning_needs(case: str) -> None:
    sound(json.loads((HERE / f"{case}.sarif.json").read_text("utf-8")))


def test_a_file_below_the_working_directory_is_told_as_a_path_of_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["a b/ü.yaml", str(tmp_path / "in.yaml"), "/elsewhere/out.yaml"]
    log = json.loads(sarif(of_problems(Problem(file, 1, 1, file) for file in files)))
    sound(log)
    uris = [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in log["runs"][0]["results"]]
    assert uris == ["a%20b/%C3%BC.yaml", "in.yaml", "file:///elsewhere/out.yaml"]


def test_a_fingerprint_stays_when_the_lines_above_move() -> None:
    def print_of(line: int, message: str) -> str:
        (result,) = json.loads(sarif(of_problems([Problem("a.yaml", line, 3, message)])))["runs"][0]["results"]
        return str(result["partialFingerprints"]["primaryLocationLineHash"])

    assert print_of(1, "wrong") == print_of(40, "wrong") != print_of(1, "otherwise")


@pytest.mark.parametrize("case", ["house", "broken"])
def test_junit_counts_what_it_holds_and_names_the_line(case: str) -> None:
    root = ElementTree.fromstring((HERE / f"{case}.junit.xml").read_text("utf-8"))
    assert root.tag == "testsuites"
    for holder in (root, *root):
        cases = list(holder.iter("testcase"))
        assert int(holder.get("tests", -1)) == len(cases)
        assert int(holder.get("failures", -1)) == len(list(holder.iter("failure")))
        assert int(holder.get("errors", -1)) == len(list(holder.iter("error")))
        for one in cases:
            assert one.get("name")
            assert one.get("classname")
            line = (HERE / str(one.get("file"))).read_text("utf-8").splitlines()[int(one.get("line", 0)) - 1]
            assert case == "broken" or str(one.get("name")).split('"')[0] in line


def test_what_xml_cannot_hold_is_replaced() -> None:
    written = junit([], [Problem("a\x00.yaml", 1, 1, "\x1b[31m \ud800 <&>")])
    root = ElementTree.fromstring(written)
    assert root.find("testsuite/testcase/error").get("message") == "\ufffd[31m \ufffd <&>"  # type: ignore[union-attr]


# --------------------------------------------------------------------------------------------------------- the statuses


def test_the_shipped_policy_keeps_what_it_promises(run: Run) -> None:
    told = run("test", ROOT / "policies" / "defaults", "--json")
    assert (told.status, told.json["failed"]) == (0, 0)
    assert told.json["total"] >= 10


def test_tests_run_against_policies_elsewhere_whose_own_tests_do_not(run: Run, tmp_path: Path) -> None:
    tests = HERE / "house" / "more"
    alone = run("test", tests)
    assert alone.status == 1
    assert "house-fine" in alone.err
    told = run("test", tests, "--policy", "house", "--json")
    assert (told.status, [one["name"] for one in told.json["tests"]]) == (
        0,
        ["the fine one stands in for the quick one"],
    )


def test_no_test_is_a_failure_that_is_told_everywhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(GOOD)
    xml, log = tmp_path / "junit.xml", tmp_path / "sarif.json"
    ended = run("test", tmp_path, "--junit", xml, "--sarif", log)
    assert (ended.status, ended.out) == (1, "")
    assert f"{tmp_path}:1:1: there is no test here" in ended.err
    assert ElementTree.fromstring(xml.read_text()).get("errors") == "1"
    assert len(json.loads(log.read_text())["runs"][0]["results"]) == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("test",), "PATH"),
        (("test", "nowhere"), "nowhere: no such file or directory"),
        (("test", "house", "--policy", "nowhere"), "nowhere"),
        (("test", "house", "--junit", "nowhere/j.xml"), "nowhere/j.xml"),
        (("test", "house", "--sarif", "nowhere/s.json"), "nowhere/s.json"),
        (("check", "house", "--sarif", "nowhere/s.json"), "nowhere/s.json"),
    ],
)
def test_bad_usage_is_status_2(run: Run, argv: tuple[str, ...], told: str) -> None:
    ended = run(*argv)
    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err


def test_a_request_that_no_wire_would_let_through_is_a_mistake_in_the_test(run: Run, tmp_path: Path) -> None:
    suite = (HERE / "house" / "more" / "fallback.test.yaml").read_text()
    file = tmp_path / "a.test.yaml"
    file.write_text(suite.replace("{traits:", "{size: 99999x99999, traits:"))
    ended = run("test", file, "--policy", "house")
    assert ended.status == 1
    assert f"{file}:8:23: spec.tests[0].request: size: each edge must be between" in ended.err


# ------------------------------------------------------------------------------------------------- where tests may lie


def test_a_directory_of_tests_alone_belongs_to_the_configuration_around_it(tmp_path: Path) -> None:
    for place in ("one/tests/deep", "two", "none"):
        (tmp_path / place).mkdir(parents=True)
    for file in ("one/policy.yaml", "two/policy.yaml", "two/a.test.yaml", "one/tests/deep/a.test.yaml"):
        (tmp_path / file).write_text(GOOD)
    (tmp_path / "none/values.yaml").write_text("replicas: 2\n")
    one, two = tmp_path / "one", tmp_path / "two"
    assert configurations([tmp_path]) == [[tmp_path], [one, one / "tests/deep"], [two]]
    assert configurations([one, two]) == [[one, two, one / "tests/deep"]]
    assert configurations([tmp_path, two]) == [[tmp_path, two], [one, one / "tests/deep"]]


def test_who_only_serves_does_not_read_the_files_of_tests(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(GOOD)
    (tmp_path / "policy.test.yaml").write_text("apiVersion: muxel.dev/v1alpha1\nkind: PolicyTest\nspec: broken\n")
    assert load_config([tmp_path]).sources[0] == str(tmp_path / "policy.yaml")
    with pytest.raises(ConfigError, match=r"policy\.test\.yaml:3:7: spec must be a mapping"):
        load_config([tmp_path], tests=True)
    named = tmp_path / "policy.test.yaml"
    assert list(snapshot([named])) == [str(named)]
