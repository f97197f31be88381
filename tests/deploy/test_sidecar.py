"""deploy/sidecar: what a cluster would accept, and what keeps a sidecar from harming its application."""

import copy
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from adapters.registry import WIRES
from tests.deploy.manifests import (
    MIB,
    Manifest,
    loaded,
    needed_memory,
    quantity,
    settings_of,
    undefined_references,
    unrestricted,
    validate,
)

HERE = Path(__file__).parents[2] / "deploy" / "sidecar"


def read(name: str) -> Manifest:
    manifest: Manifest = yaml.safe_load((HERE / name).read_text())
    return manifest


KEYS = ("mountPath", "name")  # by which Kubernetes merges these lists: volumeMounts, and all others


def patched(base: Any, patch: Any) -> Any:
    """A strategic merge, as far as the patches need it: mappings by key, lists by the name or place of their items."""
    match base, patch:
        case dict(), dict():
            return {**base, **{key: patched(base.get(key), value) for key, value in patch.items()}}
        case list(), [dict(), *_]:
            key = next(key for key in KEYS if key in patch[0])
            merged = {item[key]: item for item in base}
            for item in patch:
                merged[item[key]] = patched(merged.get(item[key]), item)
            return [item for item in merged.values() if item.get("$patch") != "delete"]
        case _:
            return copy.deepcopy(patch)


@pytest.fixture
def deployment() -> Manifest:
    merged: Manifest = patched(read("app.yaml"), read("muxel.yaml"))
    return merged


@pytest.fixture
def pod(deployment: Manifest) -> Manifest:
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def muxel(pod: Manifest) -> Manifest:
    (sidecar,) = pod["initContainers"]
    return dict(sidecar)


def test_kubernetes_knows_every_field(deployment: Manifest) -> None:
    validate(deployment)
    validate(read("app.yaml"))
    validate(read("policies.yaml"))


def test_the_patch_meets_the_deployment_it_is_for() -> None:
    app, patch = read("app.yaml"), read("muxel.yaml")
    assert (app["kind"], app["metadata"]["name"]) == (patch["kind"], patch["metadata"]["name"])
    names = [container["name"] for container in app["spec"]["template"]["spec"]["containers"]]
    assert [container["name"] for container in patch["spec"]["template"]["spec"]["containers"]] == names


def test_the_kustomization_names_every_manifest_there_is() -> None:
    kustomization = read("kustomization.yaml")
    named = {*kustomization["resources"], *(patch["path"] for patch in kustomization["patches"])}
    assert named == {file.name for file in HERE.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_pod_is_restricted(pod: Manifest) -> None:
    assert unrestricted(pod) == []


def test_the_sidecar_is_native_and_goes_on_accepting_until_the_app_has_stopped(pod: Manifest, muxel: Manifest) -> None:
    assert muxel["restartPolicy"] == "Always"
    assert "lifecycle" not in muxel
    assert pod["terminationGracePeriodSeconds"] > settings_of(muxel).drain_seconds


def test_the_app_starts_soon_after_the_sidecar_and_only_a_dead_loop_restarts_it(muxel: Manifest) -> None:
    startup, readiness, liveness = (muxel[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
    assert startup["periodSeconds"] == 1
    assert startup["failureThreshold"] >= 120
    assert startup["httpGet"]["path"] == readiness["httpGet"]["path"] == "/readyz"
    assert liveness["httpGet"]["path"] == "/healthz"
    admin = {port["name"]: port["containerPort"] for port in muxel["ports"]}
    assert {probe["httpGet"]["port"] for probe in (startup, readiness, liveness)} == admin.keys()
    assert settings_of(muxel).admin_listen == f"0.0.0.0:{admin['muxel-admin']}"


def test_no_other_pod_can_spend_the_keys(muxel: Manifest) -> None:
    assert settings_of(muxel).listen == "127.0.0.1:8080"
    assert 8080 not in {port["containerPort"] for port in muxel["ports"]}


def test_the_sandbox_never_stands_in_for_a_provider(muxel: Manifest) -> None:
    assert settings_of(muxel).sandbox == "never"


def test_the_budgets_fit_the_memory_limit_and_no_cpu_limit_slows_the_start(muxel: Manifest) -> None:
    resources = muxel["resources"]
    assert "cpu" not in resources["limits"]
    assert needed_memory(settings_of(muxel)) <= quantity(resources["limits"]["memory"])


def test_every_variable_is_defined_before_it_is_used(muxel: Manifest) -> None:
    assert undefined_references(muxel) == []
    assert "OTEL_RESOURCE_ATTRIBUTES" in {variable["name"] for variable in muxel["env"]}


def test_whole_volumes_are_mounted_where_the_settings_look(pod: Manifest, muxel: Manifest) -> None:
    settings, mounts = settings_of(muxel), {mount["name"]: mount for mount in muxel["volumeMounts"]}
    assert not any("subPath" in mount for mount in mounts.values())
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert settings.policy == (Path(mounts["muxel-policies"]["mountPath"]),)
    assert settings.credentials == Path(mounts["muxel-credentials"]["mountPath"])
    policies = next(volume for volume in pod["volumes"] if volume["name"] == "muxel-policies")
    assert policies["configMap"]["name"] == read("policies.yaml")["metadata"]["name"]


def test_the_sdks_of_the_app_are_sent_to_a_wire(pod: Manifest) -> None:
    mounts = {mount for wire in WIRES.values() if wire.client for mount in (wire.client.PREFIX, *wire.client.ALIASES)}
    urls = {variable["name"]: urlsplit(variable["value"]) for variable in pod["containers"][0]["env"]}
    assert urls.keys() == {"OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "REPLICATE_BASE_URL"}
    assert {url.netloc for url in urls.values()} == {"127.0.0.1:8080"}
    assert {url.path for url in urls.values()} <= mounts


def test_the_policies_load_over_the_shipped_providers() -> None:
    config = loaded({"policies.yaml": (HERE / "policies.yaml").read_text()})
    assert len(config.policies["default"].rules) == 2
    assert config.catalog.providers == loaded({}).catalog.providers


def test_the_readme_names_the_key_of_every_provider() -> None:
    readme = (HERE / "README.md").read_text()
    told = readme[readme.index("The keys of the Secret") :].partition(".")[0]
    files = {provider.credential.file for provider in loaded({}).catalog.providers.values()}
    assert set(re.findall("`(.+?)`", told)) == files


# ------------------------------------------------------------------------------------------------- through the API


@pytest.fixture
def watching(deployment: Manifest) -> Manifest:
    merged: Manifest = patched(deployment, read("watch/muxel.yaml"))
    return merged


def test_the_watch_is_the_same_sidecar_without_the_mounted_policies(deployment: Manifest, watching: Manifest) -> None:
    validate(watching)
    pod = watching["spec"]["template"]["spec"]
    (muxel,) = pod["initContainers"]
    assert unrestricted(pod) == []
    settings, mounts = settings_of(muxel), {mount["name"]: mount for mount in muxel["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert settings.policy == ()
    assert settings.watch == (read("policies.yaml")["metadata"]["name"],)
    assert settings.service_account == Path(mounts["muxel-service-account"]["mountPath"])
    assert settings.state_dir == Path(mounts["muxel-state"]["mountPath"])
    assert settings.on_invalid_start == "lastGood"
    assert settings.credentials == settings_of(deployment["spec"]["template"]["spec"]["initContainers"][0]).credentials
    assert needed_memory(settings) + 32 * MIB <= quantity(muxel["resources"]["limits"]["memory"])


def test_the_watch_may_read_the_policies_and_nothing_else() -> None:
    role, binding = yaml.safe_load_all((HERE / "watch" / "rbac.yaml").read_text())
    for manifest in (role, binding):
        validate(manifest)
    (rule,) = role["rules"]
    assert rule["resourceNames"] == [read("policies.yaml")["metadata"]["name"]]
    assert (rule["resources"], rule["verbs"]) == (["configmaps"], ["list", "watch"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_the_overlay_names_every_manifest_of_its_own() -> None:
    kustomization = read("watch/kustomization.yaml")
    named = {*kustomization["resources"], *(patch["path"] for patch in kustomization["patches"])}
    assert named == {"..", *(file.name for file in (HERE / "watch").glob("*.yaml"))} - {"kustomization.yaml"}
