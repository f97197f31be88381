"""What admission answers to a write, by the sources it knows: cases in, verdicts out."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from proxy.controller.admission import BadReview, Known, review
from tests.proxy.controller.sources import BROKEN, GOOD, MODELS, POLICY, PROVIDER, composed, config_map, source

TODAY = date(2026, 11, 30)
BRAND = source("brand", GOOD)
TEAM = source("team", {"provider.yaml": PROVIDER, "models.yaml": MODELS.replace("retires: 2026-12-10", "aliases: []")})
USER = source("user", POLICY % ("user", "{allow: {models: [house-style]}}"))


def asked(
    operation: str, new: Mapping[str, Any] | None, old: Mapping[str, Any] | None = None, *known: Any, **more: Any
) -> dict[str, Any]:
    of = new or old
    assert of is not None
    body = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5",
            "operation": operation,
            "namespace": of["metadata"]["namespace"],
            "name": of["metadata"].get("name", ""),
            "object": new,
            "oldObject": old,
            **more,
        },
    }
    answer = review(body, Known(known, frozenset({"studio"}), frozenset({"studio/muxel-compiled"})), composed, TODAY)
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = answer["response"]
    assert response["uid"] == "705ab4f5"
    return response


def test_what_is_right_is_allowed_without_a_word() -> None:
    assert asked("CREATE", config_map("brand", GOOD)) == {"uid": "705ab4f5", "allowed": True}


def test_what_is_wrong_is_denied_with_every_mistake_at_its_place() -> None:
    text = POLICY % ("default", "{objektive: best, tiers: {draft: {floor: 2}}}")
    answer = asked("UPDATE", config_map("brand", text), config_map("brand", GOOD), BRAND, TEAM)
    assert not answer["allowed"]
    assert answer["status"]["code"] == 422
    assert answer["status"]["message"].splitlines() == [
        "2 problems in these policies:",
        'studio/brand/policy.yaml:4:8: spec.objektive is not a known key; did you mean "objective"?',
        "studio/brand/policy.yaml:4:48: spec.tiers.draft.floor must be at most 1",
    ]


def test_a_candidate_is_judged_with_the_other_sources_and_in_the_place_of_its_old_self() -> None:
    allowed = asked("CREATE", config_map("user", str(USER.data["policy.yaml"])), None, TEAM)
    assert allowed["allowed"]
    denied = asked("CREATE", config_map("user", str(USER.data["policy.yaml"])), None, BRAND)
    assert 'names the unknown model "house-style"' in denied["status"]["message"]
    assert asked("UPDATE", config_map("brand", GOOD), config_map("brand", BROKEN), source("brand", BROKEN))["allowed"]


@pytest.mark.parametrize("name", ["aaa", "zzz"])
def test_a_document_that_is_there_already_is_denied_whichever_name_comes_first(name: str) -> None:
    answer = asked("CREATE", config_map(name, GOOD), None, BRAND)
    place = f"studio/{name}/policy.yaml:3:18"
    assert f'{place}: RoutingPolicy "default" is already defined at studio/brand/' in answer["status"]["message"]


def test_a_provider_can_be_moved_from_one_configmap_to_another() -> None:
    """Taken away first, what uses it is wrong meanwhile: a warning. Added first, it would be there twice: denied, and
    right as soon as the other write is done."""
    without = config_map("team", {"models.yaml": MODELS.replace("retires: 2026-12-10", "aliases: []")})
    apart = source("use", {"models.yaml": TEAM.data["models.yaml"]})
    provider = source("team", {"provider.yaml": PROVIDER})
    taken = asked("UPDATE", config_map("team", ""), without, provider, apart)
    assert taken["allowed"]
    assert taken["warnings"][0].startswith(
        "after this the last good policies stay in force: studio/use/models.yaml:11:32:"
    )
    assert not asked("CREATE", config_map("new", PROVIDER), None, provider, apart)["allowed"]
    assert asked("CREATE", config_map("new", PROVIDER), None, source("team", ""), apart) == {
        "uid": "705ab4f5",
        "allowed": True,
    }


def test_what_others_have_wrong_denies_nobody_else_but_is_told() -> None:
    answer = asked("UPDATE", config_map("mine", POLICY % ("mine", "{}")), None, source("brand", BROKEN))
    assert answer["allowed"]
    assert answer["warnings"] == ["other sources are not right, so this will not be in force before they are mended"]


def test_a_deletion_is_never_denied_but_what_it_does_is_told() -> None:
    old = config_map("brand", GOOD)
    assert asked("DELETE", None, old, BRAND, TEAM)["warnings"] == [
        'RoutingPolicy "default" will be the one that Muxel ships'
    ]
    assert asked("DELETE", None, config_map("user", str(USER.data["policy.yaml"])), USER, TEAM)["warnings"] == [
        'there will be no RoutingPolicy "user"'
    ]
    (warning,) = asked("DELETE", None, config_map("team", dict(TEAM.data)), TEAM, USER)["warnings"]
    assert "after this the last good policies stay in force: studio/user/policy.yaml:4:" in warning


def test_the_last_source_can_go_and_what_it_said_stays_in_force() -> None:
    answer = asked("DELETE", None, config_map("brand", GOOD), BRAND)
    assert answer["allowed"]
    assert answer["warnings"] == [
        "after this the last good policies stay in force: "
        'sources:1:1: no ConfigMap has the label muxel.dev/policy: "true"'
    ]


def test_a_label_taken_away_is_a_deletion_and_a_document_taken_away_is_told() -> None:
    old = config_map("brand", GOOD)
    assert asked("UPDATE", config_map("brand", BROKEN, label=""), old, BRAND, TEAM)["warnings"] == [
        'RoutingPolicy "default" will be the one that Muxel ships'
    ]
    assert asked("UPDATE", config_map("brand", "# nothing yet"), old, BRAND)["warnings"] == [
        'RoutingPolicy "default" will be the one that Muxel ships'
    ]


def test_models_that_retire_soon_are_told_at_their_place() -> None:
    both = {"models.yaml": MODELS, "provider.yaml": PROVIDER}
    answer = asked("CREATE", config_map("team", both))
    assert answer["allowed"]
    assert answer["warnings"] == [
        "studio/team/models.yaml:6:11: spec.models[0].id names house-style, which retires on 2026-12-10"
    ]


def test_a_configmap_that_pods_mount_as_it_is_is_judged_alone() -> None:
    assert asked("CREATE", config_map("own", GOOD, label="mounted"), None, BRAND)["allowed"]
    assert not asked("CREATE", config_map("own", BROKEN, label="mounted"))["allowed"]
    (warning,) = asked("CREATE", config_map("own", GOOD, label="yes"))["warnings"]
    assert warning.startswith('the label muxel.dev/policy means nothing with the value "yes"')


def test_sources_where_no_controller_reads_are_judged_alone_and_told() -> None:
    answer = asked("CREATE", config_map("own", GOOD, namespace="elsewhere"), None, BRAND)
    assert answer["allowed"]
    assert answer["warnings"][0].startswith("no controller reads the namespace elsewhere")


def test_what_the_controller_writes_can_be_no_source_of_its_own() -> None:
    answer = asked("UPDATE", config_map("muxel-compiled", GOOD))
    assert "is written by the controller" in answer["status"]["message"]


def test_what_holds_no_policies_is_none_of_its_business() -> None:
    assert asked("UPDATE", config_map("app", BROKEN, label=""), config_map("app", GOOD, label=""))["allowed"]
    assert asked("CONNECT", config_map("brand", BROKEN))["allowed"]
    assert asked("CREATE", {**config_map("brand", BROKEN), "kind": "Secret"})["allowed"]


def test_warnings_are_no_longer_and_no_more_than_the_api_server_keeps() -> None:
    many = "---\n".join(POLICY % (f"p{n}", "{allow: {models: [house-style]}}") for n in range(30))
    answer = asked("DELETE", None, config_map("team", dict(TEAM.data)), TEAM, source("x" * 200, many))
    assert len(answer["warnings"]) == 16
    assert answer["warnings"][-1] == "and 15 more"
    assert max(map(len, answer["warnings"])) <= 256


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "1"}},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"},
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": 1, "operation": "CREATE"}},
    ],
    ids=str,
)
def test_what_is_no_review_is_refused(body: Any) -> None:
    with pytest.raises(BadReview):
        review(body, Known((), frozenset()), composed, TODAY)


@pytest.mark.parametrize("broken", [{"data": ["x"]}, {"data": {"a.yaml": 1}}, {"binaryData": {"a.yaml": "*"}}])
def test_a_configmap_of_another_form_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(BadReview):
        asked("CREATE", {**config_map("brand", GOOD), **broken})
