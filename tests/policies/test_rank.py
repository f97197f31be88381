"""The order of candidates: objectives on absolute scales, preferences, sessions, and the spread over providers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decision import Candidate
from policies.match import Weights
from policies.rank import Wish, rank, utility
from tests.policies.catalogs import deployment, model

EVEN = Weights(quality=1, cost=1, latency=1, reliability=1)


def candidate(
    name: str, usd: float | None = 0.03, p50: float = 5.0, score: float | None = 0.5, success: float | None = None
) -> Candidate:
    """``name`` is model@provider, with ``#region`` where a provider hosts the model twice."""
    one, _, host = name.partition("@")
    host, _, region = host.partition("#")
    return Candidate(
        deployment(model(one), host, usd, region=region), usd, False, score, score, p50, p50 * 2, "", success
    )


def wish(objective: str = "cheapest", weights: Weights = EVEN, max_extra: float = 0.25) -> Wish:
    return Wish(objective, weights, max_extra, tolerance=0.1)


def order(ranked: tuple[Candidate, ...]) -> list[str]:
    return [one.deployment.id for one in ranked]


def test_nothing_ranks_as_nothing() -> None:
    assert rank([], wish()) == ()


# What each objective makes of three candidates at three providers.
FIELD = [
    candidate("cheap@a", usd=0.01, p50=20.0, score=0.4, success=0.99),
    candidate("quick@b", usd=0.05, p50=1.0, score=0.5, success=0.7),
    candidate("fine@c", usd=0.13, p50=8.0, score=0.8, success=0.99),
    candidate("unknown@d", usd=None, p50=4.0, score=None, success=None),
]


@pytest.mark.parametrize(
    ("objective", "expected", "why"),
    [
        ("cheapest", ["cheap@a", "quick@b", "fine@c", "unknown@d"], "cheapest of 4 at $0.010"),
        ("fastest", ["quick@b", "unknown@d", "fine@c", "cheap@a"], "fastest of 4 at 1.0 s"),
        ("best", ["fine@c", "quick@b", "cheap@a", "unknown@d"], "best of 4 at 0.80"),
        ("hybrid", ["fine@c", "quick@b", "cheap@a", "unknown@d"], "highest utility of 4 at 0.71"),
    ],
)
def test_an_objective_has_its_order_and_says_so(objective: str, expected: list[str], why: str) -> None:
    ranked = rank(FIELD, wish(objective))
    assert order(ranked) == expected
    assert ranked[0].why == why


@pytest.mark.parametrize(
    ("weights", "first"),
    [
        (Weights(1, 0, 0, 0), "fine@c"),
        (Weights(0, 1, 0, 0), "cheap@a"),
        (Weights(0, 0, 1, 0), "quick@b"),
        (Weights(0, 0, 0, 1), "cheap@a"),  # as reliable as the dear one: the price decides
        (Weights(0, 0, 0, 0), "cheap@a"),
    ],
)
def test_hybrid_with_one_weight_is_that_one_objective(weights: Weights, first: str) -> None:
    assert order(rank(FIELD, wish("hybrid", weights)))[0] == first


def test_the_scales_of_hybrid_are_fixed_and_logarithmic() -> None:
    cost, latency = Weights(0, 1, 0, 0), Weights(0, 0, 1, 0)
    rates = [utility(candidate("m@a", usd=usd), cost) for usd in (0.0, 0.001, 0.01, 0.1, 1.0, 10.0, 99.0)]
    assert rates == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0])
    assert utility(candidate("m@a", usd=None), cost) == 0.0
    assert utility(candidate("m@a", usd=0.4), cost, pictures=4) == pytest.approx(0.5)
    assert utility(candidate("m@a", p50=0.5), latency) == 1.0
    assert utility(candidate("m@a", p50=300.0), latency) == 0.0
    assert utility(candidate("m@a", success=None), Weights(0, 0, 0, 1)) == 0.95
    assert utility(candidate("m@a", score=None), Weights(1, 0, 0, 0)) == 0.0


def test_ties_go_to_the_price_then_the_latency_then_the_order_given() -> None:
    tied = [candidate("a@a", p50=5.0), candidate("b@b", p50=4.0), candidate("d@d", p50=4.0), candidate("c@c", usd=0.02)]
    assert order(rank(tied, wish("best"))) == ["c@c", "b@b", "d@d", "a@a"]


@given(st.permutations(FIELD), st.sampled_from(("cheapest", "hybrid", "fastest", "best")))
def test_the_order_does_not_depend_on_the_order_of_the_input(field: list[Candidate], objective: str) -> None:
    assert rank(field, wish(objective)) == rank(FIELD, wish(objective))


@given(st.sets(st.sampled_from(range(len(FIELD)))), st.sampled_from(("cheapest", "hybrid", "fastest", "best")))
def test_two_candidates_stand_in_the_same_order_whoever_else_is_there(kept: set[int], objective: str) -> None:
    everyone = order(rank(FIELD, wish(objective)))
    some = order(rank([FIELD[index] for index in sorted(kept)], wish(objective)))
    assert some == [name for name in everyone if name in some]


# --------------------------------------------------------------------------------------------------------- the premium


@pytest.mark.parametrize(
    ("max_latency", "max_extra", "first"),
    [
        (None, 0.25, "slow@a"),
        (50.0, 0.25, "slow@a"),  # the cheapest is fast enough
        (12.0, 0.25, "fair@b"),
        (12.0, 0.10, "slow@a"),  # nobody within a tenth
        (3.0, 9.0, "swift@c"),
        (1.0, 9.0, "slow@a"),  # nobody is fast enough
    ],
)
def test_cheapest_pays_a_capped_premium_for_the_latency_asked_for(
    max_latency: float | None, max_extra: float, first: str
) -> None:
    field = [
        candidate("slow@a", usd=0.030, p50=20.0),
        candidate("fair@b", usd=0.036, p50=6.0),
        candidate("swift@c", usd=0.060, p50=1.0),
        candidate("unknown@d", usd=None, p50=1.0),
    ]
    ranked = rank(field, wish(max_extra=max_extra)._replace(max_latency=max_latency))
    assert order(ranked)[0] == first


def test_no_premium_is_paid_on_an_unknown_price_or_for_another_objective() -> None:
    field = [candidate("slow@a", usd=None, p50=20.0), candidate("swift@b", usd=None, p50=1.0)]
    asked = wish("best")._replace(max_latency=5.0)
    assert order(rank([field[0]._replace(score=0.9), field[1]], asked))[0] == "slow@a"
    assert rank(field, asked._replace(objective="cheapest"))[0].why == "cheapest of 2 at an unknown price"


# ------------------------------------------------------------------------------------------------ sessions, preferences


@pytest.mark.parametrize("objective", ["cheapest", "fastest", "best", "hybrid"])
def test_a_session_keeps_to_one_of_those_about_as_good(objective: str) -> None:
    near = [candidate(f"m{n}@h{n}", usd=0.03, p50=5.0, score=0.5) for n in range(6)]
    far = candidate("far@x", usd=0.3, p50=50.0, score=0.05)
    firsts = {order(rank([*near, far], wish(objective)._replace(session=str(n))))[0] for n in range(60)}
    assert firsts == {one.deployment.id for one in near}


def test_a_session_takes_all_hosts_of_its_model_before_any_other_model() -> None:
    field = [candidate(f"m{n}@{host}", usd=0.03 + n / 1000) for n in range(3) for host in "abc"]
    for n in range(20):
        models = [one.deployment.model.id for one in rank(field, wish()._replace(session=str(n)))]
        assert len(set(models[:3])) == 1


def test_a_settled_model_goes_before_a_better_one_before_preferences_and_before_the_name() -> None:
    field = [candidate("best@a", usd=0.001), candidate("kept@b", usd=0.2), candidate("kept@c", usd=0.3)]
    asked = wish()._replace(session="s", model="kept", places={"best@a": 0})
    ranked = rank(field, asked)
    assert order(ranked) == ["kept@b", "kept@c", "best@a"]
    assert ranked[0].why == "cheapest of 2 with the session's model at $0.200"


def test_a_settled_model_that_is_not_there_leaves_the_choice_to_the_name_or_to_the_objective() -> None:
    near = [candidate(f"m{n}@h{n}", usd=0.03) for n in range(6)]
    named = {order(rank(near, wish()._replace(session=str(n), model="gone")))[0] for n in range(40)}
    assert len(named) == 6
    assert order(rank(near, wish()._replace(model="gone"))) == order(rank(near, wish()))


def test_a_session_survives_small_changes_of_prices() -> None:
    before = [candidate(f"m{n}@h{n}", usd=0.0300 + n / 10_000) for n in range(6)]
    after = [candidate(f"m{n}@h{n}", usd=0.0305 - n / 10_000) for n in range(6)]
    for n in range(30):
        asked = wish()._replace(session=str(n))
        first = rank(before, asked)[0]
        assert first.deployment.id == rank(after, asked)[0].deployment.id
        assert first.why == f"cheapest of 1 with the session's model at ${first.price_usd:.3f}"


def test_a_session_of_undecodable_bytes_is_a_session_too() -> None:
    assert rank(FIELD, wish()._replace(session="caf\udce9"))


def test_the_preferred_stand_before_all_others_and_sessions_choose_among_them() -> None:
    places = {"fine@c": 0, "quick@b": 1}
    for session in ("", "s"):
        ranked = rank(FIELD, wish()._replace(places=places, session=session))
        assert order(ranked) == ["fine@c", "quick@b", "cheap@a", "unknown@d"]
        of = "with the session's model" if session else "preferred"
        assert ranked[0].why == f"cheapest of 1 {of} at $0.130"


def test_preferring_who_is_not_there_changes_nothing() -> None:
    assert rank(FIELD, wish()._replace(places={"gone@z": 0})) == rank(FIELD, wish())


# ----------------------------------------------------------------------------------------------------------- the spread


@pytest.mark.parametrize(
    ("given_order", "expected"),
    [
        (["1@a", "2@a", "3@b"], ["1@a", "3@b", "2@a"]),
        (["1@a", "2@a", "3@a", "4@b", "5@b", "6@c"], ["1@a", "4@b", "6@c", "2@a", "5@b", "3@a"]),
        (["1@a", "2@a"], ["1@a", "2@a"]),
        (["1@a#us", "1@a#eu", "2@a", "3@b"], ["1@a#us", "3@b", "2@a", "1@a#eu"]),
    ],
)
def test_the_next_attempt_goes_to_another_provider_then_to_another_model(
    given_order: list[str], expected: list[str]
) -> None:
    field = [candidate(name, usd=0.01 * (n + 1)) for n, name in enumerate(given_order)]
    assert order(rank(field, wish())) == expected


def test_preference_goes_before_the_spread() -> None:
    field = [candidate("1@a", usd=0.01), candidate("2@a", usd=0.02), candidate("3@b", usd=0.03)]
    assert order(rank(field, wish())) == ["1@a", "3@b", "2@a"]
    assert order(rank(field, wish()._replace(places={"1@a": 0, "2@a": 0}))) == ["1@a", "2@a", "3@b"]
