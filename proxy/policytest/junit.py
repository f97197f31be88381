"""What came of tests as JUnit XML, as CI systems read it: a suite a file, a case a test, with its file and line.

Called by ``verbs.policytest``. There is no standard; this is the common ground of Jenkins, GitLab, GitHub actions and
pytest's own output: ``testsuites`` > ``testsuite`` > ``testcase`` > ``failure`` | ``error``.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from policies.problems import Problem
from proxy.policytest.report import failure, summary
from proxy.policytest.run import Outcome

# What XML 1.0 cannot hold, not even escaped.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(outcomes: Sequence[Outcome], problems: Sequence[Problem]) -> bytes:
    """Problems of the configuration are cases of their file that ended with an error."""
    root = Element("testsuites", name="muxel test")
    for file, tests in groupby(sorted(outcomes, key=_file), key=_file):
        _suite(root, file, [_case(one) for one in tests])
    for file, found in groupby(sorted(problems, key=lambda problem: problem.file), key=lambda problem: problem.file):
        _suite(root, file, [_error(problem) for problem in found])
    _count(root, list(root))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return text + b"\n"


def _file(one: Outcome) -> str:
    return one.test.file


def _suite(root: Element, file: str, cases: Iterable[Element]) -> None:
    suite = SubElement(root, "testsuite", name=_text(file))
    suite.extend(cases)
    ran = suite.findall("testcase")
    suite.set("tests", str(len(ran)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    suite.set("skipped", "0")
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in ran):.6f}")


def _count(root: Element, suites: Sequence[Element]) -> None:
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in suites)))
    root.set("time", f"{sum(float(suite.get('time', 0)) for suite in suites):.6f}")


def _case(one: Outcome) -> Element:
    line, _ = one.place
    case = _element(one.test.case.name, one.test.suite, one.test.file, line, one.seconds)
    if not one.passed:
        told = SubElement(case, "failure", type="muxel.test", message=_text(summary(one)))
        told.text = _text("\n".join(failure(one)))
    return case


def _error(problem: Problem) -> Element:
    case = _element(f"line {problem.line}, column {problem.column}", "configuration", problem.file, problem.line, 0.0)
    told = SubElement(case, "error", type="muxel.configuration", message=_text(problem.message))
    told.text = _text(str(problem))
    return case


def _element(name: str, suite: str, file: str, line: int, seconds: float) -> Element:
    return Element(
        "testcase", name=_text(name), classname=_text(suite), file=_text(file), line=str(line), time=f"{seconds:.6f}"
    )


def _text(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
