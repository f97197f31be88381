"""charts/muxel with the real Helm: what it renders, what it refuses, and what a cluster would make of it.

``NAME.values.yaml`` beside this file renders to ``NAME.out.yaml``; ``pytest --regold`` rewrites that.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from proxy.kube.resources import config_maps
from proxy.kube.source import opened
from tests.deploy.manifests import (
    Manifest,
    loaded,
    needed_memory,
    quantity,
    settings_of,
    undefined_references,
    unrestricted,
    validate,
)
from tests.kube.api_server import ApiServer
from tests.kube.pki import create_authority
from tests.kube.rbac import Rule

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "charts" / "muxel"
CASES = sorted(HERE.glob("*.values.yaml"))
WARNING = 2


@pytest.fixture(scope="module")
def chart() -> Iterator[helm.Chart]:
    with helm.Chart.load(CHART) as chart:
        yield chart


def values_of(case: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(case.read_text())
    return values


def render(chart: helm.Chart, values: dict[str, Any]) -> dict[str, str]:
    """What is rendered, by template, without what renders to nothing."""
    rendered = chart.render(values, name="demo", namespace="studio")
    return {name: text.strip() + "\n" for name, text in sorted(rendered.items()) if text.strip()}


def every(chart: helm.Chart, values: dict[str, Any]) -> list[Manifest]:
    """The rendered objects."""
    texts = (text for name, text in render(chart, values).items() if name.endswith(".yaml"))
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def objects(chart: helm.Chart, values: dict[str, Any], component: str = "gateway") -> dict[str, Manifest]:
    """The objects of one component by kind; it has no two of one, save Roles, of which the first is given."""
    manifests = [
        manifest
        for manifest in every(chart, values)
        if manifest["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    by_kind = {manifest["kind"]: manifest for manifest in reversed(manifests)}
    roles = sum(manifest["kind"] in ("Role", "RoleBinding") for manifest in manifests)
    assert len(by_kind) - 2 * bool(roles) == len(manifests) - roles
    return by_kind


def pod_of(deployment: Manifest) -> Manifest:
    pod: Manifest = deployment["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_values_render_to_what_was_reviewed(chart: helm.Chart, case: Path, request: pytest.FixtureRequest) -> None:
    rendered = "".join(f"---\n# {name}\n{text}" for name, text in render(chart, values_of(case)).items())
    golden = case.with_name(case.name.replace(".values.", ".out."))
    if request.config.getoption("--regold"):
        golden.write_text(rendered)
    else:
        assert rendered == golden.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_helm_lint_has_nothing_to_say(case: Path) -> None:
    report = helm.lint(CHART, values_of(case), strict=True, kube_version="v1.29.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] >= WARNING] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kubernetes_knows_every_field(chart: helm.Chart, case: Path) -> None:
    foreign = ("ServiceMonitor", "Certificate", "Issuer")  # other operators' kinds; their schemas are not bundled
    for manifest in every(chart, values_of(case)):
        if manifest["kind"] not in foreign:
            validate(manifest)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_pod_is_restricted_and_its_environment_is_what_muxel_reads(chart: helm.Chart, case: Path) -> None:
    pod = pod_of(objects(chart, values_of(case))["Deployment"])
    (muxel,) = pod["containers"]
    settings = settings_of(muxel)
    assert unrestricted(pod) == []
    assert pod["automountServiceAccountToken"] is False
    assert undefined_references(muxel) == []
    assert "cpu" not in muxel["resources"]["limits"]
    assert needed_memory(settings) <= quantity(muxel["resources"]["limits"]["memory"])
    assert pod["terminationGracePeriodSeconds"] >= settings.drain_seconds + 8  # and the preStop pause


def test_rendering_twice_gives_the_same_bytes() -> None:
    values = values_of(HERE / "full.values.yaml")
    with helm.Chart.load(CHART) as first, helm.Chart.load(CHART) as second:
        assert first.render(values) == second.render(values)


def test_templates_ask_neither_the_cluster_nor_chance() -> None:
    for template in (CHART / "templates").iterdir():
        assert not re.search(r"\b(lookup|rand\w+|gen\w+|uuidv4|now|Capabilities)\b", template.read_text()), (
            template.name
        )


def test_a_changed_policy_is_no_rollout(chart: helm.Chart) -> None:
    before, after = (objects(chart, {"policies": {"a.yaml": text}}) for text in ("# one", "# two"))
    assert before["ConfigMap"] != after["ConfigMap"]
    assert before["Deployment"] == after["Deployment"]


def test_the_services_reach_the_pod(chart: helm.Chart) -> None:
    rendered = objects(chart, values_of(HERE / "full.values.yaml"))
    labels = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = (
        rendered["Service"]["spec"]["selector"],
        rendered["Deployment"]["spec"]["selector"]["matchLabels"],
        rendered["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        rendered["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    )
    for selector in selectors:
        assert selector.items() <= labels.items()
    monitor = rendered["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= rendered["Service"]["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in rendered["Service"]["spec"]["ports"]}


@pytest.mark.parametrize("values", [{}, {"credentials": {"existingSecret": "muxel-credentials"}}], ids=str)
@pytest.mark.parametrize(("release", "namespace"), [("demo", "studio"), ("other", "default")])
def test_the_policies_are_the_given_ones_whatever_the_release_and_its_keys_are_called(
    chart: helm.Chart, values: dict[str, Any], release: str, namespace: str
) -> None:
    policies = values_of(HERE / "full.values.yaml")["policies"]
    rendered = chart.render({"policies": policies, **values}, name=release, namespace=namespace)
    config = next(text for name, text in rendered.items() if name.endswith("configmap.yaml"))
    assert yaml.safe_load(config)["data"] == policies
    assert loaded({"configmap.yaml": config}).policies["default"].objective == "hybrid"


def test_the_secret_is_mounted_whole_where_keys_are_looked_for(chart: helm.Chart) -> None:
    pod = pod_of(objects(chart, {"credentials": {"existingSecret": "muxel-credentials"}})["Deployment"])
    (muxel,) = pod["containers"]
    (mount,) = (mount for mount in muxel["volumeMounts"] if mount["name"] == "credentials")
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "credentials")
    assert settings_of(muxel).credentials == Path(mount["mountPath"])
    assert "subPath" not in mount
    assert volume["secret"]["secretName"] == "muxel-credentials"
    assert "items" not in volume["secret"]


def test_the_readme_names_the_key_of_every_provider() -> None:
    shipped = loaded({}).catalog.providers.values()
    told = re.findall(r"^\| `([-a-z0-9]+)` \| `([A-Z0-9_]+)` \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted((provider.credential.file, provider.credential.env) for provider in shipped)


def test_a_watch_has_the_rights_it_needs_and_a_token_for_its_own_container(chart: helm.Chart) -> None:
    rendered = objects(chart, values_of(HERE / "watch.values.yaml"))
    pod = pod_of(rendered["Deployment"])
    (muxel,) = pod["containers"]
    settings = settings_of(muxel)
    named, selected = (selection for reference in settings.watch for selection in [config_maps(reference, "studio")])
    assert [one.name for one in named] == ["studio-policies", "shared-policies"]
    by_name, by_label = rendered["Role"]["rules"]
    assert by_name["resourceNames"] == [one.name for one in named]
    assert [one.labels for one in selected] == ["muxel.dev/policies=true"]
    assert "resourceNames" not in by_label
    assert by_name["verbs"] == by_label["verbs"] == ["list", "watch"]
    (subject,) = rendered["RoleBinding"]["subjects"]
    assert subject["name"] == pod["serviceAccountName"] == rendered["ServiceAccount"]["metadata"]["name"]
    assert rendered["RoleBinding"]["roleRef"]["name"] == rendered["Role"]["metadata"]["name"]

    mounts = {mount["name"]: mount["mountPath"] for mount in muxel["volumeMounts"]}
    assert Path(mounts["service-account"]) == settings.service_account
    assert Path(mounts["state"]) == settings.state_dir
    assert settings.policy == (), "what is watched and mounted as well is there twice, and refused"
    assert "policies" not in {volume["name"] for volume in pod["volumes"]}


def test_without_a_watch_there_are_neither_rights_nor_a_token(chart: helm.Chart) -> None:
    rendered = objects(chart, {})
    assert not {"Role", "RoleBinding"} & rendered.keys()
    assert not any("projected" in volume for volume in pod_of(rendered["Deployment"])["volumes"])


async def test_the_role_is_enough_for_the_watch_and_for_nothing_else(chart: helm.Chart, tmp_path: Path) -> None:
    rendered = objects(chart, {"watch": {"enabled": True}, "policies": {"a.yaml": "# empty"}})
    role, name = rendered["Role"], rendered["ConfigMap"]["metadata"]["name"]
    rules = [
        Rule(
            tuple(rule["resources"]), tuple(rule["verbs"]), tuple(rule["resourceNames"]), role["metadata"]["namespace"]
        )
        for rule in role["rules"]
    ]
    async with ApiServer(authority=create_authority(), rules=rules) as server:
        server.create(name, rendered["ConfigMap"]["data"])
        server.create("secrets-of-others", {"b.yaml": "x"})
        account = server.write_service_account(tmp_path / "account")
        settings = settings_of(pod_of(rendered["Deployment"])["containers"][0])
        async with opened(replace(settings, service_account=account), server.environment) as maps:
            assert maps.read() == ({f"configmap/studio/{name}/a.yaml": b"# empty"}, [])
        widened = replace(settings, watch=("secrets-of-others",), service_account=account, watch_start_seconds=0.2)
        async with opened(widened, server.environment) as maps:
            assert "403 Forbidden" in str(maps.read()[1])


def test_the_state_may_be_kept_on_a_volume_of_your_own(chart: helm.Chart) -> None:
    claim = {"persistentVolumeClaim": {"claimName": "muxel-state"}}
    for given, rendered in (({}, {"emptyDir": {"sizeLimit": "16Mi"}}), ({"stateVolume": claim}, claim)):
        pod = pod_of(objects(chart, {"onInvalidStart": "lastGood", **given})["Deployment"])
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "state")
        assert {key: value for key, value in volume.items() if key != "name"} == rendered


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"watch": {"configMaps": ["Not A Name"]}}, "/watch/configMaps/0"),
        ({"watch": {"labels": "a=b;other/x"}}, "/watch/labels"),
        ({"onInvalidStart": "ignore"}, "/onInvalidStart"),
        ({"replicaCout": 2}, "replicaCout"),
        ({"image": {"tag": 1.0}}, "/image/tag"),
        ({"image": {"digest": "0123"}}, "/image/digest"),
        ({"policies": {"policy.yaml": {"kind": "RoutingPolicy"}}}, "/policies/policy.yaml"),
        ({"policies": {"policy.json": "{}"}}, "policy.json"),
        ({"sandbox": "sometimes"}, "/sandbox"),
        ({"networkPolicy": {"from": []}}, "/networkPolicy/from"),
        ({"service": {"port": 0}}, "/service/port"),
        ({"sealKey": {"secret": "x"}}, "/sealKey"),
        ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "/podDisruptionBudget/maxUnavailable"),
        ({"extraEnv": [{"value": "x"}]}, "/extraEnv/0"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_name(chart: helm.Chart, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=re.escape(named)):
        chart.render(values)


@pytest.mark.parametrize("values", [{"replicaCount": 2}, {"autoscaling": {"enabled": True}}], ids=str)
def test_replicas_that_cannot_open_each_others_job_ids_are_refused(chart: helm.Chart, values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmRenderError, match=r"sealKey\.existingSecret"):
        chart.render(values)
    chart.render({**values, "sealKey": {"existingSecret": "muxel-seal"}})


def test_values_schema_and_readme_know_the_same_names() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"].keys() - {"global"} == values.keys()
    readme = (CHART / "README.md").read_text()
    for name, value in values.items():
        assert f"`{name}" in readme
        closed = schema["properties"][name].get("additionalProperties") is False
        for inner in value if closed else ():
            assert f"`.{inner}`" in readme or f"`{name}.{inner}`" in readme
            assert inner in schema["properties"][name]["properties"]
