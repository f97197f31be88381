"""The example repository: what its environments are, what its CI says, and what its health checks make of a status."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import policies
from policies.compose import COMPOSED, LABEL
from proxy.controller.settings import ControllerSettings
from proxy.controller.status import write
from tests.deploy.gitops import HERE, OVERLAYS, argo_health, build, flux_health, needs_kustomize
from tests.deploy.manifests import Manifest, loaded, validate
from tests.proxy.controller.sources import BROKEN, GOOD, source
from tests.proxy.controller.test_status import status_of

BIN = Path(sys.executable).parent


def sources(manifests: list[Manifest]) -> list[Manifest]:
    return [one for one in manifests if one["metadata"].get("labels", {}).get(LABEL) == COMPOSED]


# -------------------------------------------------------------------------------------------------------- environments


@needs_kustomize
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_environment_is_a_source_and_a_status_in_a_namespace_of_its_own(overlay: str) -> None:
    manifests = build(overlay)
    for manifest in manifests:
        validate(manifest)
    (source,) = sources(manifests)
    assert source["metadata"]["name"] == "studio-policies"  # without a hash: old and new would stand side by side
    assert not any(key.endswith(".test.yaml") for key in source["data"])
    (status,) = (one for one in manifests if one["metadata"]["name"] == ControllerSettings().status)
    assert "data" not in status
    assert {one["metadata"]["namespace"] for one in manifests} == {
        {"production": "studio", "staging": "studio-staging"}[overlay]
    }
    assert loaded(source["data"]).policies["default"].rules


@needs_kustomize
def test_staging_differs_from_production_in_the_address_of_the_provider_alone() -> None:
    staging, production = (loaded(sources(build(overlay))[0]["data"]) for overlay in ("staging", "production"))
    assert staging.catalog.providers["inhouse"].base_url == "https://images.staging.studio.example.com/v1"
    assert production.catalog.providers["inhouse"].base_url == "https://images.studio.example.com/v1"
    assert staging.catalog.models == production.catalog.models
    assert staging.hash != production.hash


def test_every_policy_is_generated_and_every_test_is_not() -> None:
    base = yaml.safe_load((HERE / "base" / "kustomization.yaml").read_text())
    (generator,) = base["configMapGenerator"]
    files = {f"policies/{file.name}" for file in (HERE / "base" / "policies").iterdir()}
    assert set(generator["files"]) == {name for name in files if not name.endswith(".test.yaml")}
    assert generator["options"]["disableNameSuffixHash"] is True


def test_the_delivery_leads_to_where_the_policies_are() -> None:
    application = yaml.safe_load((HERE / "argocd" / "application.yaml").read_text())
    assert (HERE / application["spec"]["source"]["path"]).is_dir()
    (ignored,) = application["spec"]["ignoreDifferences"]
    flux = list(yaml.safe_load_all((HERE / "flux" / "policies.yaml").read_text()))
    kustomization = next(one for one in flux if one["kind"] == "Kustomization")["spec"]
    assert (HERE / kustomization["path"]).is_dir()
    (check,) = kustomization["healthChecks"]
    assert ignored["name"] == check["name"] == ControllerSettings().status
    assert check["namespace"] == application["spec"]["destination"]["namespace"]


# ------------------------------------------------------------------------------------------------------------------ CI


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy under git, with the policies as they are shipped as its first commit."""
    root = tmp_path / "repository"
    shutil.copytree(HERE, root)
    shop = (Path(policies.__file__).parent / "traffic" / "ecommerce.yaml").read_text()
    (root / "traffic.yaml").write_text(shop.replace("requests: 2000", "requests: 60"))
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "Begin"]):
        git(root, *arguments)
    return root


def git(root: Path, *arguments: str) -> None:
    author = ["-c", "user.name=CI", "-c", "user.email=ci@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, *arguments], cwd=root, check=True, capture_output=True)


def ci(root: Path, **environ: str) -> tuple[int, str, str]:
    """Exit status, the comment, and everything printed."""
    done = subprocess.run(
        ["bash", "ci/policies.sh", "HEAD", "out"],
        cwd=root,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TRAFFIC": "traffic.yaml", **environ},
        capture_output=True,
        text=True,
    )
    comment = root / "out" / "comment.md"
    return done.returncode, comment.read_text() if comment.exists() else "", done.stdout + done.stderr


def change(root: Path, old: str, new: str) -> None:
    file = root / "base" / "policies" / "policy.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@needs_kustomize
def test_a_change_is_told_for_each_environment(repository: Path) -> None:
    status, comment, printed = ci(repository)
    assert status == 0, printed
    assert comment.count("### Muxel: ") == len(OVERLAYS)
    change(repository, "costUsd: 0.25", "costUsd: 0.2")
    status, comment, printed = ci(repository)
    assert status == 0, printed
    assert [line for line in comment.splitlines() if line.startswith("## ")] == ["## production", "## staging"]
    assert (repository / "out" / "tests.xml").exists()


@needs_kustomize
def test_what_is_wrong_stops_the_pull_request_at_its_place(repository: Path) -> None:
    change(repository, "costUsd", "costUds")
    status, comment, printed = ci(repository)
    assert (status, comment) == (1, "")
    place = "base/policies/policy.yaml:10:5"
    assert f'{place}: spec.ceilings.costUds is not a known key; did you mean "costUsd"?' in printed


@needs_kustomize
def test_a_promise_that_is_broken_stops_the_pull_request(repository: Path) -> None:
    change(repository, "models: [studio-look]", "models: [flux-2-pro]")
    status, _, printed = ci(repository)
    assert status == 1
    assert "a product photo is in our own look" in printed


@needs_kustomize
def test_a_change_that_costs_too_much_stops_the_pull_request_and_is_told(repository: Path) -> None:
    change(repository, "objective: cheapest", "objective: best")
    tests = repository / "base" / "policies" / "policy.test.yaml"
    promise = "    - name: any\n      request: {prompt: a fox}\n      expect: {refused: false}\n"
    tests.write_text(tests.read_text().partition("    - name:")[0] + promise)
    status, comment, printed = ci(repository, MAX_COST="5%")
    assert status == 1, printed
    assert comment.count("### Muxel: ") == len(OVERLAYS)


@pytest.mark.parametrize("name", ["github-actions.yaml", "gitlab-ci.yaml"])
def test_the_snippets_run_the_script_and_post_what_it_writes(name: str) -> None:
    text = (HERE / "ci" / name).read_text()
    assert isinstance(yaml.safe_load(text), dict)
    assert "ci/policies.sh" in text
    assert "out/comment.md" in text
    assert os.access(HERE / "ci" / "policies.sh", os.X_OK)


# -------------------------------------------------------------------------------------------------------------- health

GOOD_STATUS = write(status_of(source("brand", GOOD)))
STATUS = {"name": "muxel-status", "labels": {"muxel.dev/status": "true"}}
HEALTH = {
    "in force": ({"metadata": STATUS, "data": GOOD_STATUS}, "Healthy", "Current"),
    "refused, the last good kept": (
        {"metadata": STATUS, "data": write(status_of(source("brand", BROKEN), in_force="abc"))},
        "Degraded",
        "Failed",
    ),
    "right, and not written": (
        {"metadata": STATUS, "data": write(status_of(source("brand", GOOD), failure="Forbidden"))},
        "Degraded",
        "Failed",
    ),
    "declared, and not filled in": ({"metadata": STATUS}, "Progressing", "InProgress"),
    "half filled in": ({"metadata": STATUS, "data": {"message": "?"}}, "Progressing", "InProgress"),
    "another's": ({"metadata": {"name": "app"}, "data": {"accepted": "False"}}, "Healthy", "Current"),
    "another's with labels": (
        {"metadata": {"name": "app", "labels": {"app": "x"}}, "data": {"a": "b"}},
        "Healthy",
        "Current",
    ),
    "another's without data": ({"metadata": {"name": "app", "labels": {}}}, "Healthy", "Current"),
    "a source": (
        {"metadata": {"name": "brand", "labels": {LABEL: "true"}}, "data": {"p.yaml": BROKEN}},
        "Healthy",
        "Current",
    ),
}


@pytest.mark.parametrize(("config_map", "argo", "flux"), HEALTH.values(), ids=HEALTH.keys())
def test_health_is_that_of_the_status_and_of_no_other_configmap(
    config_map: Mapping[str, Any], argo: str, flux: str
) -> None:
    whole = {"apiVersion": "v1", "kind": "ConfigMap", **config_map}
    assert argo_health(whole)[0] == argo
    assert flux_health(whole) == flux


def test_argo_shows_the_first_mistake() -> None:
    data = write(status_of(source("brand", BROKEN), in_force="abc"))
    _, message = argo_health({"metadata": STATUS, "data": data})
    assert message.startswith("studio/brand/policy.yaml:4:8: spec.objektive is not a known key")
    assert message.endswith("the last good policies stay in force, hash abc")
