"""The example repository of ``deploy/gitops``, built by the real kustomize; its health checks, run as their hosts do.

Used by the tests beside it. kustomize is the one in kubectl; where there is no kubectl, what needs it is skipped.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from shutil import which
from typing import Any

import lupa.lua51
import pytest
import yaml
from cel_expr_python import cel

from tests.deploy.manifests import Manifest

HERE = Path(__file__).parents[2] / "deploy" / "gitops"
OVERLAYS = sorted(path.name for path in (HERE / "overlays").iterdir())

needs_kustomize = pytest.mark.skipif(which("kubectl") is None, reason="kubectl, which has kustomize in it, is missing")


def build(overlay: str, root: Path = HERE) -> list[Manifest]:
    """The objects of one environment."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(root / "overlays" / overlay)], check=True, capture_output=True, text=True
    )
    return list(yaml.safe_load_all(done.stdout))


def argo_health(config_map: Manifest) -> tuple[str, str]:
    """Status and message of the Lua health check. Argo CD opens base, package, table and a part of os, and sets ``obj``
    (argo-cd util/lua/lua.go, runLua)."""
    script = yaml.safe_load((HERE / "argocd" / "argocd-cm.yaml").read_text())["data"]
    lua = lupa.lua51.LuaRuntime()
    lua.execute('getmetatable("").__index = nil; string, math, io, debug, python = nil, nil, nil, nil, nil')
    lua.globals().obj = lua.table_from(config_map, recursive=True)
    health = lua.execute(script["resource.customizations.health.ConfigMap"])
    return health.status, health.message or ""


def flux_health(config_map: Manifest) -> str:
    """The status by the CEL expressions, in Flux's order; an error, as of a field that is not there, has it wait
    (fluxcd/pkg runtime/cel, StatusEvaluator)."""
    checks = yaml.safe_load_all((HERE / "flux" / "policies.yaml").read_text())
    (check,) = next(one for one in checks if one["kind"] == "Kustomization")["spec"]["healthCheckExprs"]
    assert (check["apiVersion"], check["kind"]) == ("v1", "ConfigMap")
    for name, status in (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")):
        if name in check:
            holds = _holds(check[name], config_map)
            if holds is None or (holds and name == "inProgress"):
                return "InProgress"
            if holds:
                return status
    return "InProgress"


def _holds(expression: str, config_map: Mapping[str, Any]) -> bool | None:
    names = ("apiVersion", "kind", "metadata", "data", "binaryData", "spec", "status")
    environment = cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN))
    found = environment.compile(expression).eval(data=dict(config_map))
    return found.value() if found.type() == cel.Type.BOOL else None
