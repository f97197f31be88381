"""deploy/catalog: what a cluster would accept, and how little the job that refreshes the catalog may do."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.write import config_map
from proxy.cli import _parser
from tests.deploy.manifests import Manifest, undefined_references, unrestricted, validate

HERE = Path(__file__).parents[2] / "deploy" / "catalog"
SIDECAR = HERE.parent / "sidecar"
MANIFESTS = ("catalog.yaml", "rbac.yaml", "cronjob.yaml")
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # where every client looks for it


def read(name: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all((HERE / name).read_text()) if document]


def named(kind: str) -> Manifest:
    (found,) = (one for name in MANIFESTS for one in read(name) if one["kind"] == kind)
    return found


@pytest.fixture
def pod() -> Manifest:
    spec: Manifest = named("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def refresh(pod: Manifest) -> Manifest:
    (container,) = pod["containers"]
    return dict(container)


def mounts(container: Manifest) -> dict[str, Any]:
    return {mount["name"]: mount for mount in container["volumeMounts"]}


@pytest.mark.parametrize("name", MANIFESTS)
def test_kubernetes_knows_every_field(name: str) -> None:
    for manifest in read(name):
        validate(manifest)


def test_the_kustomization_names_every_manifest_there_is() -> None:
    (kustomization,) = read("kustomization.yaml")
    assert set(kustomization["resources"]) == set(MANIFESTS)
    assert set(MANIFESTS) == {file.name for file in HERE.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_pod_is_restricted_and_writes_to_the_feeds_alone(pod: Manifest, refresh: Manifest) -> None:
    assert unrestricted(pod) == []
    for container in (*pod["initContainers"], refresh):
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["resources"]["limits"].keys() == {"memory"}
    assert all(mount["readOnly"] for mount in mounts(refresh).values())
    (fetch,) = pod["initContainers"]
    assert mounts(fetch).keys() == {"feeds"}


def test_the_job_may_patch_that_one_config_map_and_has_its_token_in_one_container(pod: Manifest) -> None:
    (rule,) = named("Role")["rules"]
    assert rule == {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [named("ConfigMap")["metadata"]["name"]],
        "verbs": ["patch"],
    }
    binding, account = named("RoleBinding"), named("ServiceAccount")["metadata"]["name"]
    assert binding["roleRef"]["name"] == named("Role")["metadata"]["name"]
    assert [(one["kind"], one["name"]) for one in binding["subjects"]] == [("ServiceAccount", account)]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (account, False)
    with_token = [
        container["name"]
        for container in (*pod["initContainers"], *pod["containers"])
        if TOKEN in {mount["mountPath"] for mount in container["volumeMounts"]}
    ]
    assert with_token == ["refresh"]
    (sources,) = (volume["projected"]["sources"] for volume in pod["volumes"] if volume["name"] == "token")
    token, authority, pod_facts = sources
    paths = [token["serviceAccountToken"], *authority["configMap"]["items"], *pod_facts["downwardAPI"]["items"]]
    assert {path["path"] for path in paths} == {"token", "ca.crt", "namespace"}


def test_the_command_is_one_that_muxel_takes_and_its_paths_are_mounted(pod: Manifest, refresh: Manifest) -> None:
    namespace = "media"
    argv = [word.replace("$(POD_NAMESPACE)", namespace) for word in refresh["args"]]
    arguments = _parser().parse_args(argv)
    config = named("ConfigMap")["metadata"]["name"]
    assert arguments.apply == f"{namespace}/{config}"
    at = {mount["mountPath"]: name for name, mount in mounts(refresh).items()}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert at.keys() == {*(str(path) for path in (*arguments.policy, arguments.previous)), "/feeds", TOKEN}
    assert {str(path.parent) for path in (*arguments.prices, *arguments.scores)} == {"/feeds"}
    assert volumes[at[str(arguments.previous)]]["configMap"]["name"] == config
    (policy,) = arguments.policy
    (policies,) = yaml.safe_load_all((SIDECAR / "policies.yaml").read_text())
    assert volumes[at[str(policy)]]["configMap"]["name"] == policies["metadata"]["name"]
    assert undefined_references(refresh) == []
    assert "args" in refresh
    assert "command" not in refresh  # the image's own entry point is muxel


def test_a_refused_row_fails_the_job_once_and_no_two_run_at_a_time(pod: Manifest, refresh: Manifest) -> None:
    spec = named("CronJob")["spec"]
    assert (spec["concurrencyPolicy"], spec["jobTemplate"]["spec"]["backoffLimit"]) == ("Forbid", 0)
    assert pod["restartPolicy"] == "Never"
    assert refresh["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_job_owns_the_data_and_what_is_applied_here_has_none() -> None:
    """Applied again, the empty manifest neither takes the data away nor fights over a field."""
    empty = named("ConfigMap")
    assert "data" not in empty
    written = config_map(empty["metadata"]["name"], "# nothing")
    assert {**written, "data": None} == {**empty, "data": None}


def test_the_image_is_the_sidecars() -> None:
    (patch,) = yaml.safe_load_all((SIDECAR / "muxel.yaml").read_text())
    (sidecar,) = patch["spec"]["template"]["spec"]["initContainers"]
    (container,) = named("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == sidecar["image"]
