"""The shipped catalog and policy against what they say of themselves: policies/models/README.md, sources, floors."""

import re
from collections import defaultdict
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from math import sqrt

import pytest
import yaml

from adapters.ir import Media, MediaRequest, Operation, Tier
from adapters.registry import WIRES
from policies.catalog import Catalog, Score
from policies.classify import Traits
from policies.decide import decide
from policies.decision import Code
from policies.load import Config, WireFacts, load_documents
from policies.price import price

NOW = datetime(2026, 12, 2, tzinfo=UTC).timestamp()  # when the models known to retire have done so
SPREAD = {False: 40, True: 60}  # Elo, by whether the score is estimated
ELO = re.compile(
    r"Artificial Analysis (text-to-image|image editing), (.+?)(, of .+)?: Elo (\d+) \+-(\d+) against (\d+)"
)
README_ROW = re.compile(r"^\| (\w+) \| (.+?)( \(transferred\))? \| (\d+) \|$", re.MULTILINE)
UNPRICED = {"gpt-image-2.6-flare", "gpt-image-2.6-sunburst"}  # listed without a price, for those who name them
PICTURE = Media(data=b"picture", mime="image/png")

# Names of the day a provider has announced, or that have gone: OpenAI's and Google's deprecation pages, 2026-11-20.
SHUTDOWNS = {
    "dall-e-2": date(2026, 5, 12),
    "dall-e-3": date(2026, 5, 12),
    "gpt-image-1": date(2026, 10, 23),
    "gpt-image-1.5": date(2026, 12, 1),
    "gpt-image-1-mini": date(2026, 12, 1),
    "gemini-2.5-flash-image": date(2026, 10, 2),
    "imagen-4.0-generate-001": date(2026, 8, 17),
    "imagen-4.0-ultra-generate-001": date(2026, 8, 17),
    "imagen-4.0-fast-generate-001": date(2026, 8, 17),
    "grok-imagine-image-quality": date(2026, 11, 2),
}


@pytest.fixture(scope="module")
def shipped() -> Config:
    """Loading checks every option, operation, provider and task name already, and fails with their places."""
    facts = {
        name: WireFacts(wire.provider.PROVIDER_OPERATIONS, wire.provider.OPTIONS)
        for name, wire in WIRES.items()
        if wire.provider
    }
    return load_documents({}, facts, tasks=tasks_of("image") | tasks_of("edit"))


@pytest.fixture(scope="module")
def catalog(shipped: Config) -> Catalog:
    return shipped.catalog


@cache
def tasks_of(group: str) -> frozenset[str]:
    lexicon = yaml.safe_load(files("policies").joinpath("lexicon.yaml").read_text())
    return frozenset(task for task, spec in lexicon["tasks"].items() if spec["group"] == group)


def scores(catalog: Catalog) -> list[tuple[str, Score]]:
    return [(f"{model.id} {task}", score) for model in catalog.models.values() for task, score in model.quality.items()]


def win(elo: float, reference: float) -> float:
    return 1 / (1 + 10 ** ((reference - elo) / 400))


def one_picture(operation: Operation) -> MediaRequest:
    references = () if operation is Operation.GENERATE else (PICTURE,)
    mask = PICTURE if operation is Operation.INPAINT else None
    return MediaRequest(operation, prompt="a prompt", size=(1024, 1024), references=references, mask=mask)


def operation_of(task: str) -> Operation:
    return Operation.EDIT if task in tasks_of("edit") else Operation.GENERATE


def test_there_is_enough_to_choose_from(catalog: Catalog) -> None:
    used = {deployment.provider.name for deployment in catalog.deployments}
    assert len(catalog.deployments) >= 30
    assert len(catalog.models) >= 20
    assert len(used) >= 6
    assert used == set(catalog.providers)


def test_every_score_follows_from_the_elo_it_cites(catalog: Catalog) -> None:
    for where, score in scores(catalog):
        cited = ELO.fullmatch(score.source)
        assert cited, f"{where}: {score.source}"
        elo, half, reference = (int(cited[group]) for group in (4, 5, 6))
        sigma = sqrt((half / 1.96) ** 2 + SPREAD[score.estimated] ** 2)
        assert score.score == pytest.approx(win(elo, reference), abs=0.0005), where
        assert score.p25 == pytest.approx(win(elo - 0.674 * sigma, reference), abs=0.0005), where


def test_scores_use_the_categories_and_references_of_the_readme(catalog: Catalog) -> None:
    text = files("policies").joinpath("models", "README.md").read_text()
    rows = {task: (category, bool(moved), int(elo)) for task, category, moved, elo in README_ROW.findall(text)}
    assert set(rows) == tasks_of("image") | tasks_of("edit")
    for model in catalog.models.values():
        for task, score in model.quality.items():
            cited = ELO.fullmatch(score.source)
            assert cited
            category, transferred, reference = rows[task]
            if (cited[1] == "image editing" and task == "general") or cited[2] != category:
                assert task in ("general", "logo"), f"{model.id} {task}: {score.source}"
                continue
            assert int(cited[6]) == reference, f"{model.id} {task}"
            assert score.estimated == (transferred or bool(cited[3])), f"{model.id} {task}"
            assert (score.votes is None) == score.estimated, f"{model.id} {task}"


def test_a_model_is_scored_for_everything_it_does_or_not_at_all(catalog: Catalog) -> None:
    for model in catalog.models.values():
        if not model.quality:
            continue
        wanted = {"general"}
        if Operation.GENERATE in model.operations:
            wanted |= tasks_of("image")
        if model.operations & {Operation.EDIT, Operation.INPAINT}:
            wanted |= tasks_of("edit")
        assert set(model.quality) == wanted, model.id


def test_every_figure_has_a_source_and_a_past_date(catalog: Catalog) -> None:
    today = datetime.now(UTC).date()
    for deployment in catalog.deployments:
        for block in filter(None, (deployment.price, deployment.edit_price)):
            assert re.search(r"https://|litellm|estimate: ", block.source), f"{deployment.id}: {block.source}"
            assert date(2026, 1, 1) <= block.as_of <= today, deployment.id
    for where, score in scores(catalog):
        assert date(2026, 1, 1) <= score.as_of <= today, where


def test_prices_are_of_the_right_order(catalog: Catalog) -> None:
    for deployment in catalog.deployments:
        for operation in deployment.operations:
            usd = price(one_picture(operation), deployment)
            if deployment.model.id in UNPRICED:
                assert usd is None, deployment.id
            else:
                assert usd is not None, deployment.id
                assert 0.0005 <= usd <= 1.0, f"{deployment.id} {operation}: {usd}"


def test_a_better_setting_of_one_model_costs_more(catalog: Catalog) -> None:
    request = one_picture(Operation.GENERATE)
    for provider in ("openai", "replicate"):
        low, medium, high = (
            next(price(request, deployment) for deployment in catalog.by_name[f"gpt-image-2-{setting}@{provider}"])
            for setting in ("low", "medium", "high")
        )
        assert low is not None
        assert medium is not None
        assert high is not None
        assert low < medium < high


def test_no_model_is_listed_beyond_its_shutdown(catalog: Catalog) -> None:
    for deployment in catalog.deployments:
        model = deployment.model
        for name in {model.id, deployment.remote, *model.aliases} & SHUTDOWNS.keys():
            assert model.retires is not None, model.id
            assert model.retires <= SHUTDOWNS[name], model.id


@pytest.mark.parametrize("task", sorted(tasks_of("image") | tasks_of("edit")))
def test_floors_leave_a_choice_and_mean_something(shipped: Config, task: str) -> None:
    """Models about to retire do not count: the floors must hold without them."""
    tiers = shipped.policies["default"].tiers
    able = {
        deployment.model.id: deployment.model.quality_for(task)
        for deployment in shipped.catalog.by_operation[operation_of(task)]
        if deployment.model.retires is None
    }
    clear = {
        tier: sum(score is not None and score.p25 >= terms.floor for score in able.values())
        for tier, terms in tiers.items()
    }
    assert clear[Tier.PREMIUM] >= (3 if task in tasks_of("image") else 2)
    assert clear[Tier.STANDARD] >= 6
    assert clear[Tier.DRAFT] >= 10
    assert clear[Tier.PREMIUM] < clear[Tier.STANDARD] < clear[Tier.DRAFT]


@pytest.mark.parametrize("provider", ["openai", "google", "bfl", "replicate", "recraft"])
def test_one_key_is_enough_for_every_kind_of_picture(shipped: Config, provider: str) -> None:
    groups = ("image",) if provider == "recraft" else ("image", "edit")
    for task in sorted(set().union(*map(tasks_of, groups))):
        assert _chosen(shipped, task, Tier.STANDARD, {provider}), task


@pytest.mark.parametrize("tier", [Tier.STANDARD, Tier.PREMIUM])
@pytest.mark.parametrize("provider", ["openai", "bfl", "replicate"])
def test_a_mask_finds_a_model_that_takes_it(shipped: Config, provider: str, tier: Tier) -> None:
    for task in sorted(tasks_of("edit")):
        assert _chosen(shipped, task, tier, {provider}, Operation.INPAINT), task


def test_what_the_picture_shows_decides_who_makes_it(shipped: Config) -> None:
    everyone = set(shipped.catalog.providers) - {"vllm"}
    chosen = defaultdict(set)
    for tier in Tier:
        for task in tasks_of("image"):
            chosen[tier].add(_chosen(shipped, task, tier, everyone))
    assert all(len(models) >= 3 for models in chosen.values()), dict(chosen)


def test_a_server_nobody_runs_is_never_chosen(shipped: Config) -> None:
    decision = decide(
        one_picture(Operation.GENERATE),
        Traits("photo", 1.0, tasks=(("photo", 1.0),)),
        shipped.policies["default"],
        shipped.catalog,
        {},
        NOW,
        credentials={"openai"},
    )
    self_hosted = [one for one in decision.rejected if one.deployment.provider.name == "vllm"]
    assert self_hosted
    assert {one.code for one in self_hosted} == {Code.CREDENTIAL}


def test_every_provider_has_a_key_of_its_own_in_a_file_of_its_name_or_a_variable(shipped: Config) -> None:
    providers = shipped.catalog.providers
    assert {name: provider.credential.file for name, provider in providers.items()} == {
        name: name for name in providers
    }
    variables = {provider.credential.env for provider in providers.values()} - {""}
    assert len(variables) == len(providers)


def _chosen(shipped: Config, task: str, tier: Tier, keys: set[str], operation: Operation | None = None) -> str:
    """The first choice of the default policy when it is sure of the task, or "" when there is none."""
    traits = Traits(task, 1.0, tasks=((task, 1.0),), tier=tier)
    request = one_picture(operation or operation_of(task))
    policy = shipped.policies["default"]
    decision = decide(request, traits, policy, shipped.catalog, {}, NOW, credentials=keys)
    return decision.candidates[0].deployment.model.id if decision.candidates else ""
