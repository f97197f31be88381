"""What live traffic says of a deployment: when it is believed and forgotten, and how fresh a decision sees it."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import Cause, Operation, Vote
from policies.catalog import Catalog, Credential, Deployment, Limits, Model, Provider
from policies.match import Breaker
from proxy.breaker import Breakers, Ticket
from proxy.health import DRIFT, HALF_LIFE, PRIOR_WEIGHT, REFRESH, HealthBook

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


def seen(book: HealthBook, seconds: float, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        book.record(FLUX.id, None, seconds, now)


def figures(book: HealthBook, now: float) -> tuple[float, float]:
    health = book.view(CATALOG, now)[FLUX.id]
    assert health.p50 is not None
    assert health.p95 is not None
    return health.p50, health.p95


def test_one_slow_picture_hardly_moves_what_the_catalog_expects(book: HealthBook) -> None:
    seen(book, 60.0, 1)
    p50, p95 = figures(book, 1.0)
    assert p50 == pytest.approx(FLUX.p50, rel=0.1)
    assert FLUX.p95 < p95 <= 60.0 * 1.15


def test_many_pictures_outweigh_what_the_catalog_expects(book: HealthBook) -> None:
    for seconds in (1.0, 1.0, 1.0, 2.0):
        seen(book, seconds, 100)
    p50, p95 = figures(book, 1.0)
    assert p50 == pytest.approx(1.0, rel=0.15)
    assert p95 == pytest.approx(2.0, rel=0.15)


def test_what_was_seen_counts_half_after_a_half_life_and_is_forgotten_in_the_end(book: HealthBook) -> None:
    seen(book, 1.0, round(PRIOR_WEIGHT * 2))
    quick = figures(book, 1.0)[0]
    halved = figures(book, HALF_LIFE)[0]
    assert quick < halved < FLUX.p50
    fresh = HealthBook(Breakers(BREAKER))
    seen(fresh, 1.0, round(PRIOR_WEIGHT))
    assert halved == pytest.approx(figures(fresh, 0.0)[0])
    assert book.view(CATALOG, HALF_LIFE * 20) == {}


def test_new_samples_count_more_than_old_ones(book: HealthBook) -> None:
    seen(book, 50.0, 64)
    seen(book, 1.0, 64, HALF_LIFE * 3)
    assert figures(book, HALF_LIFE * 3)[0] < 2.0


def test_failures_lower_the_share_of_successes_and_say_nothing_of_the_time_to_a_picture(book: HealthBook) -> None:
    other = HealthBook(Breakers(BREAKER))
    for _ in range(40):
        book.record(FLUX.id, None, 2.0, 0.0)
        other.record(FLUX.id, None, 2.0, 0.0)
        book.record(FLUX.id, Cause.UNAVAILABLE, 60.0, 0.0)
    assert figures(book, 0.0) == figures(other, 0.0)
    success = book.view(CATALOG, 0.0)[FLUX.id].success
    assert success == pytest.approx((PRIOR_WEIGHT * 0.95 + 40) / (PRIOR_WEIGHT + 80))


def test_one_failure_does_not_make_a_deployment_worthless(book: HealthBook) -> None:
    book.record(FLUX.id, Cause.UNAVAILABLE, 60.0, 0.0)
    success = book.view(CATALOG, 1.0)[FLUX.id].success
    assert success is not None
    assert 0.8 < success < 0.95


@given(st.lists(st.floats(0.001, 5000.0), max_size=40))
def test_p50_is_never_above_p95_and_neither_leaves_what_was_expected_or_seen(taken: list[float]) -> None:
    book = HealthBook(Breakers(BREAKER))
    for seconds in (5.0, *taken):
        book.record(FLUX.id, None, seconds, 0.0)
    p50, p95 = figures(book, 0.0)
    assert 0 < p50 <= p95 <= 1.15 * max(FLUX.p95 * 1.2, *taken, 5.0)


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
    assert book.view(CATALOG, REFRESH)[FLUX.id].success != first[FLUX.id].success


def test_figures_without_new_samples_are_worked_out_again_only_after_a_while(book: HealthBook) -> None:
    book.record(FLUX.id, None, 2.0, 0.0)
    first = book.view(CATALOG, 0.0)[FLUX.id]
    assert book.view(CATALOG, DRIFT - 1.0)[FLUX.id] is first
    assert book.view(CATALOG, DRIFT + 1.0)[FLUX.id] is not first


def test_another_catalog_is_another_view(book: HealthBook) -> None:
    book.record(FLUX.id, None, 2.0, 0.0)
    assert FLUX.id in book.view(CATALOG, 0.0)
    assert book.view(Catalog((), {}, {}, {}, {}), 0.0) == {}


def test_another_catalog_has_a_view_of_its_own_though_nothing_else_has_changed(book: HealthBook) -> None:
    seen(book, 3.0, 1)
    for deployments in ((FLUX,), (), (FLUX,), ()):  # each catalog is let go of, and the next one may lie where it lay
        assert {*book.view(replace(CATALOG, deployments=deployments), 0.0)} == {one.id for one in deployments}
