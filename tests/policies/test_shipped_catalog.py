"""The shipped catalog and policy against what they say of themselves: policies/models/README.md, sources, floors."""

import re
from collections import defaultdict
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from math import sqrt
from typing import Any

import pytest
import yaml

from adapters.ir import Margins, Media, MediaRequest, Operation, Tier
from adapters.registry import WIRES
from policies.catalog import Catalog, Model, PassThrough, Score
from policies.classify import Traits
from policies.decide import decide
from policies.decision import Code, Decision
from policies.load import Config, WireFacts, load_documents
from policies.price import price

NOW = datetime(2026, 12, 2, tzinfo=UTC).timestamp()  # when the models known to retire have done so
SPREAD = {False: 40, True: 60}  # Elo, by whether the score is estimated
ELO = re.compile(
    r"Artificial Analysis (text-to-image|image editing|text-to-video|image-to-video), (.+?)(, of .+)?:"
    r" Elo (\d+) \+-(\d+) against (\d+)"
)
# Each arena's board: the table of it in the README, and the task there that is the whole board.
BOARDS = {
    "text-to-image": "text to image", "image editing": "image editing",
    "text-to-video": "text to video", "image-to-video": "image to video",
}  # fmt: skip
OVERALL = {
    "text-to-image": "general", "image editing": "upscale",
    "text-to-video": "general_video", "image-to-video": "general_video",
}  # fmt: skip
UNCOMPARED = re.compile(r"No public comparison; .+: (-?\d+) Elo over the reference")
README_TABLE = re.compile(r"^### (.+)\n\n\| task \| category \| reference \|\n(?:\|.+\n)+", re.MULTILINE)
README_ROW = re.compile(r"^\| (\w+) \| (.+?)( \(transferred\))? \| (\d+) \|$", re.MULTILINE)
# Listed without a price, for those who name them.
UNPRICED = {"gpt-image-2.6-flare", "gpt-image-2.6-sunburst", "flux-outpainting", "flux-deblur"}
SELF_HOSTED = {"vllm", "a1111", "comfyui"}
EDITS = {Operation.EDIT, Operation.INPAINT}
VIDEOS = {Operation.VIDEO_GENERATE, Operation.VIDEO_FROM_IMAGE}
ON_IMAGES = [operation for operation in Operation if operation.value.startswith("image.")]
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
    "sora-2": date(2026, 9, 24),
    "sora-2-pro": date(2026, 9, 24),
}


FACTS = {
    name: WireFacts(wire.provider.PROVIDER_OPERATIONS, wire.provider.OPTIONS)
    for name, wire in WIRES.items()
    if wire.provider
}


@pytest.fixture(scope="module")
def shipped() -> Config:
    """Loading checks every option, operation, provider and task name already, and fails with their places."""
    return load_documents({}, FACTS, tasks=tasks_of("image", "edit", "video"))


@pytest.fixture(scope="module")
def catalog(shipped: Config) -> Catalog:
    return shipped.catalog


@cache
def tasks_of(*groups: str) -> frozenset[str]:
    lexicon = yaml.safe_load(files("policies").joinpath("lexicon.yaml").read_text())
    return frozenset(task for task, spec in lexicon["tasks"].items() if spec["group"] in groups)


def scores(catalog: Catalog) -> list[tuple[str, Score]]:
    return [(f"{model.id} {task}", score) for model in catalog.models.values() for task, score in model.quality.items()]


def hosts(text: str) -> list[dict[str, Any]]:
    """The deployments as they are written."""
    return [
        host
        for document in yaml.safe_load_all(text)
        for model in document["spec"]["models"]
        for host in model["deployments"]
    ]


def win(elo: float, reference: float) -> float:
    return 1 / (1 + 10 ** ((reference - elo) / 400))


def is_assumed(model: Model) -> bool:
    return "general" in model.quality and bool(UNCOMPARED.fullmatch(model.quality["general"].source))


def one_picture(operation: Operation, media_format: str = "") -> MediaRequest:
    drawn = operation in EDITS | {Operation.GENERATE}
    return MediaRequest(
        operation,
        prompt="a prompt" if drawn else "",
        size=(1024, 1024) if drawn else None,
        references=() if operation is Operation.GENERATE else (PICTURE,),
        mask=PICTURE if operation in {Operation.INPAINT, Operation.ERASE} else None,
        margins=Margins(left=64) if operation is Operation.OUTPAINT else None,
        scale=4.0 if operation is Operation.UPSCALE else None,
        format=media_format,
    )


def operation_of(task: str) -> Operation:
    return Operation.EDIT if task in tasks_of("edit") else Operation.GENERATE


def test_there_is_enough_to_choose_from(catalog: Catalog) -> None:
    used = {deployment.provider.name for deployment in catalog.deployments}
    assert len(catalog.deployments) >= 250
    assert len(catalog.models) >= 120
    assert len(used) >= 18
    assert used == set(catalog.providers)


def test_every_wire_that_can_be_sold_by_is(catalog: Catalog) -> None:
    used = {deployment.provider.wire for deployment in catalog.deployments}
    assert used == {name for name, wire in WIRES.items() if wire.provider}


def test_every_operation_that_a_wire_can_do_has_a_model(catalog: Catalog) -> None:
    possible = set().union(*(wire.provider.PROVIDER_OPERATIONS for wire in WIRES.values() if wire.provider))
    assert possible - {operation for deployment in catalog.deployments for operation in deployment.operations} == {
        Operation.FACE_SWAP  # no host of it is documented well enough to be listed
    }


def test_no_deployment_stands_twice(catalog: Catalog) -> None:
    calls = [
        (one.provider.name, one.region, one.remote, one.operations, repr(one.options), one.model.id)
        for one in catalog.deployments
    ]
    assert len(set(calls)) == len(calls)
    for provider, remote in {(one.provider.name, one.remote) for one in catalog.deployments}:
        models = {
            repr(one.options): one.model.id
            for one in catalog.deployments
            if (one.provider.name, one.remote) == (provider, remote)
        }
        assert len(set(models.values())) == len(models), f"{provider} {remote}"


def test_every_score_follows_from_the_elo_it_cites(catalog: Catalog) -> None:
    for where, score in scores(catalog):
        measured, assumed = ELO.fullmatch(score.source), UNCOMPARED.fullmatch(score.source)
        if measured:
            elo, half, reference = (int(measured[group]) for group in (4, 5, 6))
        else:
            assert assumed, f"{where}: {score.source}"
            assert score.estimated, where
            elo, half, reference = int(assumed[1]), 0, 0
        sigma = sqrt((half / 1.96) ** 2 + SPREAD[score.estimated] ** 2)
        assert score.score == pytest.approx(win(elo, reference), abs=0.0005), where
        assert score.p25 == pytest.approx(win(elo - 0.674 * sigma, reference), abs=0.0005), where


def test_what_nobody_compared_is_set_at_one_of_the_readmes_levels_and_by_one_score(catalog: Catalog) -> None:
    text = files("policies").joinpath("models", "README.md").read_text()
    levels = {int(elo) for elo in re.findall(r"^\| (\d+) \| 0\.\d+ \| 0\.\d+ \|", text, re.MULTILINE)}
    assumed = [model for model in catalog.models.values() if is_assumed(model)]
    assert assumed
    assert {int(UNCOMPARED.sub(r"\1", model.quality["general"].source)) for model in assumed} == levels
    for model in assumed:
        assert set(model.quality) == {"general"}, model.id


def test_scores_use_the_categories_and_references_of_the_readme(catalog: Catalog) -> None:
    text = files("policies").joinpath("models", "README.md").read_text()
    rows = {
        table[1].lower(): {
            task: (category, bool(moved), int(elo)) for task, category, moved, elo in README_ROW.findall(table[0])
        }
        for table in README_TABLE.finditer(text)
    }
    images, edits, videos, animations = BOARDS
    assert {board: set(rows[BOARDS[board]]) for board in BOARDS} == {
        images: tasks_of("image"), edits: tasks_of("edit"), videos: tasks_of("video"), animations: tasks_of("video")
    }  # fmt: skip
    for model in catalog.models.values():
        if is_assumed(model):
            continue
        for task, score in model.quality.items():
            cited = ELO.fullmatch(score.source)
            assert cited
            assert cited[1] == _board(model, task), f"{model.id} {task}: {score.source}"
            category, transferred, reference = rows[BOARDS[cited[1]]][OVERALL[cited[1]] if task == "general" else task]
            if cited[2] != category:
                assert task == "logo", f"{model.id} {task}: {score.source}"
                continue
            transferred &= task != "general"
            assert int(cited[6]) == reference, f"{model.id} {task}"
            assert score.estimated == (transferred or bool(cited[3])), f"{model.id} {task}"
            assert (score.votes is None) == score.estimated, f"{model.id} {task}"


def _board(model: Model, task: str) -> str:
    """The one that a model's score for a task has to come from."""
    images, edits, videos, animations = BOARDS
    if model.operations & VIDEOS:
        return videos if Operation.VIDEO_GENERATE in model.operations else animations
    draws = Operation.GENERATE in model.operations
    return images if task in tasks_of("image") and (draws or task != "general") else edits


def test_a_model_is_scored_for_everything_it_does_or_not_at_all(catalog: Catalog) -> None:
    for model in catalog.models.values():
        if not model.quality or is_assumed(model):
            continue
        wanted = {"general"}
        if Operation.GENERATE in model.operations:
            wanted |= tasks_of("image")
        if model.operations & EDITS:
            wanted |= tasks_of("edit")
        if model.operations & VIDEOS:
            wanted |= tasks_of("video")
        assert set(model.quality) == wanted, model.id


def test_every_figure_has_a_source_and_a_past_date(catalog: Catalog) -> None:
    today = datetime.now(UTC).date()
    for deployment in catalog.deployments:
        for block in filter(None, (deployment.price, deployment.edit_price)):
            assert re.search(r"https://|litellm|estimate: ", block.source), f"{deployment.id}: {block.source}"
            assert date(2026, 1, 1) <= block.as_of <= today, deployment.id
    for file in files("policies").joinpath("models").iterdir():
        for host in hosts(file.read_text()) if file.name.endswith(".yaml") else ():
            told = host.get("latency") or {}
            assert ("source" in told) == ("asOf" in told), host
            assert told.get("asOf", today) <= today, host
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
    for provider in ("openai", "replicate", "fal"):
        low, medium, high = (
            next(
                price(request, deployment)
                for deployment in catalog.by_name[f"gpt-image-2-{setting}"]
                if deployment.provider.name == provider
            )
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


@pytest.mark.parametrize("provider", ["openai", "google", "bfl", "replicate", "fal", "recraft"])
def test_one_key_is_enough_for_every_kind_of_picture(shipped: Config, provider: str) -> None:
    groups = ("image",) if provider == "recraft" else ("image", "edit")
    for task in sorted(set().union(*map(tasks_of, groups))):
        assert _chosen(shipped, task, Tier.STANDARD, {provider}), task


@pytest.mark.parametrize("tier", [Tier.STANDARD, Tier.PREMIUM])
@pytest.mark.parametrize("provider", ["openai", "bfl", "replicate", "fal"])
def test_a_mask_finds_a_model_that_takes_it(shipped: Config, provider: str, tier: Tier) -> None:
    for task in sorted(tasks_of("edit")):
        assert _chosen(shipped, task, tier, {provider}, Operation.INPAINT), task


def test_what_the_picture_shows_decides_who_makes_it(shipped: Config) -> None:
    everyone = set(shipped.catalog.providers) - SELF_HOSTED
    chosen = defaultdict(set)
    for tier in Tier:
        for task in tasks_of("image"):
            chosen[tier].add(_chosen(shipped, task, tier, everyone))
    assert all(len(models) >= 3 for models in chosen.values()), dict(chosen)


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("operation", [one for one in ON_IMAGES if one is not Operation.FACE_SWAP])
def test_every_kind_of_work_finds_a_model_at_every_tier(shipped: Config, operation: Operation, tier: Tier) -> None:
    assert _decided(shipped, one_picture(operation), Traits("", 0.0, tier=tier)).candidates


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("task", sorted(tasks_of("image")))
def test_who_asks_for_svg_gets_it_from_an_svg_model_and_nobody_else_does(
    shipped: Config, task: str, tier: Tier
) -> None:
    traits = Traits(task, 1.0, tasks=((task, 1.0),), tier=tier)
    for media_format, vector in (("svg", True), ("png", False)):
        candidates = _decided(shipped, one_picture(Operation.GENERATE, media_format), traits).candidates
        assert {one.deployment.limits.vector for one in candidates} == {vector}


def test_a_server_nobody_runs_is_never_chosen(shipped: Config) -> None:
    for operation in ON_IMAGES:
        decision = _decided(shipped, one_picture(operation), Traits("photo", 1.0, tasks=(("photo", 1.0),)), {"openai"})
        rejected = [one for one in decision.rejected if one.deployment.provider.name in SELF_HOSTED]
        offered = [one for one in shipped.catalog.by_operation.get(operation, ()) if one.provider.name in SELF_HOSTED]
        assert {one.deployment.id for one in rejected if one.code is Code.CREDENTIAL} == {one.id for one in offered}
    assert {one.provider.name for one in shipped.catalog.deployments} >= SELF_HOSTED


def test_strangers_calls_are_handed_on_with_the_callers_key_and_by_one_provider_of_a_wire(shipped: Config) -> None:
    passing = [one for one in shipped.catalog.providers.values() if one.pass_through is not PassThrough.NONE]
    assert {one.pass_through for one in passing} == {PassThrough.CALLERS_KEY}
    assert len({one.wire for one in passing}) == len(passing)
    assert not {one.name for one in passing} & (SELF_HOSTED | {"bedrock"})


def test_every_provider_has_a_key_of_its_own_in_a_file_of_its_name_or_a_variable(shipped: Config) -> None:
    providers = shipped.catalog.providers
    assert {name: provider.credential.file for name, provider in providers.items()} == {
        name: name for name in providers
    }
    variables = {provider.credential.env for provider in providers.values()} - {""}
    assert len(variables) == len(providers)


def test_the_readmes_example_of_azure_and_vertex_loads() -> None:
    text = files("policies").joinpath("models", "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.+?)```", text, re.DOTALL)
    catalog = load_documents({"own.yaml": example}, FACTS, tasks=tasks_of("image", "edit", "video")).catalog
    for name, provider in (("azure-gpt-image-2-medium", "azure-openai"), ("vertex-gemini-3.1-flash-image", "vertex")):
        assert [one.provider.name for one in catalog.by_name[name]] == [provider]


def _chosen(shipped: Config, task: str, tier: Tier, keys: set[str], operation: Operation | None = None) -> str:
    """The first choice of the default policy when it is sure of the task, or "" when there is none."""
    traits = Traits(task, 1.0, tasks=((task, 1.0),), tier=tier)
    candidates = _decided(shipped, one_picture(operation or operation_of(task)), traits, keys).candidates
    return candidates[0].deployment.model.id if candidates else ""


def _decided(shipped: Config, request: MediaRequest, traits: Traits, keys: set[str] | None = None) -> Decision:
    """By the default policy; without keys, with those of every provider that is not a server of one's own."""
    keys = set(shipped.catalog.providers) - SELF_HOSTED if keys is None else keys
    return decide(request, traits, shipped.policies["default"], shipped.catalog, {}, NOW, credentials=keys)
