"""The verb diff: what moves and why, how sure the figures are, what is at risk, what it tells whom and ends with."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from functools import partial
from math import sqrt
from pathlib import Path
from random import Random
from statistics import fmean, pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ir import Ask, MediaRequest
from policies.catalog import Limits
from policies.classify import Traits, load_lexicon
from policies.load import Config
from policies.match import Policy
from proxy.replay.changes import Compared
from proxy.replay.compare import NOTHING, REFUSED, Comparison, compare
from proxy.replay.guard import Guard, judge
from proxy.replay.markdown import markdown
from proxy.replay.measure import KEPT, Replay, per_picture
from proxy.replay.outcome import Side
from proxy.replay.paired import NORMAL, Estimate, Lines, Paired
from proxy.traffic import Recorded
from tests.policies.catalogs import catalog, deployment, model, policy, traits
from tests.proxy.commands import ran
from tests.proxy.test_cli import Ended
from tests.proxy.test_replay import FAIR, FINE, NOW, TIERS, UNPRICED, premium, recorded, requests, seen

HERE = Path(__file__).parent / "diff"
ALIKE = Compared("traffic", "old", "new", "a", "b")


def config(*deployments: Any, **policies: Policy) -> Config:
    rules = policies or {"default": policy(tiers=TIERS)}
    return Config(catalog(*(deployments or (FINE, FAIR))), rules, "hash", ())


def compared(old: Config, new: Config, *traffic: Recorded, **options: Any) -> Comparison:
    return compare(traffic, *(Side(one, NOW) for one in (old, new)), **options)


def ruled(**spec: Any) -> Config:
    return config(default=policy(tiers=TIERS, **spec))


# ------------------------------------------------------------------------------------------------------- what moves


SHORT = deployment(model("short", {"general": 0.8, "food": 0.3}), "self", 0.002, limits=Limits(max_prompt=100))
VARIED = [
    {"name": "words", "match": {"prompt": "urgent"}, "objective": "fastest"},
    {"name": "vip", "match": {"caller": ["vip"], "minConfidence": 0.6}, "tier": "premium"},
]
asked = st.lists(st.tuples(requests, seen, st.integers(1, 5)), max_size=10)
Asked = list[tuple[MediaRequest, Traits | None, int]]


def lines_of(drawn: Asked) -> list[Recorded]:
    return [Recorded(request, told, weight=weight) for request, told, weight in drawn]


@given(asked)
@settings(max_examples=60, deadline=None)
def test_a_configuration_against_itself_changes_nothing(drawn: Asked) -> None:
    rules = policy(tiers=TIERS, rules=VARIED)
    one, same = (config(FINE, FAIR, SHORT, UNPRICED, default=rules) for _ in range(2))
    found = compared(one, same, *lines_of(drawn))
    assert (found.changed, found.rehosted, found.at_risk, found.moves) == (0, 0, 0, {})
    assert not found.refused
    assert not found.admitted
    for effect in (found.cost, found.p50, found.p95):
        assert effect.each() in (None, Estimate(0.0, 0.0, 0.0), Estimate(0.0, None, None))
        assert effect.share() in (None, Estimate(0.0, 0.0, 0.0), Estimate(0.0, None, None))
    nothing = Guard(0.0, 0.0 if found.cost.old else None, 0.0 if found.p50.old else None, True, True)
    assert all(verdict.ok for verdict in judge(found, nothing))
    assert "no request" in markdown(found, ALIKE, ())


@given(asked)
@settings(max_examples=60, deadline=None)
def test_deciding_each_kind_once_changes_nothing_and_each_side_is_what_a_replay_says(drawn: Asked) -> None:
    traffic = lines_of(drawn)
    old = config(FINE, FAIR, SHORT, default=policy(tiers=TIERS, rules=VARIED))
    new = config(FINE, FAIR, default=policy(tiers=TIERS, objective="fastest", rules=VARIED[1:]))
    found = compared(old, new, *traffic)
    singles = [compared(old, new, line) for line in traffic]
    assert found.changed == sum(one.changed for one in singles)
    assert found.at_risk == sum(one.at_risk for one in singles)
    assert found.cost.change == pytest.approx(sum(one.cost.change for one in singles))
    for side, tally in ((old, found.old), (new, found.new)):
        told = Replay(side, per_picture(0.0), NOW).run(traffic)
        assert tally.served.cost_usd == pytest.approx(told.served.cost_usd)
        assert tally.unserved == told.unserved
        assert {name: sums.requests for name, sums in tally.models.items()} == {
            name: sums.requests for name, sums in told.models.items()
        }


def test_more_kinds_than_are_kept_are_added_up_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = [recorded(n=1 + index % 5, weight=index) for index in range(1, 30)]
    whole = compared(ruled(), ruled(objective="best"), *traffic)
    monkeypatch.setattr("proxy.replay.compare.KEPT", 2)
    pieces = compared(ruled(), ruled(objective="best"), *traffic)
    assert KEPT > 2
    assert (pieces.changed, pieces.lines, pieces.requests) == (whole.changed, whole.lines, whole.requests)
    assert pieces.cost.share() == whole.cost.share()


OTHER = deployment(FAIR.model, "bazaar", 0.02, 1.0)
MOVES = [
    # old, new, request, move, why
    (ruled(), ruled(objective="best"), recorded(), ("fair", "fine"), "still eligible"),
    (ruled(), ruled(deny={"models": ["fair"]}), recorded(), ("fair", "fine"), "denied"),
    (ruled(), config(FINE), recorded(), ("fair", "fine"), "gone from the catalog"),
    (ruled(), config(), recorded(ask=Ask(policy="x")), None, ""),
    (
        config(x=policy()),
        config(),
        recorded(ask=Ask(policy="x")),
        ("fair", NOTHING),
        "there is no such policy any more",
    ),
    (config(FAIR), config(FINE), recorded(ask=Ask(model="fair")), ("fair", NOTHING), "the model asked for is unknown"),
    (ruled(), ruled(ceilings={"costUsd": 0.001}), recorded(), ("fair", NOTHING), "cost"),
    (ruled(), ruled(rules=[{"name": "r", "refuse": "no"}]), recorded(), ("fair", REFUSED), "refused"),
    (ruled(rules=[{"name": "r", "refuse": "no"}]), ruled(), recorded(), (REFUSED, "fair"), "served now"),
    (
        config(FINE, FAIR, OTHER),
        config(FINE, FAIR, OTHER, default=policy(tiers=TIERS, objective="best", deny={"providers": ["acme"]})),
        recorded(),
        None,
        "",
    ),
    (
        config(FINE, FAIR, OTHER),
        config(
            deployment(FINE.model, "bazaar", 0.05),
            FAIR,
            OTHER,
            default=policy(tiers=TIERS, objective="best", deny={"providers": ["acme"]}),
        ),
        recorded(),
        ("fair", "fine"),
        "denied, still eligible at another provider",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "move", "why"), MOVES)
def test_a_move_says_what_became_of_the_old_choice(
    old: Config, new: Config, line: Recorded, move: tuple[str, str] | None, why: str
) -> None:
    found = compared(old, new, replace(line, weight=3))
    if move is None:
        assert (found.moves, found.changed) == ({}, 0)
        return
    ((way, moved),) = found.moves.items()
    assert way[1:] == move
    assert moved.why == {why: 3}
    assert found.changed == moved.requests == 3


def test_a_rule_that_takes_the_place_of_another_is_told_with_the_move() -> None:
    old = ruled(rules=[{"name": "first", "objective": "fastest"}])
    new = ruled(rules=[{"name": "second", "objective": "best"}])
    (moved,) = compared(old, new, recorded(), recorded()).moves.values()
    assert moved.rules == {("first", "second"): 2}


def test_the_same_model_at_another_provider_is_no_move() -> None:
    found = compared(config(FAIR, OTHER), config(FAIR, OTHER, default=policy(objective="fastest")), recorded(weight=2))
    assert (found.rehosted, found.changed) == (2, 0)
    assert found.cost.each() == Estimate(pytest.approx(0.01), None, None)


def test_a_session_that_has_settled_keeps_its_model_on_both_sides() -> None:
    line = replace(recorded(ask=Ask(session="s")), session_model="fine")
    assert (
        compared(ruled(), ruled(objective="fastest"), line, recorded(ask=Ask(session="t"))).new.models["fine"].requests
    )


def test_each_side_listens_for_the_phrases_of_its_own() -> None:
    specialist = deployment(model("specialist", {"general": 0.1, "portrait": 0.7}), "acme", 0.001)
    old = config(FINE, FAIR, specialist)
    new = replace(old, lexicon=lambda: load_lexicon((("portrait", "", ((5.0, ("zorblax",)),)),)))
    found = compared(old, new, recorded("zorblax"), recorded("zorblax", weight=2), recorded("a fox"))
    ((move, moved),) = found.moves.items()
    assert (move, moved.requests) == (("portrait", "fair", "specialist"), 3)
    assert found.requests == 4
    hashed = replace(recorded(""), traits=traits("food"))
    assert compared(old, new, hashed).changed == 0


# ---------------------------------------------------------------------------------------------------------- the risks


def test_floors_at_risk_are_lowered_passed_under_or_left_unserved() -> None:
    old = ruled()
    lower = config(default=policy(tiers={"standard": {"floor": 0.35}, "premium": {"floor": 0.5}}))
    found = compared(old, lower, premium(weight=4))
    assert found.lowered == {"premium 0.6 -> premium 0.5": 4}
    assert not found.below  # the same model is chosen
    waived = compared(old, ruled(rules=[{"name": "r", "use": {"models": ["fair"]}}]), premium())
    assert (dict(waived.lowered), dict(waived.below)) == ({"premium 0.6 -> premium 0": 1}, {"fair": 1})
    gone = compared(old, config(FAIR), premium(weight=2))
    assert dict(gone.unserved) == {"no deployment is eligible: 2 quality": 2} or gone.unserved.total() == 2
    assert gone.at_risk == 2
    assert compared(ruled(rules=[{"name": "r", "use": {"models": ["fair"]}}]), old, premium()).at_risk == 0


def test_the_floor_that_counts_is_that_of_the_old_sides_tasks() -> None:
    doubtful = traits("food", 0.4, "portrait")
    weak = deployment(model("weak", {"general": 0.7, "portrait": 0.2}), "acme", 0.001)
    old = config(FINE, weak)
    new = config(FINE, weak, default=policy(tiers=TIERS, onDoubt={"action": "ignore"}))
    found = compared(old, new, replace(recorded(""), traits=doubtful))
    assert dict(found.below) == {"weak": 1}


def test_refusals_are_told_by_the_rule_that_refuses() -> None:
    refusing = ruled(rules=[{"name": "r", "refuse": "no"}])
    assert compared(ruled(), refusing, recorded(weight=5)).refused == {"r": 5}
    back = compared(refusing, ruled(), recorded(weight=5))
    assert (back.admitted, back.refused.total()) == ({"r": 5}, 0)
    other = ruled(rules=[{"name": "q", "refuse": "no"}])
    found = compared(refusing, other, recorded())
    assert (found.refused.total(), found.admitted.total(), found.changed) == (0, 0, 0)


# ------------------------------------------------------------------------------------------------------ how sure it is

Values = Sequence[tuple[float, float, int]]  # old, new, weight


def paired(values: Values) -> Paired:
    sums = Paired()
    for old, new, weight in values:
        line = Lines()
        line.add(weight)
        sums.add(line, old, new)
    return sums


values = st.lists(st.tuples(st.floats(0.001, 10), st.floats(0.001, 10), st.integers(1, 9)), min_size=2, max_size=40)


@given(values)
def test_the_estimates_are_those_of_the_formulas_worked_out_one_by_one(drawn: Values) -> None:
    n, weight = len(drawn), sum(w for *_, w in drawn)
    before, change = sum(w * old for old, _, w in drawn), sum(w * (new - old) for old, new, w in drawn)
    mean, share = change / weight, change / before
    each = sqrt(n / (n - 1) * sum((w * (new - old - mean)) ** 2 for old, new, w in drawn)) / weight
    of_all = sqrt(n / (n - 1) * sum((w * (new - old - share * old)) ** 2 for old, new, w in drawn)) / before
    for estimate, value, deviation in ((paired(drawn).each(), mean, each), (paired(drawn).share(), share, of_all)):
        assert estimate is not None
        wanted = [value, value - NORMAL * deviation, value + NORMAL * deviation]
        assert [estimate.value, estimate.low, estimate.high] == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("weights", [(1,), (1, 1, 1, 12)])
def test_the_intervals_are_as_wide_as_those_of_a_bootstrap(weights: tuple[int, ...]) -> None:
    chance = Random(5)
    drawn = [
        (chance.choice((0.01, 0.02, 0.05)), chance.choice((0.01, 0.03)), chance.choice(weights)) for _ in range(300)
    ]
    sums = paired(drawn)
    again = [paired(chance.choices(drawn, k=len(drawn))) for _ in range(1_500)]
    for find in (Paired.each, Paired.share):
        estimate = find(sums)
        resampled = [found.value for one in again if (found := find(one))]
        assert estimate is not None
        assert estimate.high is not None
        assert fmean(resampled) == pytest.approx(estimate.value, abs=0.2 * pstdev(resampled))
        assert estimate.high - estimate.value == pytest.approx(NORMAL * pstdev(resampled), rel=0.1)


def test_the_true_change_lies_within_the_interval_as_often_as_it_says() -> None:
    chance, within, trials = Random(11), 0, 600
    for _ in range(trials):
        sums = paired([(old := chance.expovariate(20), old * chance.choice((0.5, 1.0, 1.8)), 1) for _ in range(200)])
        share = sums.share()
        assert share is not None
        assert share.low is not None
        assert share.high is not None
        within += share.low <= 0.1 <= share.high
    assert 0.92 <= within / trials <= 0.98


def test_lines_alike_added_together_are_as_lines_added_one_by_one() -> None:
    together, line = Paired(), Lines()
    for weight in (1, 4, 2):
        line.add(weight)
    together.add(line, 0.02, 0.05)
    assert astuple(together) == pytest.approx(astuple(paired([(0.02, 0.05, weight) for weight in (1, 4, 2)])))


def test_a_weight_counts_but_makes_nothing_surer() -> None:
    heavy = paired([(1.0, 2.0, 7), (1.0, 1.0, 7)]).each()
    light = paired([(1.0, 2.0, 1), (1.0, 1.0, 1)]).each()
    many = paired([(1.0, 2.0, 1), (1.0, 1.0, 1)] * 7).each()
    assert heavy is not None
    assert many is not None
    assert many.high is not None
    assert heavy.high is not None
    assert heavy == light
    assert heavy.value == many.value
    assert heavy.high > many.high


def test_one_line_has_no_interval_and_none_no_estimate() -> None:
    assert paired([(1.0, 2.0, 3)]).each() == Estimate(1.0, None, None)
    assert Paired().each() is None
    assert Paired().share() is None


# ----------------------------------------------------------------------------------------------------------- the verb

Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(HERE)
    return partial(ran, capsys, "diff")


HOUSE = ("old", "new", "--traffic", "traffic.jsonl")
LIMITS = ("--max-changed", "50%", "--max-cost", "+3%", "--max-latency", "+500%", "--no-floor-risk", "--no-new-refusals")


@pytest.mark.parametrize(("name", "form"), [("out.txt", ()), ("out.md", ("--markdown",)), ("out.json", ("--json",))])
def test_what_is_told_is_golden(run: Run, request: pytest.FixtureRequest, name: str, form: tuple[str, ...]) -> None:
    ended = run(*HOUSE, *form, *LIMITS)
    assert (ended.status, ended.err) == (1, "")
    text = json.dumps(ended.json, indent=2) + "\n" if name.endswith("json") else ended.out
    text = re.sub(r"\b[0-9a-f]{12}\b", "HASH", text)
    text = re.sub(r"\d+ (denied|retired) \([^)]*\), ", "", text)  # of the shipped catalog, which changes
    if request.config.getoption("--regold"):
        (HERE / name).write_text(text, "utf-8")
    assert text == (HERE / name).read_text("utf-8")


@pytest.fixture
def words(tmp_path: Path) -> tuple[object, ...]:
    """Both sides, and traffic with a prompt that was kept."""
    line = {"prompt": "the queen of | `Zanzibar` <b> @all, oil painting", "tier": "premium", "caller": "Mallory"}
    (tmp_path / "words.jsonl").write_text(json.dumps(line))
    return "old", "new", "--traffic", tmp_path / "words.jsonl"


def test_prompts_are_told_only_where_that_is_asked_for(run: Run, words: tuple[object, ...]) -> None:
    for form in ((), ("--markdown",), ("--json",)):
        hidden, shown = run(*words, *form).out, run(*words, *form, "--show-prompts").out
        assert "Zanzibar" not in hidden
        assert "Zanzibar" in shown
        assert "Mallory" not in hidden + shown


def test_a_comment_holds_whatever_was_written(run: Run, words: tuple[object, ...]) -> None:
    comment = run(*words, "--markdown", "--show-prompts").out
    tables = [line for line in comment.splitlines() if line.startswith("|")]
    assert tables
    for line in tables:
        assert len(re.findall(r"(?<!\\)\|", line)) in (4, 5, 7)
    assert "`the queen of \\| 'Zanzibar' <b> @all, oil painting`" in comment


@pytest.mark.parametrize(
    ("limit", "there", "back"),  # statuses from old to new, and from new to old
    [
        (("--max-changed", "95%"), 0, 0),
        (("--max-changed", "5"), 1, 1),
        (("--max-cost", "+300%"), 0, 0),
        (("--max-cost", "0"), 0, 1),
        (("--max-cost=-5%",), 0, 1),
        (("--max-cost=-50%",), 1, 1),
        (("--max-latency", "+300%"), 0, 0),
        (("--max-latency", "+1%"), 0, 1),
        (("--no-floor-risk",), 1, 1),
        (("--no-new-refusals",), 1, 1),
        ((), 0, 0),
    ],
)
def test_a_limit_that_is_exceeded_is_status_1(run: Run, limit: tuple[str, ...], there: int, back: int) -> None:
    for sides, status in ((("old", "new"), there), (("new", "old"), back)):
        ended = run(*sides, "--traffic", "traffic.jsonl", "--json", *limit)
        assert ended.status == status
        assert ended.json["ok"] is not bool(status)
        assert len(ended.json["limits"]) == bool(limit)


def test_a_limit_to_what_cannot_be_told_is_not_kept() -> None:
    found = compared(config(UNPRICED), config(UNPRICED), recorded())
    (verdict,) = judge(found, Guard(max_cost=0.5))
    assert not verdict.ok
    assert "no request has a price" in verdict.found
    assert found.unpriced == 1


def test_made_up_traffic_and_providers_with_a_key_are_as_for_replay(run: Run) -> None:
    told = run("old", "new", "--traffic", "creator", "--json", "--providers", "house").json
    assert told["requests"] == 500
    assert {move["new"] for move in told["moves"]} <= {"house-fine", "house-mid", "house-quick", NOTHING, REFUSED}


def test_a_side_that_does_not_load_is_told_with_all_mistakes_of_both(run: Run, tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        text = (HERE / "new" / "house.yaml").read_text().replace("premium: {floor", "premum: {floor")
        (tmp_path / name).write_text(text)
    ended = run(tmp_path / "a.yaml", tmp_path / "b.yaml", "--traffic", "traffic.jsonl")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.count('did you mean "premium"?') == 2


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("old",), "NEW"),
        (("old", "new"), "--traffic"),
        (("old", "nowhere", "--traffic", "traffic.jsonl"), "nowhere: no such file or directory"),
        (("old", "new", "--traffic", "nowhere.jsonl"), "and none that Muxel ships"),
        ((*HOUSE, "--max-cost", "cheap"), "must be a percentage such as 5%; got 'cheap'"),
        ((*HOUSE, "--max-cost", "nan"), "must be a percentage"),
        ((*HOUSE, "--max-changed", "-300%"), "--max-changed"),
        ((*HOUSE, "--json", "--markdown"), "not allowed with"),
        ((*HOUSE, "--providers", "hause"), 'did you mean "house"?'),
    ],
)
def test_bad_usage_is_status_2(run: Run, argv: tuple[str, ...], told: str) -> None:
    ended = run(*argv)
    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err


def test_a_wrong_line_and_no_line_at_all_end_with_status_1(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"prompt": "a fox"}\n{"promt": "a fox"}\n')
    ended = run("old", "new", "--traffic", file)
    assert (ended.status, ended.out) == (1, "")
    assert f"{file}: line 2: 'promt' is not a known key" in ended.err
    file.write_text("\n")
    assert run("old", "new", "--traffic", file).status == 1
