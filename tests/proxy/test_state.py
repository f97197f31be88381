"""The configuration in force, through good and bad reloads."""

from collections.abc import Callable
from pathlib import Path

import pytest

from policies.load import Config, ConfigError, Problem, load_documents
from proxy.snapshot import snapshot
from proxy.state import Reload, State

GOOD = "apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {name: default}\nspec: {objective: %s}\n"
BAD = GOOD % "cheepest"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD % "cheapest")
    return file


@pytest.fixture
def state(file: Path) -> State:
    return State(lambda: load_documents(snapshot([file]), {}, shipped=False))


def test_nothing_is_in_force_before_the_first_good_load(file: Path, state: State) -> None:
    file.write_text(BAD)
    assert not state.reload(1.0).ok
    assert state.current is None
    assert state.last_success_timestamp == 0.0
    file.write_text(GOOD % "cheapest")
    assert state.reload(2.0).changed
    assert state.current is not None


def test_a_bad_reload_keeps_the_last_good_configuration_and_a_good_one_clears_the_alarm(
    file: Path, state: State
) -> None:
    first = state.reload(1.0)
    good = state.current
    assert first.ok
    assert first.changed

    file.write_text(BAD)
    refused = state.reload(2.0)
    assert (refused.ok, refused.changed, refused.hash, refused.at) == (False, False, first.hash, 2.0)
    assert refused.problems == state.problems
    assert (state.problems[0].file, state.problems[0].line) == (str(file), 4)
    assert state.current is good
    assert not state.last_reload_successful
    assert state.last_success_timestamp == 1.0

    file.write_text(GOOD % "fastest")
    mended = state.reload(3.0)
    assert state.current is not None
    assert state.current is not good
    assert mended == Reload(ok=True, changed=True, hash=state.current.hash, problems=(), at=3.0)
    assert state.last_reload_successful
    assert state.problems == ()
    assert state.last_success_timestamp == 3.0
    assert (state.reloads_total, state.reloads_failed_total) == (3, 1)


def test_the_same_content_swaps_nothing_but_clears_the_alarm(file: Path, state: State) -> None:
    state.reload(1.0)
    good = state.current
    file.write_text(BAD)
    state.reload(2.0)
    file.write_text("# a comment\n" + GOOD % "cheapest")
    assert not state.reload(3.0).changed
    assert state.current is good
    assert state.last_reload_successful


def raising(error: Exception) -> Callable[[], Config]:
    def load() -> Config:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ConfigError([Problem("a.yaml", 3, 7, "no")]), "a.yaml:3:7: no"),
        (PermissionError(13, "Permission denied", "a.yaml"), "a.yaml:1:1: cannot be read: Permission denied"),
        (OSError("still changing after 10 tries"), "configuration:1:1: cannot be read: still changing after 10 tries"),
    ],
)
def test_what_cannot_be_loaded_is_a_problem_and_not_an_exception(error: Exception, problem: str) -> None:
    state = State(raising(error))
    assert [str(one) for one in state.reload(1.0).problems] == [problem]


def test_a_bug_in_the_loader_is_not_taken_for_a_bad_policy() -> None:
    with pytest.raises(ZeroDivisionError):
        State(raising(ZeroDivisionError())).reload(1.0)


def test_a_request_in_flight_keeps_the_snapshot_it_took(file: Path, state: State) -> None:
    state.reload(1.0)
    taken = state.current
    file.write_text(GOOD % "best")
    state.reload(2.0)
    assert taken is not None
    assert taken.policies["default"].objective == "cheapest"
    assert state.current is not None
    assert state.current.policies["default"].objective == "best"
