"""Feeds against a catalog, case by case: what is written, what changed, and what became of every other row.

A case is a YAML file in ``refresh/`` with the feeds as text and ``expect``, which ``pytest --regold`` rewrites.
"""

import re
from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import kubernetes_validate
import orjson
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies import supply
from policies.feeds import PRICE_COLUMNS, SCORE_COLUMNS, read_prices, read_scores
from policies.load import Config, load_entries
from policies.parse import parse
from policies.refresh import Refresh, refresh
from policies.reprice import BLOCKS, show
from policies.scores import load_standard, read_citation
from policies.validate import validate
from policies.verdicts import Bounds
from policies.write import MOST_BYTES, TooLarge, catalog_text, config_map, manifest_text
from proxy.configuration import WIRE_FACTS

CASES = Path(__file__).parent / "refresh"
CATALOG = (CASES / "catalog.yaml").read_text()
TODAY = date(2026, 11, 30)


@cache
def catalog(text: str = CATALOG) -> tuple[Config, tuple[supply.Model, ...]]:
    """What a text has in force by itself, without what is shipped; "": what is shipped."""
    config, entries = load_entries({"catalog.yaml": text} if text else {}, WIRE_FACTS, shipped=not text)
    return config, tuple(entry.model for entry in entries)


def refreshed(
    prices: str = "",
    scores: str = "",
    *,
    previous: str = "",
    own: Sequence[str] = (),
    force: Sequence[str] = (),
    text: str = CATALOG,
) -> Refresh:
    config, models = catalog(text)
    price_rows, unread = read_prices("prices.csv", prices)
    score_rows, unread_too = read_scores("scores.csv", scores)
    earlier = yaml.safe_load(previous)["spec"]["models"] if previous else []
    return refresh(
        models,
        config.catalog.deployments,
        price_rows,
        score_rows,
        standard=load_standard(),
        bounds=Bounds(TODAY, forced=frozenset(force)),
        unread=(*unread, *unread_too),
        previous=[supply.Model.model_validate_json(orjson.dumps(model)) for model in earlier],
        own=dict.fromkeys(own, "own.yaml:7:11"),
    )


def as_written(outcome: Refresh) -> Any:
    return (yaml.safe_load(catalog_text(outcome.models)) or {"spec": {"models": []}})["spec"]["models"]


def told(outcome: Refresh) -> dict[str, Any]:
    """The outcome as a case has it; of the models written only what differs from the catalog."""
    prices = {
        f"{one.deployment} {BLOCKS[one.block]}": [show(one.old), show(one.new), one.factor and round(one.factor, 3)]
        for one in outcome.prices
    }
    scores = {
        f"{one.model} {one.task}": [
            one.old and f"{one.old.score:g} {one.old.p25:g}",
            f"{one.new.score:g} {one.new.p25:g}",
        ]
        for one in outcome.scores
    }
    found = {
        "prices": prices,
        "scores": scores,
        "references": [f"{', '.join(one.categories)}: {one.old} -> {one.new}" for one in outcome.anchors],
        "refused": list(map(str, outcome.refused)),
        "unmatched": [f"{one.place}: {one.what}: {one.rows}" for one in outcome.unmatched],
        "ending": [f"{name} {day}" for name, day in outcome.ending],
        "confirmed": outcome.confirmed,
        "superseded": outcome.superseded,
    }
    return {key: value for key, value in found.items() if value} | {"written": differing(outcome)}


def differing(outcome: Refresh) -> Any:
    """Of each written model the blocks that the catalog has not so."""
    before = {model.id: written(model) for model in catalog()[1]}
    found = {}
    for model in as_written(outcome):
        old = before[model["id"]]
        hosts = {
            f"{host['provider']} {host['remote']}": {key: value for key, value in host.items() if value != was.get(key)}
            for host, was in zip(model["deployments"], old["deployments"], strict=True)
            if host != was
        }
        quality = {
            task: score for task, score in model.get("quality", {}).items() if score != old.get("quality", {}).get(task)
        }
        rest = {key for key in model if key not in ("deployments", "quality") and model[key] != old.get(key)}
        assert not rest
        assert model.keys() - {"quality"} == old.keys() - {"quality"}
        found[model["id"]] = {"deployments": hosts, "quality": quality}
    return found


def written(model: supply.Model) -> Any:
    return yaml.safe_load(catalog_text([model]))["spec"]["models"][0]


@pytest.mark.parametrize("file", sorted(CASES.glob("*.yaml")), ids=lambda file: file.stem)
def test_case(file: Path, request: pytest.FixtureRequest) -> None:
    if file.name == "catalog.yaml":
        return
    text = file.read_text()
    head, _, _ = text.partition("\nexpect:")
    case = yaml.safe_load(head)
    options = {key: value for key, value in case.items() if key != "doc"}
    outcome = refreshed(**options)
    found = yaml.safe_load(orjson.dumps(told(outcome), default=str))
    if request.config.getoption("--regold"):
        tail = yaml.safe_dump({"expect": found}, sort_keys=False, width=1000, allow_unicode=True)
        file.write_text(head.rstrip("\n") + "\n" + tail)
        return
    assert found == yaml.safe_load(orjson.dumps(yaml.safe_load(text)["expect"], default=str))
    assert_loads(outcome)


def assert_loads(outcome: Refresh, text: str = CATALOG) -> Config:
    """What is written overlays the catalog as a user's own would: nothing else of a model is lost by it."""
    documents = [one for one in yaml.safe_load_all(text) if one and one["kind"] != "ModelCatalog"]
    others = [model for model in catalog(text)[1] if model.id not in {one.id for one in outcome.models}]
    rest = catalog_text(others).replace("name: refreshed", "name: rest")
    files = {"kinds.yaml": yaml.safe_dump_all(documents), "rest.yaml": rest, "new.yaml": catalog_text(outcome.models)}
    config, entries = load_entries(files, WIRE_FACTS, shipped=False)
    assert {entry.model.id: entry.model for entry in entries} == (
        {model.id: model for model in catalog(text)[1]} | {model.id: model for model in outcome.models}
    )
    return config


# ------------------------------------------------------------------------------------------------- what always holds


def own_feeds() -> tuple[str, str]:
    """Feeds that say what the shipped catalog says: every price block and every figure that a score cites."""
    _, models = catalog("")
    config, _ = catalog("")
    ids = {(one.model.id, one.provider.name, one.remote, one.region): one.id for one in config.catalog.deployments}
    prices, scores = [], {}
    for model in models:
        for host in model.deployments:
            name = ids[model.id, host.provider, host.remote, host.region]
            for block, operation in ((host.price, "generate"), (host.edit_price, "edit")):
                if block:
                    prices.append(price_line(name, operation, block))
        for score in model.quality.values():
            cited = read_citation(score.source)
            if cited and not cited.relative and len(cited.categories) == 1:
                key = cited.board, model.id, cited.categories[0]
                scores[key] = {
                    "model": model.id, "board": cited.board, "category_or_dimension": cited.categories[0],
                    "score": cited.elo, "scale": "Elo", "date": score.as_of, "source": score.source,
                    "ci95": cited.half, "n": score.votes,
                }  # fmt: skip
    return lines(prices), lines(list(scores.values()))


def price_line(name: str, operation: str, block: supply.Price) -> dict[str, Any]:
    formula = block.formula.model_dump()
    unit, usd, default = formula.pop("unit"), formula.pop("usd", None), formula.pop("default", "")
    seconds = default if unit == "second" else formula.pop("seconds", "")
    line = {
        "deployment": name, "operation": operation, "unit": unit,
        "price_usd": formula if usd is None else usd, "default": "" if unit == "second" else default,
        "seconds": seconds,
        "per_reference": block.per_reference, "priority": dict(block.priority), "estimated": block.estimated,
        "date": block.as_of, "source": block.source,
    }  # fmt: skip
    return {key: value for key, value in line.items() if value != ""}


def lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(orjson.dumps(row, default=str).decode() + "\n" for row in rows)


def test_a_feed_of_the_shipped_catalog_itself_changes_nothing() -> None:
    prices, scores = own_feeds()
    assert (prices.count("\n"), scores.count("\n")) > (300, 1000)
    outcome = refreshed(prices, scores, text="")
    assert (outcome.models, outcome.prices, outcome.scores, outcome.anchors) == ((), (), (), ())
    assert (outcome.refused, outcome.unmatched, outcome.superseded) == ((), (), 0)
    assert outcome.confirmed >= prices.count("\n") + 1000


def test_a_refreshed_catalog_loads_and_is_what_it_was_but_for_the_figures() -> None:
    """Every price of the shipped catalog a little dearer, every score a little better: all models are written."""
    prices, scores = own_feeds()
    dearer = [orjson.loads(line) | {"date": "2026-11-30"} for line in prices.splitlines()]
    for row in dearer:
        usd = row["price_usd"]
        row["price_usd"] = {name: value * 1.25 for name, value in usd.items()} if isinstance(usd, dict) else usd * 1.25
    better = [orjson.loads(line) for line in scores.splitlines()]
    for row in better:
        row |= {"score": row["score"] + 10, "date": "2026-11-30"}
    outcome = refreshed(lines(dearer), lines(better), text="")
    assert outcome.refused == ()
    assert len(outcome.prices) == len(dearer)
    assert {one.factor for one in outcome.prices} >= {1.25}
    text = catalog_text(outcome.models)
    config, entries = load_entries({"new.yaml": text}, WIRE_FACTS)
    before, config_before = {model.id: model for model in catalog("")[1]}, catalog("")[0]
    for entry in entries:
        assert unfigured(entry.model) == unfigured(before[entry.model.id])
    assert [one.id for one in config.catalog.deployments] == [one.id for one in config_before.catalog.deployments]
    assert text == catalog_text([entry.model for entry in entries if not entry.shipped])
    assert len(config_map("catalog", text)["data"]["catalog.yaml"]) < MOST_BYTES


def unfigured(model: supply.Model) -> Any:
    data = model.model_dump(exclude={"quality": True})
    for host in data["deployments"]:
        host |= {"price": host["price"] is None, "edit_price": host["edit_price"] is None}
    return data


def test_the_bound_itself_is_within_it() -> None:
    row = {"deployment": "sizes@fal", "operation": "edit", "unit": "image", "date": "2026-11-28", "source": "x"}
    for usd, taken in ((0.24, 1), (0.2401, 0), (0.08 / 3, 1), (0.0266, 0)):
        assert len(refreshed(lines([row | {"price_usd": usd}])).prices) == taken


DEPLOYMENTS = ("flux-2-pro@bfl", "flux-2-pro@fal", "flux-2-max@bfl", "sizes@fal", "sizes@bfl", "nobody@fal")
PRICES = st.fixed_dictionaries(
    {
        "deployment": st.sampled_from(DEPLOYMENTS),
        "operation": st.sampled_from(["", "edit", "paint"]),
        "unit": st.sampled_from(["image", "megapixel", "size", "resolution", "second", "token"]),
        "price_usd": st.one_of(
            st.floats(-1, 1),
            st.just({"first": 0.031, "extra": 0.016}),
            st.dictionaries(st.sampled_from(["1K", "2K", "1024x1024", "8K"]), st.floats(-0.1, 0.3), max_size=3),
        ),
        "date": st.sampled_from(["2026-11-01", "2026-11-28", "2026-11-29", "2026-12-24", "soon"]),
        "source": st.sampled_from(["https://fal.ai", ""]),
    }
)
SCORES = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["FLUX.2 [pro]", "flux-2-max", "Grok 2"]),
        "board": st.sampled_from(["text-to-image", "image editing", "sculpture"]),
        "category_or_dimension": st.sampled_from(["overall", "anime", "lighting_and_materials"]),
        "score": st.floats(-10, 2000),
        "scale": st.sampled_from(["Elo", "0-1"]),
        "date": st.sampled_from(["2026-07-01", "2026-11-28", "2026-12-24"]),
        "source": st.just("drawn"),
        "ci95": st.one_of(st.integers(-5, 50), st.just("wide")),
    }
)


@given(st.lists(PRICES, max_size=8))
def test_every_row_of_prices_ends_somewhere_and_once(prices: list[dict[str, Any]]) -> None:
    outcome = refreshed(lines(prices))
    refused = {one.place for one in outcome.refused}
    unmatched = sum(one.rows for one in outcome.unmatched)
    told = len(refused) + unmatched + outcome.superseded + outcome.confirmed + len(outcome.prices)
    assert told == len(prices)


@settings(max_examples=50)
@given(prices=st.lists(PRICES, max_size=6), scores=st.lists(SCORES, max_size=6))
def test_refused_rows_never_change_what_is_written(prices: list[dict[str, Any]], scores: list[dict[str, Any]]) -> None:
    """And whatever a feed says, what is written loads and moves no further than the bounds."""
    outcome = refreshed(lines(prices), lines(scores))
    refused = {one.subject for one in outcome.refused}
    assert not refused & {one.deployment for one in outcome.prices}
    assert not refused & {f"{one.model}/{one.task}" for one in outcome.scores}
    for price in outcome.prices:
        assert price.old is None or (price.factor and 0.3333 < price.factor < 3.0001)
        assert price.new.as_of <= TODAY
    for score in outcome.scores:
        assert score.old is None or abs(score.new.score - score.old.score) <= 0.15
    assert_loads(outcome)


@given(prices=st.lists(PRICES, min_size=1, max_size=5), data=st.data())
def test_a_feed_without_its_refused_rows_says_the_same(prices: list[dict[str, Any]], data: st.DataObject) -> None:
    days = {row["deployment"]: row["date"] for row in prices}  # of one day each: else an older row would come to count
    prices = [row | {"date": days[row["deployment"]]} for row in prices]
    outcome = refreshed(lines(prices))
    bad = {one.place.line for one in outcome.refused}
    good = [row for line, row in enumerate(prices, 1) if line not in bad]
    assert as_written(refreshed(lines(good))) == as_written(outcome)


# -------------------------------------------------------------------------------------------------- what is written


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1), st.floats(0, 10))
@example("1e3", 1e-5)
@example("512", 0.0)
@example("on", 1.0)
@example("2026-11-28", 1.0)
@example("null", 1.0)
@example("- a: b # c", 1.0)
def test_what_is_written_reads_back_as_it_was(text: str, usd: float) -> None:
    model = catalog()[1][0]
    host = model.deployments[0].model_copy(
        update={
            "remote": text,
            "options": {text: [text, True, None, 3, {"512": text}]},
            "price": supply.Price.model_validate(
                {"formula": {"unit": "image", "usd": usd}, "source": text, "asOf": TODAY}
            ),
        }
    )
    changed = model.model_copy(update={"deployments": (host,)})
    (document,) = parse("x.yaml", catalog_text([changed])).documents
    assert validate(document, supply.ModelCatalog).spec.models == (changed,)  # type: ignore[union-attr]


def test_nothing_to_write_is_a_file_without_a_document() -> None:
    text = catalog_text([])
    assert parse("x.yaml", text).documents == ()
    assert text.startswith("#")


def test_the_config_map_reads_back_and_one_that_is_too_large_is_refused_with_its_size() -> None:
    text = catalog_text(catalog()[1])
    manifest = config_map("muxel-catalog", text)
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    assert yaml.safe_load(manifest_text(manifest)) == manifest
    _, entries = load_entries({"manifest.yaml": manifest_text(manifest)}, WIRE_FACTS)
    assert {entry.model.id for entry in entries if not entry.shipped} == {model.id for model in catalog()[1]}
    config_map("muxel-catalog", "x" * (MOST_BYTES - len("catalog.yaml")))
    with pytest.raises(TooLarge, match=f"{MOST_BYTES + 1} bytes.*{MOST_BYTES}"):
        config_map("muxel-catalog", "x" * (MOST_BYTES - len("catalog.yaml") + 1))


# ------------------------------------------------------------------------------------------------------ what is told


@pytest.mark.parametrize(("heading", "columns"), [("### Price rows", PRICE_COLUMNS), ("### Score rows", SCORE_COLUMNS)])
def test_the_readme_tells_every_column_and_no_other(heading: str, columns: frozenset[str]) -> None:
    readme = files("policies").joinpath("models", "README.md").read_text()
    section = readme[readme.index(heading) :].partition("\n#")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == columns
