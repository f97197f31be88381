"""Several ConfigMaps to one: what is compiled, in which order, and whose mistake it is told to be."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from policies.compose import MOST_BYTES, Compiled, Source, compose, files_of
from policies.load import ConfigError
from policies.retiring import retiring
from proxy.configuration import WIRE_FACTS, load_config
from tests.proxy.controller.sources import MODELS, POLICY, PROVIDER
from tests.proxy.test_watch import Mount


def source(name: str, data: Mapping[str, str | bytes], namespace: str = "studio") -> Source:
    return Source(namespace, name, f"uid-{name}", "1", data)


def composed(*sources: Source, candidate: Source | None = None) -> Compiled:
    return compose(sources, WIRE_FACTS, None, candidate=candidate)


def problems(*sources: Source, candidate: Source | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        composed(*sources, candidate=candidate)
    return [str(problem) for problem in caught.value.problems]


BRAND = source("brand", {"policy.yaml": POLICY % ("default", "{objective: best}")})
TEAM = source("team.a", {"models.yaml": MODELS, "provider.yml": PROVIDER, "README.md": "not read"}, "design")


def test_every_file_is_the_text_of_its_source_under_a_name_that_says_where_it_is_from() -> None:
    compiled = composed(BRAND, TEAM)
    assert compiled.data == {
        "design_team.a_models.yaml": MODELS,
        "design_team.a_provider.yml": PROVIDER,
        "studio_brand_policy.yaml": BRAND.data["policy.yaml"],
    }
    assert compiled.sources == ("design/team.a", "studio/brand")
    assert compiled.config.policies["default"].objective == "best"


def test_the_order_in_which_sources_become_known_changes_nothing() -> None:
    one, other = composed(BRAND, TEAM), composed(TEAM, BRAND)
    assert (list(one.data.items()), one.hash, one.sources) == (list(other.data.items()), other.hash, other.sources)


def test_a_sidecar_that_mounts_what_was_compiled_shows_the_same_hash(tmp_path: Path) -> None:
    compiled = composed(BRAND, TEAM)
    mount = Mount(tmp_path / "policies")
    mount.write(dict(compiled.data))
    config = load_config([mount.directory])
    assert config.hash == compiled.hash
    assert str(mount.directory / "studio_brand_policy.yaml") in config.sources


def test_no_sources_at_all_are_a_mistake_and_sources_without_files_are_what_is_shipped() -> None:
    assert problems() == ['sources:1:1: no ConfigMap has the label muxel.dev/policy: "true"']
    empty = composed(source("empty", {}))
    assert empty.data == {}
    assert empty.config.policies.keys() == {"default"}


def test_names_that_would_meet_with_any_other_separator_stay_apart() -> None:
    one = source("a.b", {"c.yaml": POLICY % ("one", "{}")})
    other = source("a", {"b.c.yaml": POLICY % ("other", "{}")})
    assert set(composed(one, other).data) == {"studio_a.b_c.yaml", "studio_a_b.c.yaml"}


def test_two_documents_of_one_name_are_refused_with_both_places() -> None:
    twice = source("aside", {"own.yaml": "# first line\n" + POLICY % ("default", "{}")})
    assert problems(BRAND, twice) == [
        'studio/brand/policy.yaml:3:18: RoutingPolicy "default" is already defined at studio/aside/own.yaml:4:18'
    ]


def test_namespaces_are_in_order_before_names() -> None:
    first = source("z", {"p.yaml": POLICY % ("same", "{}")}, "a")
    second = source("a", {"p.yaml": POLICY % ("same", "{}")}, "a-b")
    assert problems(second, first)[0].startswith("a-b/a/p.yaml:3:18:")


def test_what_a_candidate_repeats_is_the_mistake_of_the_candidate_whatever_the_names() -> None:
    twice = source("aside", {"own.yaml": POLICY % ("default", "{}")})
    assert problems(BRAND, candidate=twice) == [
        'studio/aside/own.yaml:3:18: RoutingPolicy "default" is already defined at studio/brand/policy.yaml:3:18'
    ]


def test_a_candidate_takes_the_place_of_its_old_self_and_may_use_what_others_bring() -> None:
    old = source("policies", {"old.yaml": POLICY % ("default", "{objektive: best}")})
    new = source("policies", {"new.yaml": POLICY % ("default", "{allow: {models: [house-style]}}")})
    compiled = composed(old, TEAM, candidate=new)
    assert "studio_policies_old.yaml" not in compiled.data
    assert compiled.config.policies["default"]


def test_every_problem_of_every_source_is_told_at_once() -> None:
    told = problems(
        source("one", {"p.yaml": POLICY % ("a", "{objektive: best}")}),
        source("two", {"p.yaml": "kind: ["}, "other"),
        source("three", {"p.yaml": POLICY % ("a-policy", "{deny: {models: [flux-2-porr]}}")}),
    )
    assert [line.rpartition(": ")[0].split(": ")[0] for line in told] == [
        "other/two/p.yaml:2:1",
        "studio/one/p.yaml:4:8",
    ]  # and no name is called unknown while a text could not be read to its end
    assert 'did you mean "objective"?' in told[1]


def test_more_than_one_configmap_holds_is_refused_with_the_figures() -> None:
    half = "# " + "x" * (MOST_BYTES // 2) + "\n"
    (told,) = problems(
        source("a", {"a.yaml": half + POLICY % ("a", "{}")}), source("b", {"b.yaml": half + POLICY % ("b", "{}")})
    )
    assert told.startswith("studio/a/a.yaml:1:1: all sources hold 1048")
    assert "more than the 1048576 of one ConfigMap" in told
    assert "studio/b/b.yaml (" in told


def test_a_file_that_could_not_be_named_is_refused() -> None:
    (told,) = problems(source("n" * 200, {"k" * 45 + ".yaml": POLICY % ("a", "{}")}))
    assert "namespace, name and key are 256 characters together" in told


def test_what_came_as_bytes_is_compiled_as_text_or_refused() -> None:
    assert composed(source("b", {"p.yaml": (POLICY % ("b", "{}")).encode()})).data == {
        "studio_b_p.yaml": POLICY % ("b", "{}")
    }
    assert problems(source("b", {"p.yaml": b"\xff\xfe"})) == ["studio/b/p.yaml:1:1: the file is not UTF-8 text"]


def test_only_files_that_a_mount_would_show_are_read() -> None:
    assert list(files_of(source("s", {"b.yml": "", "a.yaml": "", ".hidden.yaml": "", "tls.crt": "x"}))) == [
        "a.yaml",
        "b.yml",
    ]


@pytest.mark.parametrize(
    ("today", "told"),
    [
        (date(2026, 10, 1), []),
        (date(2026, 11, 20), ["retires", "retires"]),
        (date(2026, 12, 10), ["retired", "retired"]),
    ],
)
def test_a_model_that_is_named_and_goes_away_is_told_of_in_time(today: date, told: list[str]) -> None:
    rules = "{rules: [{name: a, use: {models: [flux-2-pro, house-style]}}, {name: b, avoid: {models: [house-style]}}]}"
    policies = source("p", {"p.yaml": POLICY % ("p", rules)})
    catalog = composed(TEAM, policies).config.catalog
    files = {"models.yaml": MODELS, **policies.data}
    lines = [str(problem) for problem in retiring(files, catalog, today)]
    assert [("retires" if "retires on 2026-12-10" in line else "retired") for line in lines] == told
    if lines:
        assert lines[0].startswith("models.yaml:6:11: spec.models[0].id names house-style, which")
        assert lines[1].startswith("p.yaml:4:53: spec.rules[0].use.models[1] names house-style")
