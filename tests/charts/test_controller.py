"""The controller and its webhook in the chart: what they may do, what they are asked, what the gateway then mounts."""

import json
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest

from proxy.controller.metrics import ControllerMetrics
from proxy.controller.settings import ENVIRONMENT, ControllerSettings
from proxy.controller.webhook import PATH
from proxy.settings import read_environment
from tests.charts.test_chart import CHART, HERE, chart, every, objects, pod_of, values_of
from tests.deploy.manifests import Manifest, quantity, unrestricted
from tests.kube.rbac import Rule
from tests.proxy.controller.conftest import rules
from tests.proxy.controller.test_certificates import CONFIGURATION, HOST, kept

__all__ = ["chart"]

CASE = HERE / "controller.values.yaml"
AT_REST = 120 * 1024 * 1024  # resident, measured after twenty compositions with the shipped catalog
FIELDS = {"metadata.namespace": "studio", "metadata.name": "muxel-controller-0"}


def named(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a release whose objects are called as the tests of the controller call them."""
    return {**values, "fullnameOverride": "muxel"}


def settings_of(container: Manifest) -> ControllerSettings:
    """What ``muxel controller`` makes of the container's environment. Fails for a name that it does not read."""
    environment = {
        one["name"]: one.get("value") or FIELDS[one["valueFrom"]["fieldRef"]["fieldPath"]] for one in container["env"]
    }
    assert environment.keys() <= ENVIRONMENT
    return read_environment(ControllerSettings, environment)


def container_of(manifests: dict[str, Manifest]) -> Manifest:
    (container,) = pod_of(manifests["Deployment"])["containers"]
    return dict(container)


def rights(chart: helm.Chart, values: dict[str, Any]) -> set[Rule]:
    """The Roles of the chart as the fake API server takes them."""
    return {
        Rule(
            tuple(f"{resource}.{group}" if group else resource for resource in rule["resources"]),
            tuple(rule["verbs"]),
            tuple(rule.get("resourceNames", ())),
            role["metadata"].get("namespace", ""),
        )
        for role in every(chart, values)
        if role["kind"] in ("Role", "ClusterRole")
        for rule in role["rules"]
        for group in rule["apiGroups"]
    }


def test_nothing_of_it_is_there_unless_it_is_asked_for(chart: helm.Chart) -> None:
    kinds = {manifest["kind"] for manifest in every(chart, {})}
    assert not kinds & {"Role", "RoleBinding", "ValidatingWebhookConfiguration"}
    assert objects(chart, {}, "controller") == {}


def test_its_rights_are_those_that_it_is_tested_with(chart: helm.Chart) -> None:
    values = named(values_of(CASE))
    assert rights(chart, values) == set(rules("brand", "design", "studio"))
    assert rights(chart, named({"controller": {"enabled": True}})) == set(rules("studio"))
    assert rights(chart, values_of(HERE / "kept.values.yaml")) == {*rules("studio"), *kept()}


def test_every_role_is_bound_to_its_service_account_alone(chart: helm.Chart) -> None:
    manifests = every(chart, values_of(CASE))
    account = objects(chart, values_of(CASE), "controller")["ServiceAccount"]["metadata"]
    places = [
        {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in manifests if one["kind"] == kind}
        for kind in ("Role", "RoleBinding")
    ]
    assert places[0] == places[1]
    for binding in (one for one in manifests if one["kind"] == "RoleBinding"):
        assert binding["roleRef"]["name"] == binding["metadata"]["name"]
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        ]


def test_the_pod_is_restricted_and_its_environment_is_what_the_controller_reads(chart: helm.Chart) -> None:
    rendered = objects(chart, named(values_of(CASE)), "controller")
    container, settings = container_of(rendered), settings_of(container_of(rendered))
    assert unrestricted(pod_of(rendered["Deployment"])) == []
    assert container["args"] == ["controller"]
    assert "cpu" not in container["resources"]["limits"]
    assert quantity(container["resources"]["limits"]["memory"]) >= AT_REST
    assert settings.namespaces == ("brand", "design", "studio")
    assert (settings.namespace, settings.identity) == ("studio", "muxel-controller-0")
    assert settings.lease == "muxel-controller"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.admin_listen == f"0.0.0.0:{ports['admin']}"
    assert settings.webhook_listen == f"0.0.0.0:{ports['webhook']}"
    (mount,) = container["volumeMounts"]
    assert settings.tls_cert == Path(mount["mountPath"]) / "tls.crt"
    assert settings.tls_key == Path(mount["mountPath"]) / "tls.key"


def test_without_a_webhook_there_is_no_port_and_no_certificate(chart: helm.Chart) -> None:
    rendered = objects(chart, {"controller": {"enabled": True}}, "controller")
    container = container_of(rendered)
    assert [port["name"] for port in container["ports"]] == ["admin"]
    assert settings_of(container).webhook_listen == ""
    assert "volumes" not in pod_of(rendered["Deployment"])
    assert "ValidatingWebhookConfiguration" not in rendered


def test_the_api_server_asks_the_controller_about_labelled_configmaps_alone(chart: helm.Chart) -> None:
    rendered = objects(chart, values_of(CASE), "controller")
    configuration = rendered["ValidatingWebhookConfiguration"]
    (webhook,) = configuration["webhooks"]
    service = webhook["clientConfig"]["service"]
    assert (service["name"], service["namespace"]) == (rendered["Service"]["metadata"]["name"], "studio")
    assert service["path"] == PATH
    assert service["port"] in {port["port"] for port in rendered["Service"]["spec"]["ports"]}
    assert webhook["objectSelector"]["matchExpressions"] == [{"key": "muxel.dev/policy", "operator": "Exists"}]
    assert webhook["namespaceSelector"]["matchExpressions"][0]["values"] == ["brand", "design", "studio"]
    assert (webhook["failurePolicy"], webhook["sideEffects"], webhook["matchPolicy"]) == (
        "Ignore",
        "None",
        "Equivalent",
    )
    assert webhook["timeoutSeconds"] == 5
    certificate = rendered["Certificate"]
    assert certificate["spec"]["dnsNames"] == [f"{service['name']}.{service['namespace']}.svc"]
    assert certificate["spec"]["issuerRef"]["name"] == rendered["Issuer"]["metadata"]["name"]
    injected = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    assert injected == f"studio/{certificate['metadata']['name']}"
    (volume,) = pod_of(rendered["Deployment"])["volumes"]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]


def test_where_no_certificate_is_given_the_controller_keeps_one(chart: helm.Chart) -> None:
    rendered = objects(chart, values_of(HERE / "kept.values.yaml"), "controller")
    settings = settings_of(container_of(rendered))
    configuration = rendered["ValidatingWebhookConfiguration"]
    (webhook,) = configuration["webhooks"]
    assert "caBundle" not in webhook["clientConfig"]  # nothing for Helm and Argo CD to set back
    assert settings.webhook_configuration == configuration["metadata"]["name"] == CONFIGURATION
    service = webhook["clientConfig"]["service"]
    assert settings.webhook_host == f"{service['name']}.{service['namespace']}.svc" == HOST
    assert "volumes" not in pod_of(rendered["Deployment"])
    assert rendered["ClusterRoleBinding"]["roleRef"]["name"] == rendered["ClusterRole"]["metadata"]["name"]
    assert rendered["ClusterRoleBinding"]["subjects"] == rendered["RoleBinding"]["subjects"]


def test_a_certificate_of_ones_own_is_mounted_and_its_authority_is_told(chart: helm.Chart) -> None:
    own = {"enabled": True, "existingSecret": "own", "caBundle": "UEVN", "failurePolicy": "Fail"}
    rendered = objects(chart, {"controller": {"enabled": True}, "webhook": own}, "controller")
    (webhook,) = rendered["ValidatingWebhookConfiguration"]["webhooks"]
    assert (webhook["clientConfig"]["caBundle"], webhook["failurePolicy"]) == ("UEVN", "Fail")
    (volume,) = pod_of(rendered["Deployment"])["volumes"]
    assert volume["secret"]["secretName"] == "own"
    assert "Certificate" not in rendered


def test_the_gateway_mounts_what_is_compiled_and_the_given_policies_are_a_source(chart: helm.Chart) -> None:
    gateway = objects(chart, named(values_of(CASE)))
    settings = settings_of(container_of(objects(chart, named(values_of(CASE)), "controller")))
    (volume,) = (one for one in pod_of(gateway["Deployment"])["volumes"] if one["name"] == "policies")
    assert volume["configMap"] == {"name": settings.compiled}
    assert gateway["ConfigMap"]["metadata"]["labels"]["muxel.dev/policy"] == "true"
    assert gateway["ConfigMap"]["metadata"]["name"] not in (settings.compiled, settings.status)
    plain = objects(chart, {})["ConfigMap"]["metadata"]
    assert "muxel.dev/policy" not in plain["labels"]
    mine = objects(chart, {"controller": {"enabled": True}, "existingPolicies": "mine"})["Deployment"]
    assert {"name": "policies", "configMap": {"name": "mine"}} in pod_of(mine)["volumes"]


def test_a_gateway_that_watches_watches_what_is_compiled(chart: helm.Chart) -> None:
    rendered = objects(chart, named({"controller": {"enabled": True}, "watch": {"enabled": True}}))
    environment = {one["name"]: one.get("value") for one in container_of(rendered)["env"]}
    assert environment["MUXEL_WATCH"] == "muxel-compiled"
    assert rendered["Role"]["rules"][0]["resourceNames"] == ["muxel-compiled"]


def test_its_services_and_policies_reach_its_pods_and_not_the_gateways(chart: helm.Chart) -> None:
    values = {**values_of(CASE), "controller": {"enabled": True}}
    rendered = objects(chart, values, "controller")
    labels = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]
    gateway = objects(chart, values)["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        rendered["Service"]["spec"]["selector"],
        rendered["Deployment"]["spec"]["selector"]["matchLabels"],
        rendered["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        rendered["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert not selector.items() <= gateway.items()
    monitor = rendered["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= rendered["Service"]["metadata"]["labels"].items()


def test_the_readme_tells_of_every_metric() -> None:
    readme = (CHART / "README.md").read_text()
    for family in ControllerMetrics().registry.collect():
        assert f"`{family.name}" in readme


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"webhook": {"enabled": True, "existingSecret": "own"}}, "webhook.enabled needs controller.enabled"),
        (
            {"controller": {"enabled": True}, "webhook": {"enabled": True, "existingSecret": "own"}},
            "webhook.existingSecret needs webhook.caBundle",
        ),
    ],
    ids=json.dumps,
)
def test_a_webhook_that_could_not_answer_is_refused(chart: helm.Chart, values: dict[str, Any], told: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=told):
        chart.render(values)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"controller": {"namespaces": ["Design"]}}, "/controller/namespaces/0"),
        ({"controller": {"replicas": 2}}, "replicas"),
        ({"webhook": {"failurePolicy": "ignore"}}, "/webhook/failurePolicy"),
        ({"webhook": {"timeoutSeconds": 31}}, "/webhook/timeoutSeconds"),
        ({"webhook": {"caBundle": "-----BEGIN CERTIFICATE-----"}}, "/webhook/caBundle"),
    ],
    ids=json.dumps,
)
def test_a_wrong_value_is_refused_by_name(chart: helm.Chart, values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=named):
        chart.render(values)
