"""Who may do what on the fake API server. Called by ``api_server``."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.kube.store import Refused, Resource

USER = "system:serviceaccount:studio:default"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a Role. An empty ``namespace`` makes it one of a ClusterRole."""

    resources: tuple[str, ...]  # "configmaps", "leases.coordination.k8s.io"
    verbs: tuple[str, ...] = ("get", "list", "watch")
    names: tuple[str, ...] = ()  # resourceNames
    namespace: str = ""


def authorise(rules: Sequence[Rule], verb: str, resource: Resource, namespace: str, name: str) -> None:
    """``name`` is that of the object, or for list and watch the one of its field selector. Raises Refused, 403."""
    if any(
        resource.label in rule.resources
        and verb in rule.verbs
        and rule.namespace in ("", namespace)
        and (not rule.names or (verb != "create" and name in rule.names))
        for rule in rules
    ):
        return
    what = f'{resource.label} "{name}"' if name else resource.label
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    told = f'cannot {verb} resource "{resource.plural}" in API group "{resource.group}" {where}'
    raise Refused(403, "Forbidden", f'{what} is forbidden: User "{USER}" {told}')
