"""Controllers against the fake API server, with exactly the rights that the chart gives them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.controller.run import Controlling, controlling
from proxy.controller.settings import ControllerSettings
from proxy.kube.listwatch import Pace
from tests.kube.api_server import CONFIG_MAPS, ApiServer
from tests.kube.pki import create_authority
from tests.kube.rbac import Rule

PACE = Pace(stream=300.0, first=0.05, longest=0.4, short=0.02)
SOON = 60.0  # on a machine that is busy with something else
OWN = ("muxel-compiled", "muxel-status")


def rules(*namespaces: str) -> tuple[Rule, ...]:
    """The rights of a controller that runs in ``studio`` and reads these; ``tests/charts`` compares them with the
    chart's."""
    reading = tuple(
        rule
        for namespace in namespaces
        for rule in (
            Rule(("configmaps",), ("list", "watch"), (), namespace),
            Rule(("events",), ("create", "patch"), (), namespace),
        )
    )
    return (
        *reading,
        Rule(("configmaps",), ("create",), (), "studio"),
        Rule(("configmaps",), ("get", "update"), OWN, "studio"),
        Rule(("leases.coordination.k8s.io",), ("create",), (), "studio"),
        Rule(("leases.coordination.k8s.io",), ("get", "update"), ("muxel-controller",), "studio"),
    )


async def until(holds: Callable[[], object]) -> None:
    """What is stored at the API has no event to await here; this asks in the loop's every turn."""
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def kubeconfig(server: ApiServer, file: Path) -> Path:
    """``server`` as kubectl would be told of it."""
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "fake", "cluster": {"server": server.url}}],
                "users": [{"name": "fake", "user": {"token": server.token}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "studio"}}],
                "current-context": "fake",
            }
        )
    )
    return file


def stored(server: ApiServer, name: str) -> dict[str, Any] | None:
    """A ConfigMap in ``studio``, if there is one."""
    found = [one for one in server.store.all(CONFIG_MAPS, "studio") if one["metadata"]["name"] == name]
    return dict(found[0]) if found else None


def data(server: ApiServer, name: str) -> dict[str, str]:
    found = stored(server, name)
    return dict(found.get("data") or {}) if found else {}


def add(server: ApiServer, name: str, text: str, namespace: str = "studio") -> None:
    server.create(name, {"policy.yaml": text}, namespace, labels={"muxel.dev/policy": "true"})


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(authority=create_authority(), rules=rules("studio")) as server:
        yield server


Control = Callable[..., AbstractAsyncContextManager[Controlling]]


@pytest.fixture
def control(server: ApiServer, tmp_path: Path) -> Control:
    """Runs one replica; keyword arguments are settings."""

    @asynccontextmanager
    async def run(identity: str = "one", **settings: Any) -> AsyncIterator[Controlling]:
        account = server.write_service_account(tmp_path / "account")
        chosen = ControllerSettings(**{"identity": identity, "admin_listen": "127.0.0.1:0"} | settings)
        async with controlling(
            chosen, server.environment, service_account=account, pace=PACE, retry_seconds=0.1
        ) as running:
            yield running

    return run
