"""What every manifest shipped here is held to, whether it was written by hand or rendered from the chart."""

from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes_validate

from policies.load import Config, load_documents
from proxy.configuration import WIRE_FACTS
from proxy.settings import ENVIRONMENT, Settings, from_environment

Manifest = dict[str, Any]

# The floor of the chart's kubeVersion, and the newest there is.
KUBERNETES = ("1.29.0", kubernetes_validate.latest_version())
MIB = 1024 * 1024
AT_REST = 115 * MIB  # resident, measured after start


def validate(manifest: Manifest) -> None:
    """Raises kubernetes_validate.ValidationError for a field that Kubernetes does not know or of a wrong type."""
    for version in KUBERNETES:
        kubernetes_validate.validate(manifest, version, strict=True)


def containers(pod: Manifest) -> Iterator[Manifest]:
    yield from pod.get("initContainers", ())
    yield from pod["containers"]


def unrestricted(pod: Manifest) -> list[str]:
    """Where a pod breaks the "restricted" Pod Security Standard (kubernetes.io, v1.37)."""
    of_pod = pod.get("securityContext", {})
    found = [f"pod: {field}" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    found += [
        f"volume {volume['name']}" for volume in pod.get("volumes", ()) if not volume.keys() - {"name"} <= allowed
    ]
    for container in containers(pod):
        own = container.get("securityContext", {})
        either = {**of_pod, **own}
        capabilities = own.get("capabilities", {})
        rules = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": either.get("runAsNonRoot") is True,
            "runAsUser": either.get("runAsUser") != 0,
            "seccompProfile": either.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "capabilities": "ALL" in capabilities.get("drop", ())
            and set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
            "hostPort": not any("hostPort" in port for port in container.get("ports", ())),
        }
        found += [f"{container['name']}: {rule}" for rule, holds in rules.items() if not holds]
    return found


def undefined_references(container: Manifest) -> list[str]:
    """Variables that refer to one defined only later, or nowhere: Kubernetes leaves such a $(NAME) as it stands."""
    defined: set[str] = set()
    found = []
    for variable in container["env"]:
        parts = variable.get("value", "").split("$(")[1:]
        found += [variable["name"] for part in parts if part.partition(")")[0] not in defined]
        defined.add(variable["name"])
    return found


def settings_of(container: Manifest) -> Settings:
    """What ``muxel serve`` makes of the container's environment. Fails for a ``MUXEL_`` name that it does not read."""
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    ours = {name: value for name, value in environment.items() if name.startswith("MUXEL_")}
    assert ours.keys() <= ENVIRONMENT
    return from_environment(ours)


def needed_memory(settings: Settings) -> int:
    """Bytes at the worst: every body with its translation beside it, and the kept pictures."""
    return AT_REST + 2 * settings.body_budget_bytes + settings.media_budget_bytes


def quantity(text: str) -> int:
    assert text.endswith("Mi")
    return int(text.removesuffix("Mi")) * MIB


def loaded(files: Mapping[str, str]) -> Config:
    """What the policies in these manifests compile to, over what is shipped. Raises ConfigError."""
    return load_documents(files, WIRE_FACTS)
