"""Log lines as those who collect them see them: one JSON object each, whatever was logged."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from proxy import logs

Lines = Callable[[], list[dict[str, Any]]]
GLOBALS = ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing")


@contextmanager
def kept() -> Iterator[None]:
    """Leaves logging as it was. Not a fixture: pytest's own handlers are others while it sets up."""
    root, ours = logging.getLogger(), logging.getLogger("muxel")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    with pytest.MonkeyPatch.context() as patch:
        for name in GLOBALS:
            patch.setattr(logging, name, getattr(logging, name))
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(levels[0])
            ours.setLevel(levels[1])


@contextmanager
def installed(level: str = "info") -> Iterator[Lines]:
    stream = StringIO()
    with kept():
        logs.install(level, stream)
        yield lambda: [json.loads(line) for line in stream.getvalue().removesuffix("\n").split("\n")]


def test_a_line_says_when_how_grave_who_and_what_beside_its_fields() -> None:
    with installed() as lines:
        logging.getLogger("muxel.serve").warning("draining %s", "now", extra={"fields": {"seconds": 2.5, "n": None}})
    (line,) = lines()
    time = datetime.fromisoformat(line.pop("time"))
    assert time.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - time).total_seconds()) < 60
    assert line == {"level": "warning", "logger": "muxel.serve", "message": "draining now", "seconds": 2.5, "n": None}


def test_an_exception_is_told_with_its_traceback_in_the_same_line() -> None:
    def fail() -> None:
        raise ZeroDivisionError("two\nlines")

    with installed() as lines:
        try:
            fail()
        except ZeroDivisionError:
            logging.getLogger("muxel.app").exception("request %s failed", "ab12")
    (line,) = lines()
    assert (line["level"], line["message"]) == ("error", "request ab12 failed")
    assert line["exception"].startswith("Traceback")
    assert "in fail" in line["exception"]
    assert line["exception"].endswith("ZeroDivisionError: two\nlines")


LEVELS = ("debug", "info", "warning", "error")


@pytest.mark.parametrize("level", LEVELS)
def test_ours_are_told_from_the_level_asked_for_and_libraries_from_warning(level: str) -> None:
    with installed(level) as lines:
        for name in ("muxel.watch", "aiohttp.access"):
            for grave in LEVELS:
                getattr(logging.getLogger(name), grave)("something")
    told = {
        name: [line["level"] for line in lines() if line["logger"] == name]
        for name in ("muxel.watch", "aiohttp.access")
    }
    assert told == {"muxel.watch": list(LEVELS[LEVELS.index(level) :]), "aiohttp.access": ["warning", "error"]}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Path("a/b.yaml"), "a/b.yaml"),
        (ValueError("no"), "no"),
        (("a", "b"), ["a", "b"]),
        ("policy-\udcff.yaml", "policy-\udcff.yaml"),  # how Python names a file that is not UTF-8
        ("one\ntwo \u2028 three", "one\ntwo \u2028 three"),
    ],
)
def test_no_value_costs_a_line_or_makes_two(value: object, told: object) -> None:
    with installed() as lines:
        logging.getLogger("muxel.serve").info("loaded %s", value, extra={"fields": {"source": value}})
    (line,) = lines()
    assert line["source"] == told
    assert line["message"] == f"loaded {value}"


def test_installed_twice_tells_once_and_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with kept():
        logs.install("info")
        logs.install("info")
        logging.getLogger("muxel.cli").info("hello")
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["message"] == "hello"
