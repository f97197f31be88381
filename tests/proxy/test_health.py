"""What live traffic says of a deployment: when it is believed and forgotten, and how fresh a decision sees it."""

from datetime import date

import pytest

from adapters.ir import Cause, Operation, Vote
from policies.catalog import Catalog, Credential, Deployment, Limits, Model, Provider
from policies.match import Breaker
from proxy.breaker import Breakers, Ticket
from proxy.health import ENOUGH, REFRESH, SAMPLES, STALE, HealthBook

BREAKER = Breaker(
    failure_rate=0.5, min_calls=2, window_seconds=60.0, open_seconds=30.0, half_open_trials=1, slow_seconds=None
)
MODEL = Model("flux", "bfl", frozenset(), frozenset({Operation.GENERATE}), {}, date(2026, 1, 1), None)
BFL = Provider("bfl", "bfl", "https://api.bfl.ai/v1", Credential(), None, None, (), 5.0, 60.0)
FLUX = Deployment(
    "flux@bfl", MODEL, BFL, "flux", MODEL.operations, price=None, edit_price=None, p50=5.0, p95=9.0, limits=Limits(),
    options={},
)  # fmt: skip
CATALOG = Catalog((FLUX,), {"flux": MODEL}, {"bfl": BFL}, {Operation.GENERATE: (FLUX,)}, {"flux": (FLUX,)})


@pytest.fixture
def breakers() -> Breakers:
    return Breakers(BREAKER)


@pytest.fixture
def book(breakers: Breakers) -> HealthBook:
    return HealthBook(breakers)


def attempt(breakers: Breakers, cause: Cause | None, now: float) -> None:
    ticket = breakers.admit(FLUX.id, "bfl", now)
    assert isinstance(ticket, Ticket)
    breakers.record(ticket, cause, now)


def test_of_a_deployment_that_was_never_called_nothing_is_known(book: HealthBook) -> None:
    assert book.view(CATALOG, 0.0) == {}


def test_measured_seconds_replace_the_prior_only_once_there_are_enough(book: HealthBook) -> None:
    for sample in range(ENOUGH - 1):
        book.record(FLUX.id, None, float(sample), 0.0)
    few = book.view(CATALOG, 1.0)[FLUX.id]
    assert (few.p50, few.p95, few.success) == (None, None, 1.0)
    book.record(FLUX.id, None, 100.0, 1.0)
    enough = book.view(CATALOG, 2.0)[FLUX.id]
    assert (enough.p50, enough.p95) == (4.0, 100.0)


def test_failures_lower_the_share_of_successes_and_say_nothing_of_the_time_to_a_picture(book: HealthBook) -> None:
    for _ in range(ENOUGH):
        book.record(FLUX.id, None, 2.0, 0.0)
        book.record(FLUX.id, Cause.UNAVAILABLE, 60.0, 0.0)
    health = book.view(CATALOG, 1.0)[FLUX.id]
    assert (health.p50, health.p95, health.success) == (2.0, 2.0, 0.5)


def test_stale_samples_do_not_speak(book: HealthBook) -> None:
    for _ in range(ENOUGH):
        book.record(FLUX.id, None, 2.0, 0.0)
    assert book.view(CATALOG, STALE)[FLUX.id].p50 == 2.0
    later = book.view(CATALOG, STALE + 1.0)[FLUX.id]
    assert (later.p50, later.p95, later.success) == (None, None, None)


def test_only_the_latest_samples_are_kept(book: HealthBook) -> None:
    for seconds in (50.0, 1.0):
        for _ in range(SAMPLES):
            book.record(FLUX.id, None, seconds, 0.0)
    assert book.view(CATALOG, 1.0)[FLUX.id].p95 == 1.0


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.vote is Vote.NEUTRAL])
def test_neutral_causes_are_ignored(book: HealthBook, cause: Cause) -> None:
    book.record(FLUX.id, cause, 60.0, 0.0)
    assert book.view(CATALOG, 1.0) == {}


def test_a_breaker_that_changes_shows_at_once(book: HealthBook, breakers: Breakers) -> None:
    assert book.view(CATALOG, 0.0) == {}
    for _ in range(BREAKER.min_calls):
        attempt(breakers, Cause.UNAVAILABLE, 0.0)
    opened = book.view(CATALOG, 0.0)[FLUX.id]
    assert not opened.available
    assert opened.detail == "open for 30 s more"


def test_a_denied_credential_speaks_for_every_deployment_behind_it(book: HealthBook, breakers: Breakers) -> None:
    attempt(breakers, Cause.DENIED, 0.0)
    health = book.view(CATALOG, 0.0)[FLUX.id]
    assert not health.available
    assert "credential" in health.detail


def test_a_busy_sidecar_gets_the_same_mapping_for_a_moment_and_a_new_one_after_it(book: HealthBook) -> None:
    book.record(FLUX.id, None, 2.0, 0.0)
    first = book.view(CATALOG, 0.0)
    book.record(FLUX.id, Cause.UNAVAILABLE, 2.0, 0.0)
    assert book.view(CATALOG, REFRESH * 0.9) is first
    assert book.view(CATALOG, REFRESH)[FLUX.id].success == 0.5


def test_another_catalog_is_another_view(book: HealthBook) -> None:
    book.record(FLUX.id, None, 2.0, 0.0)
    assert FLUX.id in book.view(CATALOG, 0.0)
    assert book.view(Catalog((), {}, {}, {}, {}), 0.0) == {}
