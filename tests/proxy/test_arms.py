"""When a candidate is held: what is surely worse, and what chance explains."""

from dataclasses import replace
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel

from policies.rollout import Hold
from proxy.arms import (
    BOUNDS,
    SLICES,
    SURE,
    Arms,
    Outcome,
    Sample,
    Sums,
    Tally,
    Verdict,
    Window,
    figures,
    ratio,
    record,
    rise,
    verdict,
    wilson,
)

HOLD = Hold(
    window_seconds=600.0,
    min_requests=20,
    max_error_rate=0.05,
    max_error_rate_rise=0.02,
    max_refusal_rise=0.05,
    max_cost_rise=0.25,
    max_unknown_cost_rise=0.1,
    max_latency_rise=0.5,
)
GOOD = Sample(Outcome.OK, 1, 0.04, 0.04, 6.0, 5.0)
FAILED = Sample(Outcome.FAILED)
REFUSED = Sample(Outcome.REFUSED)
DEAR = GOOD._replace(cost=0.06)
SLOW = GOOD._replace(seconds=12.0)
UNKNOWN = GOOD._replace(cost=None)


def arms_of(live: list[Sample], candidate: list[Sample], hold: Hold = HOLD) -> Arms:
    arms = Arms()
    for sample in live:
        arms = record(arms, False, sample, hold, 0.0)
    for sample in candidate:
        arms = record(arms, True, sample, hold, 0.0)
    return arms


def judged(live: list[Sample], candidate: list[Sample], hold: Hold = HOLD) -> str:
    found = verdict(arms_of(live, candidate, hold), hold, 0.0)
    return found.bound if found else ""


# --------------------------------------------------------------------------------------------------------- the bounds


@pytest.mark.parametrize(
    ("live", "candidate", "bound"),
    [
        pytest.param([GOOD] * 400, [GOOD] * 20, "", id="alike"),
        pytest.param([], [], "", id="nothing yet"),
        pytest.param([GOOD] * 400, [FAILED] * 19, "", id="all failed, but too few"),
        pytest.param([GOOD] * 400, [FAILED] * 20, "maxErrorRate", id="all failed"),
        pytest.param([], [FAILED] * 20, "maxErrorRate", id="all failed, nothing to compare with"),
        pytest.param([GOOD] * 400, [GOOD] * 19 + [FAILED], "", id="one in twenty may be chance"),
        pytest.param([GOOD] * 400, [GOOD] * 18 + [FAILED] * 2, "", id="two in twenty may be chance"),
        pytest.param([GOOD] * 400, [GOOD] * 360 + [FAILED] * 40, "maxErrorRate", id="one in ten of many is not"),
        pytest.param([GOOD] * 90 + [FAILED] * 10, [GOOD] * 90 + [FAILED] * 10, "", id="both are down"),
        pytest.param([GOOD] * 360 + [FAILED] * 40, [GOOD] * 40 + [FAILED] * 60, "maxErrorRateRise", id="worse for it"),
        pytest.param([GOOD] * 19 + [FAILED] * 19, [FAILED] * 20, "maxErrorRateRise", id="live down, it more so"),
        pytest.param([GOOD] * 400, [REFUSED] * 20, "maxRefusalRise", id="refuses everybody"),
        pytest.param([REFUSED] * 40, [REFUSED] * 40, "", id="both refuse"),
        pytest.param([], [REFUSED] * 40, "", id="refusals alone are no measure"),
        pytest.param([GOOD] * 20, [DEAR] * 20, "maxCostRise", id="half as dear again"),
        pytest.param([], [DEAR] * 20, "maxCostRise", id="dear by the catalog, with nobody left in the live arm"),
        pytest.param([GOOD] * 20, [GOOD._replace(cost=0.05)] * 20, "", id="dearer by just what is allowed"),
        pytest.param([DEAR] * 20, [DEAR] * 20, "", id="the catalog is wrong for both"),
        pytest.param([GOOD] * 20, [GOOD._replace(cost=0.04 * 20, expected_cost=0.04 * 20)] * 20, "", id="larger"),
        pytest.param([GOOD._replace(cost=0.0, expected_cost=0.0)] * 20,
                     [GOOD._replace(expected_cost=0.0)] * 20, "maxCostRise", id="something for nothing"),
        pytest.param([GOOD._replace(cost=0.0, expected_cost=0.0)] * 20,
                     [GOOD._replace(cost=0.0, expected_cost=0.0)] * 20, "", id="nothing for nothing"),
        pytest.param([GOOD] * 20, [UNKNOWN] * 20, "maxUnknownCostRise", id="unknown is not free"),
        pytest.param([UNKNOWN] * 20, [UNKNOWN] * 20, "", id="unknown as before"),
        pytest.param([GOOD] * 20, [SLOW] * 20, "maxLatencyRise", id="twice as slow"),
        pytest.param([], [SLOW] * 20, "", id="how slow is unknown without a live arm"),
        pytest.param([GOOD] * 20, [GOOD._replace(seconds=9.0)] * 20, "", id="slower by just what is allowed"),
        pytest.param([GOOD] * 400, [GOOD] * 25 + [GOOD._replace(seconds=90.0)], "", id="one slow picture is chance"),
    ],
)  # fmt: skip
def test_a_candidate_is_held_by_the_bound_that_it_surely_breaks(
    live: list[Sample], candidate: list[Sample], bound: str
) -> None:
    assert judged(live, candidate) == bound


@pytest.mark.parametrize(
    ("field", "candidate"),
    [
        ("max_error_rate", [FAILED] * 40),
        ("max_error_rate_rise", [FAILED] * 40),
        ("max_refusal_rise", [REFUSED] * 40),
        ("max_cost_rise", [DEAR] * 40),
        ("max_unknown_cost_rise", [UNKNOWN] * 40),
        ("max_latency_rise", [SLOW] * 40),
    ],
)
def test_each_bound_holds_alone_and_not_when_it_is_taken_away(field: str, candidate: list[Sample]) -> None:
    none = dict.fromkeys([name for name in Hold.__slots__ if name.startswith("max_")])
    free = replace(HOLD, **none)
    assert judged([GOOD] * 40, candidate, free) == ""
    only = replace(free, **{field: getattr(HOLD, field)})
    assert judged([GOOD] * 40, candidate, only) == to_camel(field)


def test_the_bounds_are_those_that_a_policy_can_set() -> None:
    assert set(BOUNDS) == {to_camel(name) for name in Hold.__slots__ if name.startswith("max_")}


@given(st.integers(20, 2_000), st.integers(20, 2_000))
def test_a_bound_of_0_is_not_broken_by_nothing(live: int, candidate: int) -> None:
    strict = replace(HOLD, **{name: 0.0 for name in Hold.__slots__ if name.startswith("max_")})
    cost, seconds = Sums(live, live * 0.1, live * 0.1), Sums(live, live * 0.3, live * 0.3)
    ours = Tally(ok=candidate, priced=candidate, cost=cost, seconds=seconds)
    arms = Arms(Window((), Tally(ok=live, priced=live, cost=cost, seconds=seconds)), Window((), ours))
    assert verdict(arms, strict, 0.0) is None


def test_the_reason_tells_the_figures() -> None:
    assert verdict(arms_of([GOOD] * 30, [FAILED] * 21), HOLD, 0.0) == Verdict(
        "maxErrorRate", "21 of 21 failed, above 0.05"
    )
    dear = verdict(arms_of([GOOD] * 30, [DEAR] * 21), HOLD, 0.0)
    assert dear is not None
    assert dear.reason == (
        "costs 1.50 times what is expected of the live policy, which itself costs 1.00 times that; allowed is 0.25 more"
    )


def test_what_is_not_the_policys_doing_is_not_counted() -> None:
    assert record(Arms(), True, Sample(Outcome.OTHER), HOLD, 0.0) == Arms()


# --------------------------------------------------------------------------------------------------------- the window


def test_old_trouble_is_forgotten_after_the_window() -> None:
    arms = arms_of([GOOD] * 20, [FAILED] * 20)
    assert verdict(arms, HOLD, HOLD.window_seconds * (1 - 1 / SLICES)) is not None
    assert verdict(arms, HOLD, HOLD.window_seconds) is None
    assert figures(arms, HOLD, HOLD.window_seconds) == (Tally(), Tally())


@given(
    st.lists(st.tuples(st.floats(0, 300), st.sampled_from([GOOD, FAILED, REFUSED, DEAR, SLOW, UNKNOWN]))),
    st.floats(0, 5_000),
)
def test_a_window_has_exactly_the_samples_of_the_last_slices(steps: list[tuple[float, Sample]], later: float) -> None:
    window, now, seen = Arms(), 0.0, []
    for wait, sample in steps:
        now += wait
        window = record(window, True, sample, HOLD, now)
        seen.append((now, sample))
    now += later
    slice_ = HOLD.window_seconds / SLICES
    kept = [sample for at, sample in seen if at // slice_ > now // slice_ - SLICES]
    _, found = figures(window, HOLD, now)
    assert found.requests == len(kept)
    assert found.failed == kept.count(FAILED)
    assert found.unpriced == kept.count(UNKNOWN)
    assert found.paid == pytest.approx(sum(sample.cost or 0.0 for sample in kept))
    assert found.seconds.n == sum(sample.seconds is not None for sample in kept)
    assert len(window.candidate.slices) <= SLICES


def test_an_arm_takes_the_same_room_however_much_it_sees() -> None:
    arms = Arms()
    for number in range(5_000):
        arms = record(arms, number % 2 == 0, GOOD, HOLD, number * 1.0)
    assert max(len(arms.live.slices), len(arms.candidate.slices)) <= SLICES
    assert isinstance(arms.live, Window)


# ------------------------------------------------------------------------------------------------------- the statistics


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilsons_interval_holds_the_share_and_stays_within_its_bounds(some: int, total: int) -> None:
    some = min(some, total)
    low, high = wilson(some, total)
    assert 0 <= low <= some / total + 1e-12
    assert some / total - 1e-12 <= high <= 1


@given(st.integers(1, 500), st.integers(1, 500))
def test_wilsons_interval_ends_where_the_share_seen_would_be_just_so_many_errors_off(some: int, total: int) -> None:
    """Its definition: the true shares for which (seen - true)^2 is SURE^2 times the variance at the true one."""
    seen = min(some, total) / total
    for end in wilson(min(some, total), total):
        assert (seen - end) ** 2 == pytest.approx(SURE**2 * end * (1 - end) / total, abs=1e-9)


@given(st.integers(0, 200), st.integers(1, 200), st.integers(0, 200), st.integers(1, 200))
def test_the_least_rise_is_never_above_the_rise_seen(a: int, n: int, b: int, m: int) -> None:
    a, b = min(a, n), min(b, m)
    assert rise((a, n), (b, m)) <= a / n - b / m + 1e-12


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=2, max_size=60))
def test_a_ratio_of_sums_has_the_error_that_its_definition_gives(pairs: list[tuple[float, float]]) -> None:
    arms = Arms()
    for actual, expected in pairs:
        arms = record(arms, True, Sample(Outcome.OK, 1, actual, expected), HOLD, 0.0)
    sums = arms.candidate.total.cost
    found, error = ratio(sums)
    of_all = sum(actual for actual, _ in pairs) / sum(expected for _, expected in pairs)
    assert found == pytest.approx(of_all)
    off = sum((actual - of_all * expected) ** 2 for actual, expected in pairs)
    n = len(pairs)
    by_definition = (off * n / (n - 1)) ** 0.5 / sum(expected for _, expected in pairs)
    assert error == pytest.approx(by_definition, rel=1e-3, abs=1e-4)


def test_money_for_what_should_be_free_is_infinitely_dear() -> None:
    assert ratio(arms_of([], [GOOD._replace(expected_cost=0.0)]).candidate.total.cost) == (inf, 0.0)


def drawn(chance: Random, failing: float, dearer: float = 1.0, slower: float = 1.0) -> Sample:
    """Pictures of very different prices and latencies, some of them bought at the second choice."""
    if chance.random() < failing:
        return FAILED
    price, median = chance.choice((0.004, 0.03, 0.04, 0.2)), chance.choice((2.0, 5.0, 12.0))
    paid = price * (1.4 if chance.random() < 0.03 else 1.0) * dearer
    return Sample(Outcome.OK, 1, paid, price, median * chance.lognormvariate(0.0, 0.5) * slower, median)


def held_after(chance: Random, requests: int, share: float, live: float, **candidate: float) -> int:
    """How many requests of the candidate it took; 0 if it never was, though it was asked after every one."""
    arms, tried = Arms(), 0
    for number in range(requests):
        theirs = chance.random() < share
        sample = drawn(chance, **candidate) if theirs else drawn(chance, live)
        tried += theirs
        arms = record(arms, theirs, sample, HOLD, number * 2.0)
        if theirs and verdict(arms, HOLD, number * 2.0):
            return tried
    return 0


def test_two_arms_that_are_alike_are_left_alone_however_often_they_are_compared() -> None:
    false = [seed for seed in range(40) if held_after(Random(seed), 2_000, 0.3, 0.02, failing=0.02)]
    assert false == []


@pytest.mark.parametrize(
    ("candidate", "within"),
    [
        ({"failing": 1.0}, 20),
        ({"failing": 0.5}, 25),
        ({"failing": 0.02, "dearer": 2.0}, 40),
        ({"failing": 0.02, "slower": 4.0}, 60),
    ],
)
def test_a_candidate_that_is_worse_is_found_out_soon(candidate: dict[str, float], within: int) -> None:
    took = sorted(held_after(Random(seed), 2_000, 0.3, 0.02, **candidate) for seed in range(20))
    assert took[0] > 0
    assert took[len(took) // 2] <= within
