"""The verb replay: the format of traffic, what is added up, what the shipped cases come to, what it says of errors."""

import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ir import Ask, MediaRequest, Operation, Tier
from policies.catalog import Limits
from policies.classify import Traits
from policies.decide import Session, decide
from policies.load import Config
from policies.match import Policy
from proxy.cli import main
from proxy.replay.measure import Replay, Tally, as_asked, of_model, per_picture
from proxy.replay.plot import plot
from proxy.replay.synthesize import Traffic, read_spec, rows
from proxy.traffic import Recorded, TrafficError, read_row, read_traffic, write_line
from tests.policies.catalogs import catalog, deployment, model, policy, traits

SHIPPED = Path(__file__).parents[2] / "policies" / "traffic"
TOLD = {"ecommerce": 0.41, "agency": 0.35, "creator": 0.57, "enterprise": 0.38}  # saved, of the cost before
NOW = 1_795_000_000.0


@dataclass(frozen=True, slots=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: object) -> Ended:
        try:
            status = main(["replay", *map(str, argv)])
        except SystemExit as end:
            status = int(end.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


def recorded(prompt: str = "a fox", weight: int = 1, **fields: Any) -> Recorded:
    return Recorded(MediaRequest(Operation.GENERATE, prompt=prompt, **fields), weight=weight)


# ------------------------------------------------------------------------------------------------------ the format

FULL = {
    "operation": "image.edit",
    "prompt": "a fox in the snow",
    "negative_prompt": "text",
    "model": "house-1",
    "n": 3,
    "size": "1024x1536",
    "resolution": "2K",
    "duration": 8.0,
    "quality": "high",
    "format": "webp",
    "background": "transparent",
    "references": 2,
    "style_references": 1,
    "loras": 1,
    "mask": True,
    "tier": "premium",
    "max_cost": 0.0,
    "max_latency": 12.5,
    "pin": "house-1@acme",
    "policy": "quick",
    "session": "s-1",
    "session_model": "house-2",
    "priority": "low",
    "caller": "shop",
    "headers": {"x-team": "red"},
    "app": "catalogue",
    "namespace": "retail",
    "weight": 7,
}
HASHED = {
    "prompt_hash": "9f86d0",
    "prompt_length": 40,
    "traits": {"task": "portrait", "confidence": 0.5, "runner_up": "people", "tasks": {"portrait": 0.5, "people": 0.4}},
    "aspect": "16:9",
}


@pytest.mark.parametrize("row", [FULL, HASHED, {"prompt": "a fox"}, {"operation": "image.upscale", "references": 1}])
def test_a_line_that_is_written_is_read_as_what_it_was(row: dict[str, Any]) -> None:
    [first] = read_traffic([json.dumps(row).encode()])
    line = write_line(first, headers=("x-team",))
    assert list(read_traffic([line])) == [first]
    assert json.loads(line).keys() == row.keys()


def test_every_key_reaches_the_request() -> None:
    one = read_row(FULL)
    request, ask = one.request, one.request.ask
    assert (request.operation, request.n, request.size, request.quality) == (Operation.EDIT, 3, (1024, 1536), "high")
    assert (len(request.references), len(request.style_references), len(request.loras)) == (2, 1, 1)
    assert request.mask is not None
    assert (ask.tier, ask.max_cost, ask.max_latency, ask.model) == (Tier.PREMIUM, 0.0, 12.5, "house-1@acme")
    assert (ask.policy, ask.session, ask.priority, ask.caller) == ("quick", "s-1", "low", "shop")
    assert ask.headers == {"x-team": "red"}
    assert (request.duration, one.session) == (8.0, Session("s-1", "house-2"))
    assert (ask.app, ask.namespace, one.weight) == ("catalogue", "retail", 7)


def test_a_hashed_prompt_keeps_its_length_and_its_traits_and_no_word() -> None:
    one = read_row(HASHED)
    assert one.request.prompt == " " * 40
    assert one.traits == Traits("portrait", 0.5, "people", (("portrait", 0.5), ("people", 0.4)))
    kept = replace(one, request=replace(one.request, prompt="my secret plan", negative_prompt="my fear"))
    assert b"my" not in write_line(kept)


def test_only_the_headers_asked_for_are_written() -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a fox", ask=Ask(headers={"authorization": "key", "x-team": "a"}))
    assert json.loads(write_line(Recorded(request), headers=("x-team",)))["headers"] == {"x-team": "a"}
    assert "headers" not in json.loads(write_line(Recorded(request)))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"promt": "a fox"}', "'promt' is not a known key; did you mean \"prompt\"?"),
        ('{"prompt": "a fox", "n": 0}', "n must be between 1 and 1000; got 0"),
        ('{"prompt": "a fox", "size": "big"}', "size must be WIDTHxHEIGHT in pixels; got 'big'"),
        ('{"prompt": "a fox", "tier": "gold"}', "tier must be one of draft, standard, premium; got 'gold'"),
        ('{"prompt": "a fox", "headers": []}', "headers must be an object"),
        ('{"prompt": "a fox", "traits": {"task": "food", "confidence": 1}}', "traits stands in place of a prompt"),
        ('{"prompt_hash": "ab", "operation": "image.edit"}', "traits is required where the prompt is hashed"),
        ('{"traits": {"task": "food"}}', "confidence is required in traits"),
        ('{"traits": {"task": "food", "sure": 1}}', "'sure' is not a known key of traits"),
        ("{}", "prompt is required, or traits in its place"),
        ("[]", "must be a JSON object"),
        ('{"prompt": ', "is not valid JSON"),
    ],
)
def test_a_wrong_line_is_told_by_number_and_key(line: str, told: str) -> None:
    with pytest.raises(TrafficError, match=re.escape(told)) as caught:
        list(read_traffic([b'{"prompt": "a hare"}', b"", line.encode()]))
    assert caught.value.line == 3
    assert str(caught.value).startswith("line 3: ")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_bytes_make_reading_raise_anything_else(line: bytes) -> None:
    with suppress(TrafficError):
        list(read_traffic([line]))


# ------------------------------------------------------------------------------------------------- made-up traffic

SPEC = """\
about: a test
seed: 1
requests: 7
baseline: 0.04
slots: {what: [fox, hare, owl]}
groups:
  - {app: a, share: 0.5, prompts: ["{what} and {what}"], vary: {size: [512x512, 1024x1024]}}
  - {app: b, share: 0.25, request: {tier: premium}, prompts: [a tree]}
  - {app: c, share: 0.25, request: {operation: image.upscale, references: 1}}
"""


def test_a_spec_makes_the_same_rows_in_exactly_its_shares_every_time() -> None:
    spec = read_spec("spec.yaml", SPEC.encode())
    made = list(rows(spec))
    assert made == list(rows(spec))
    assert sorted(row["app"] for row in made) == ["a"] * 3 + ["b"] * 2 + ["c"] * 2
    assert all(re.fullmatch("(fox|hare|owl) and (fox|hare|owl)", row["prompt"]) for row in made if row["app"] == "a")
    assert {read_row(row).request.ask.tier for row in made if row["app"] == "b"} == {Tier.PREMIUM}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("share: 0.5", "share: 0.4", "add up to one"),
        ("[a tree]", "['{tree}']", "unknown slots: tree"),
        ("{tier: premium}", "{tiers: premium}", "'tiers' is not a known key; did you mean \"tier\"?"),
        ("1024x1024", "10x", "size must be WIDTHxHEIGHT"),
        ("prompts: [a tree]", "vary: {n: [1, 2]}", "prompt is required"),
        ("seed: 1", "sead: 1", 'did you mean "seed"?'),
        ("about:", "--- {}\n---\nabout:", "must be one document"),
    ],
)
def test_a_wrong_spec_is_told_at_its_line(run: Run, tmp_path: Path, old: str, new: str, told: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC.replace(old, new))
    ended = run("--traffic", file)
    assert ended.status == 1
    assert re.search(rf"^{re.escape(str(file))}:\d+:\d+: .*{re.escape(told)}", ended.err, re.MULTILINE)


# --------------------------------------------------------------------------------------------------- what is added up

FINE = deployment(model("fine", {"general": 0.7}), "acme", 0.05, 10.0, 20.0)
FAIR = deployment(model("fair", {"general": 0.4}), "acme", 0.01, 2.0, 4.0)
UNPRICED = deployment(model("unpriced", {"general": 0.9}), "acme", None)
TIERS = {"standard": {"floor": 0.35}, "premium": {"floor": 0.6}}


def config(*deployments: Any, **policies: Policy) -> Config:
    rules = policies or {"default": policy(tiers=TIERS)}
    return Config(catalog(*(deployments or (FINE, FAIR))), rules, "hash", ())


def tally_of(*traffic: Recorded, over: Config | None = None, **options: Any) -> Tally:
    options.setdefault("baseline", per_picture(0.04))
    return Replay(over or config(), now=NOW, **options).run(traffic)


def premium(**fields: Any) -> Recorded:
    return recorded(ask=Ask(tier=Tier.PREMIUM), **fields)


def test_costs_savings_and_mix_are_of_every_picture_by_its_weight() -> None:
    tally = tally_of(recorded(weight=3), recorded(n=2), premium())
    assert (tally.lines, tally.requests, tally.served.pictures) == (3, 5, 6)
    assert tally.served.cost_usd == pytest.approx(5 * 0.01 + 0.05)
    assert tally.served.baseline_usd == pytest.approx(6 * 0.04)
    assert tally.served.saved == pytest.approx(1 - 0.10 / 0.24)
    assert {name: sums.pictures for name, sums in tally.models.items()} == {"fair": 5, "fine": 1}
    assert {name: sums.requests for name, sums in tally.tiers.items()} == {"standard": 4, "premium": 1}
    assert tally.latency() == (2.0, 20.0)
    assert not tally.violations


def test_the_one_model_is_the_cheapest_of_those_that_serve_the_most() -> None:
    found = tally_of(recorded(weight=3), premium()).one_model()
    assert found is not None
    name, sums = found
    assert (name, sums.compared) == ("fine", 4)
    assert (sums.baseline_usd, sums.compared_usd) == pytest.approx((0.20, 0.08))


def test_what_has_no_price_on_one_side_is_in_no_comparison() -> None:
    over = config(FAIR, UNPRICED, default=policy(tiers=TIERS))
    tally = tally_of(
        recorded(model="fair"), premium(model="fair"), recorded(), over=over, baseline=as_asked(over.catalog)
    )
    assert (tally.served.unknown_cost, tally.served.compared) == (1, 1)
    assert tally.served.saved == pytest.approx(0.0)


def test_the_baseline_of_a_model_is_its_cheapest_host_that_does_the_work() -> None:
    hosts = catalog(FINE, deployment(FINE.model, "bazaar", 0.03))
    baseline = of_model(hosts, "fine")
    assert baseline(MediaRequest(Operation.GENERATE, n=2)) == pytest.approx(0.06)
    assert baseline(MediaRequest(Operation.UPSCALE)) is None


def test_a_floor_below_the_choice_would_be_found() -> None:
    """A decision never gives one; so the catalog changes behind its back."""
    over = config(FINE)
    replay = Replay(over, per_picture(0.04), NOW)
    quality = FINE.model.quality
    assert isinstance(quality, dict)
    decided = replay.run([premium()])
    assert not decided.violations
    score = quality["general"]
    quality["general"] = replace(score, p25=0.1)  # the screen of the decision has kept what it saw before
    try:
        assert replay.run([premium(weight=2)]).violations == {"fine": 2}
    finally:
        quality["general"] = score


def test_a_waived_floor_is_counted_and_no_violation() -> None:
    tally = tally_of(recorded(ask=Ask(model="fair", tier=Tier.PREMIUM)))
    assert (tally.waived, tally.violations.total()) == (1, 0)


def test_every_request_that_is_not_served_is_told_with_its_reason() -> None:
    over = config(default=policy(tiers=TIERS, rules=[{"name": "no-fire", "match": {"prompt": "fire"}, "refuse": "no"}]))
    tally = tally_of(
        recorded("a fire"),
        recorded(ask=Ask(max_cost=0.001), weight=2),
        recorded(ask=Ask(policy="nowhere")),
        recorded(ask=Ask(model="nobody")),
        recorded(),
        over=over,
    )
    assert tally.unserved == {
        "refused by rule no-fire": 1,
        "no deployment is eligible: 2 cost": 2,
        "there is no policy 'nowhere'": 1,
        "unknown model 'nobody'": 1,
    }
    assert (tally.requests, tally.served.requests) == (6, 1)


def test_only_providers_with_a_key_serve() -> None:
    assert tally_of(recorded(), credentials=frozenset()).unserved.total() == 1


WORDS = (
    "a fox",
    "a fox " * 15,
    "studio product photo of a jar",
    "portrait of a nurse",
    'poster that says "SALE"',
    "urgent " * 40,
)
requests = st.builds(
    MediaRequest,
    operation=st.sampled_from((Operation.GENERATE, Operation.EDIT)),
    prompt=st.sampled_from(WORDS),
    n=st.integers(1, 3),
    size=st.sampled_from((None, (1024, 1024), (512, 2048))),
    quality=st.sampled_from(("", "low", "high")),
    ask=st.builds(
        Ask,
        tier=st.sampled_from((None, *Tier)),
        max_cost=st.sampled_from((None, 0.02)),
        session=st.sampled_from(("", "one", "two")),
        priority=st.sampled_from(("", "high")),
        caller=st.sampled_from(("", "vip")),
        app=st.sampled_from(("", "web")),
    ),
)


seen = st.none() | st.builds(traits, st.just("food"), st.floats(0.1, 1.0), st.sampled_from(("portrait", "general")))


@given(st.lists(st.tuples(requests, seen), max_size=12))
@settings(max_examples=60, deadline=None)
def test_deciding_each_kind_of_request_once_changes_nothing(asked: list[tuple[MediaRequest, Traits | None]]) -> None:
    short = deployment(model("short", {"general": 0.8, "food": 0.3}), "self", 0.002, limits=Limits(max_prompt=100))
    rules = [
        {"name": "words", "match": {"prompt": "urgent"}, "objective": "fastest"},
        {"name": "vip", "match": {"caller": ["vip"], "minConfidence": 0.6}, "tier": "premium"},
        {"name": "house", "match": {"app": ["web"]}, "rewrite": {"promptSuffix": ", in the house style"}},
    ]
    over = config(FINE, FAIR, short, default=policy(tiers=TIERS, rules=rules))
    one_by_one = Tally()
    for request, told in asked:
        single = Replay(over, per_picture(0.04), NOW).run([Recorded(request, told)])
        one_by_one.served.cost_usd += single.served.cost_usd
        one_by_one.served.requests += single.served.requests
        for name, sums in single.models.items():
            one_by_one.models[name].requests += sums.requests
    together = Replay(over, per_picture(0.04), NOW).run(Recorded(*one) for one in asked)
    assert together.served.requests == one_by_one.served.requests
    assert together.served.cost_usd == pytest.approx(one_by_one.served.cost_usd)
    assert {name: sums.requests for name, sums in together.models.items()} == {
        name: sums.requests for name, sums in one_by_one.models.items()
    }


def test_what_a_rule_adds_to_a_prompt_counts_against_the_limits_of_models() -> None:
    short = deployment(model("short", {"general": 0.8, "food": 0.8}), "self", 0.002, limits=Limits(max_prompt=100))
    rules = [{"name": "house", "rewrite": {"promptSuffix": ", in the house style"}}]
    over = config(FINE, short, default=policy(tiers=TIERS, rules=rules))
    lines = [Recorded(MediaRequest(Operation.GENERATE, "a" * length), traits("food", 0.9)) for length in (10, 90, 10)]
    tally = Replay(over, per_picture(0.04), NOW).run(lines)
    assert tally.models["short"].requests == 2
    assert len(tally.models) == 2


def test_rules_see_the_app_and_namespace_of_a_line_and_reports_are_grouped_by_the_app() -> None:
    rules = [{"name": "closed", "match": {"app": ["web"], "namespace": ["retail"]}, "refuse": "no"}]
    over = config(FINE, default=policy(rules=rules))
    asked = (("web", "retail", 2), ("web", "media", 3), ("crm", "retail", 5))
    lines = [
        Recorded(MediaRequest(Operation.GENERATE, "a fox", ask=Ask(app=a, namespace=b)), weight=n) for a, b, n in asked
    ]
    tally = Replay(over, per_picture(0.04), NOW).run(lines)
    assert tally.unserved == {"refused by rule closed": 2}
    assert {app: sums.requests for app, sums in tally.apps.items()} == {"web": 3, "crm": 5}


def test_a_replay_decides_as_the_sidecar_does() -> None:
    over, told = config(), traits("food", 0.9)
    chosen = decide(premium().request, told, over.policies["default"], over.catalog, {}, NOW).candidates[0]
    tally = tally_of(replace(premium(), traits=told), over=over)
    assert list(tally.models) == [chosen.deployment.model.id]
    assert tally.served.cost_usd == chosen.price_usd


# --------------------------------------------------------------------------------------------------- the shipped cases


@pytest.mark.parametrize(
    ("case", "options"),
    [
        (case, options)
        for case in TOLD
        for options in ((), ("--prices", "2024-12"))
        if case != "enterprise" or not options
    ],
)
def test_the_shipped_cases_save_what_was_told_of_them_now_and_then(
    run: Run, case: str, options: tuple[str, ...]
) -> None:
    ended = run("--traffic", case, *options, "--json")
    assert ended.status == 0, ended.err
    told = ended.json
    assert told["saved"] >= TOLD[case]
    assert told["floor_violations"] == {}
    assert sum(told["unserved"].values()) <= 0.1 * told["asked"]
    assert told["one_model"]["saved"] > 0


def test_every_shipped_spec_is_of_the_size_and_price_its_case_names() -> None:
    specs = {file.stem: read_spec(file.name, file.read_bytes()) for file in SHIPPED.glob("*.yaml")}
    assert {name: spec.requests for name, spec in specs.items() if name != "enterprise"} == {
        "ecommerce": 2000,
        "agency": 8000,
        "creator": 500,
    }
    assert {spec.baseline for spec in specs.values()} == {0.04}
    assert [(group.share, group.request["tier"]) for group in specs["ecommerce"].groups] == [
        (0.40, "premium"),
        (0.35, "standard"),
        (0.25, "draft"),
    ]


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_prompts_of_a_spec_are_varied(file: Path) -> None:
    spec: Traffic = read_spec(file.name, file.read_bytes())
    prompts = [row["prompt"] for row in rows(spec)]
    assert len(set(prompts)) > len(prompts) / 2


def test_the_scores_of_the_price_book_are_those_of_the_arithmetic() -> None:
    *_, book = yaml.safe_load_all((SHIPPED / "prices" / "2024-12.yaml").read_text("utf-8"))
    for one in book["spec"]["models"]:
        for task, score in one["quality"].items():
            found = re.search(r"Elo (\d+) \+-(\d+) against (\d+)$", score["source"])
            assert found, score["source"]
            elo, half, reference = map(int, found.groups())
            spread = 60 if score.get("estimated") else 40
            low = elo - 0.674 * ((half / 1.96) ** 2 + spread**2) ** 0.5
            told = [1 / (1 + 10 ** ((reference - at) / 400)) for at in (elo, low)]
            assert [score["score"], score["p25"]] == pytest.approx(told, abs=0.001), (one["id"], task)


# ------------------------------------------------------------------------------------------------------------ the verb


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    file = tmp_path / "traffic.jsonl"
    file.write_bytes(write_line(recorded("studio product photo of a jar", 4, model="auto")) + write_line(premium()))
    return file


def test_recorded_traffic_is_replayed_from_a_file_and_from_standard_input(
    run: Run, traffic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file = run("--traffic", traffic, "--baseline", "$0.2", "--json")
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(traffic.read_bytes())))
    from_stdin = run("--traffic", "-", "--baseline", 0.2, "--json")
    assert from_file.status == from_stdin.status == 0
    changing = ("traffic", "decisions_per_second")
    assert {**from_file.json, **dict.fromkeys(changing)} == {**from_stdin.json, **dict.fromkeys(changing)}
    assert from_file.json["asked"] == 5
    assert from_file.json["baseline_usd"] == pytest.approx(1.0)


def test_the_table_tells_cost_floors_and_mix(run: Run) -> None:
    ended = run("--traffic", "creator")
    assert ended.status == 0
    assert re.search(r"^baseline +\$0.04 a picture: \$20.00$", ended.out, re.MULTILINE)
    assert re.search(r"^floors +0 violations", ended.out, re.MULTILINE)
    for heading in ("tier", "app", "task", "model"):
        assert re.search(rf"^{heading} +requests +pictures", ended.out, re.MULTILINE)


def test_a_model_is_a_baseline_and_without_any_each_request_names_its_own(run: Run, traffic: Path) -> None:
    models = run_models(run)
    named = run("--traffic", traffic, "--baseline", models[0], "--json").json
    assert named["baseline"] == f"{models[0]} for every picture"
    assert run("--traffic", traffic, "--json").json["baseline"] == "the model each request names"


def run_models(run: Run) -> list[str]:
    """The models that made something of the shipped creator's case."""
    return list(run("--traffic", "creator", "--json").json["by_model"])


def test_with_a_price_book_nothing_else_is_chosen(run: Run) -> None:
    book = yaml.safe_load_all((SHIPPED / "prices" / "2024-12.yaml").read_text("utf-8"))
    ids = {one["id"] for document in book if document["kind"] == "ModelCatalog" for one in document["spec"]["models"]}
    by_name = run("--traffic", "creator", "--prices", "2024-12", "--json").json
    by_path = run("--traffic", "creator", "--prices", SHIPPED / "prices" / "2024-12.yaml", "--json").json
    assert by_name["by_model"] == by_path["by_model"]
    assert by_name["by_model"].keys() <= ids


def test_the_plot_is_sound_svg_with_every_model_and_nothing_but_text(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "plot.svg"
    told = run("--traffic", "creator", "--plot", picture, "--json").json
    root = ElementTree.fromstring(picture.read_text("utf-8"))
    words = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert set(list(told["by_model"])[:5]) <= words
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "rect", "text"}
    assert all(float(element.get("width", 0)) <= 900 for element in root.iter() if element.tag.endswith("rect"))


def test_a_plot_escapes_what_it_is_given_and_stands_an_empty_replay() -> None:
    assert "&lt;b&gt; &quot;" in plot(Tally(), '<b> "')
    ElementTree.fromstring(plot(Tally(), '<b> "&'))


def test_progress_is_told_at_a_terminal_alone(run: Run, monkeypatch: pytest.MonkeyPatch, traffic: Path) -> None:
    assert run("--traffic", traffic).err == ""
    monkeypatch.setattr("proxy.verbs.traffic.TOLD_EVERY", 0.0)
    monkeypatch.setattr("proxy.verbs.traffic.sys.stderr", terminal := Terminal())
    assert run("--traffic", traffic).status == 0
    assert re.search(r"2 requests, [\d,]+ a second", terminal.written)


class Terminal(SimpleNamespace):
    written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None: ...


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ((), "--traffic"),
        (("--traffic", "nowhere.jsonl"), "and none that Muxel ships: agency, creator, ecommerce, enterprise"),
        (("--traffic", "creator", "--prices", "1999"), "and none that Muxel ships: 2024-12"),
        (("--traffic", "creator", "--baseline", "nobody"), "the catalog has no such model"),
        (("--traffic", "creator", "--baseline", "-1"), "dollars a picture"),
        (("--traffic", "creator", "--providers", "opanai"), 'did you mean "openai"?'),
        (("--traffic", "creator", "--policy", "nowhere.yaml"), "nowhere.yaml"),
        (("--traffic", "creator", "--plot", "nowhere/plot.svg"), "nowhere/plot.svg"),
    ],
)
def test_bad_usage_is_told_with_status_2(run: Run, argv: tuple[str, ...], told: str) -> None:
    ended = run(*argv)
    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err


def test_a_wrong_line_and_a_replay_of_nothing_end_with_status_1(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text('{"prompt": "a fox"}\n{"prompt": 3}\n')
    ended = run("--traffic", file)
    assert (ended.status, ended.out) == (1, "")
    assert f"{file}: line 2: prompt must be a string" in ended.err
    file.write_text("")
    assert run("--traffic", file).status == 1
