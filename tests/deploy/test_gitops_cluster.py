"""The way of a commit, as far as one machine goes: kustomize, API server, controller, a mounted volume, a sidecar.

The API server is the fake one; kubelet and GitOps engine are played by the test, the rest is the real thing.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from proxy.controller.run import Controlling, controlling
from proxy.controller.settings import ControllerSettings
from proxy.controller.webhook import PATH
from proxy.serve import Running, running
from proxy.settings import Settings
from tests.deploy.gitops import argo_health, build, flux_health, needs_kustomize
from tests.deploy.manifests import Manifest
from tests.kube.api_server import CONFIG_MAPS, EVENTS, ApiServer
from tests.kube.pki import create_authority
from tests.kube.store import Refused
from tests.proxy.controller.conftest import PACE, SOON, data, rules, stored, until
from tests.proxy.test_reroute import certificate
from tests.proxy.test_watch import Mount

NAME = "muxel-controller.studio.svc"


@dataclass(slots=True)
class Cluster:
    """A namespace with a controller, and the volume of one sidecar."""

    server: ApiServer
    controller: Controlling
    http: aiohttp.ClientSession
    trust: ssl.SSLContext
    mount: Mount

    async def sync(self, manifests: list[Manifest], *, admission: bool = True) -> list[str]:
        """What Argo CD or Flux does: applies each, after the API server has asked; the refusals."""
        refused = []
        for manifest in manifests:
            if admission and (told := await self.ask(manifest)):
                refused.append(told)
            else:
                self.apply(manifest)
        return refused

    def apply(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        try:
            old = self.server.get(metadata["name"], metadata["namespace"])
        except Refused:
            self.server.store.create(CONFIG_MAPS, metadata["namespace"], manifest)
            return
        merged = {**old, **{key: value for key, value in manifest.items() if key != "metadata"}}
        self.server.store.replace(CONFIG_MAPS, metadata["namespace"], metadata["name"], merged)

    async def ask(self, manifest: Manifest) -> str:
        """The answer of admission to a manifest with policies; empty where it is allowed."""
        if "muxel.dev/policy" not in manifest["metadata"].get("labels", {}):
            return ""
        metadata = manifest["metadata"]
        request: dict[str, Any] = {
            "uid": "1",
            "operation": "UPDATE",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
        }
        body = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": request | {"object": manifest},
        }
        async with self.http.post(
            self.controller.webhook_url + PATH, data=orjson.dumps(body), ssl=self.trust, server_hostname=NAME
        ) as reply:
            response = (await reply.json())["response"]
        return "" if response["allowed"] else str(response["status"]["message"])

    async def status(self, **wanted: str) -> Manifest:
        """The status once it says so."""
        await until(lambda: wanted.items() <= data(self.server, "muxel-status").items())
        found = stored(self.server, "muxel-status")
        assert found is not None
        return found

    def project(self) -> str:
        """What the kubelet does: the compiled ConfigMap onto the volume. Returns the hash noted on it."""
        compiled = stored(self.server, "muxel-compiled")
        assert compiled is not None
        self.mount.write(compiled["data"])
        return str(compiled["metadata"]["annotations"]["muxel.dev/policy-hash"])

    async def sidecar_has(self, muxel: Running, policy_hash: str) -> None:
        async def shown() -> str:
            async with self.http.get(muxel.admin_url + "/readyz") as reply:
                return str((await reply.json())["policy_hash"])

        async with asyncio.timeout(SOON):
            while await shown() != policy_hash:  # noqa: ASYNC110 - another port is asked, and has no event
                await asyncio.sleep(0.02)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    cert, key = certificate(tmp_path, NAME)
    async with ApiServer(authority=create_authority(), rules=rules("studio")) as server:
        settings = ControllerSettings(
            identity="one", admin_listen="127.0.0.1:0", webhook_listen="127.0.0.1:0", tls_cert=cert, tls_key=key
        )
        account = server.write_service_account(tmp_path / "account")
        async with (
            controlling(
                settings, server.environment, service_account=account, pace=PACE, retry_seconds=0.1
            ) as controller,
            aiohttp.ClientSession() as http,
        ):
            await until(lambda: controller.reconciler.known() is not None)
            trust = ssl.create_default_context(cafile=str(cert))
            yield Cluster(server, controller, http, trust, Mount(tmp_path / "policies"))


def edited(manifests: list[Manifest], old: str, new: str) -> list[Manifest]:
    """The commit that replaces ``old`` in the policy."""

    def change(manifest: Manifest) -> Manifest:
        if "policy.yaml" not in manifest.get("data", {}):
            return manifest
        assert old in manifest["data"]["policy.yaml"]
        text = manifest["data"]["policy.yaml"].replace(old, new)
        return {**manifest, "data": {**manifest["data"], "policy.yaml": text}}

    return [change(manifest) for manifest in manifests]


def sidecar(cluster: Cluster) -> Any:
    settings = Settings(
        listen="127.0.0.1:0",
        admin_listen="127.0.0.1:0",
        policy=(cluster.mount.directory,),
        sandbox="always",
        drain_seconds=1.0,
    )
    return running(settings, {})


@needs_kustomize
async def test_a_commit_comes_into_force_and_a_broken_one_does_not(cluster: Cluster) -> None:
    first = build("production")
    assert await cluster.sync(first) == []
    await cluster.status(accepted="True", programmed="True")
    await until(lambda: data(cluster.server, "muxel-compiled"))
    assert set(data(cluster.server, "muxel-compiled")) == {
        "studio_studio-policies_inhouse.yaml",
        "studio_studio-policies_policy.yaml",
    }
    begun = cluster.project()
    async with sidecar(cluster) as muxel:
        await cluster.sidecar_has(muxel, begun)

        cheaper = edited(first, "costUsd: 0.25", "costUsd: 0.1")
        assert await cluster.sync(cheaper) == []
        await until(lambda: data(cluster.server, "muxel-status")["observedHash"] != begun)
        status = await cluster.status(accepted="True", programmed="True")
        assert argo_health(status)[0] == "Healthy"
        assert flux_health(status) == "Current"
        now = cluster.project()
        assert now == status["data"]["observedHash"] != begun
        await cluster.sidecar_has(muxel, now)

        broken = edited(first, "objective: cheapest", "objektive: cheapest")
        (refused,) = await cluster.sync(broken)
        assert refused.startswith(
            "1 problem in these policies:\nstudio/studio-policies/policy.yaml:7:3: spec.objektive"
        )

        await cluster.sync(broken, admission=False)
        status = await cluster.status(accepted="False", programmed="False", observedHash=now)
        health, message = argo_health(status)
        assert health == "Degraded"
        assert "studio/studio-policies/policy.yaml:7:3: spec.objektive is not a known key" in message
        assert flux_health(status) == "Failed"
        uid = cluster.server.get("studio-policies")["metadata"]["uid"]
        await until(lambda: any(one["reason"] == "PolicyRefused" for one in cluster.server.all(EVENTS)))
        (warning,) = (one for one in cluster.server.all(EVENTS) if one["type"] == "Warning")
        assert warning["involvedObject"]["uid"] == uid
        assert cluster.project() == now
        await cluster.sidecar_has(muxel, now)

        assert await cluster.sync(first) == []
        await cluster.status(accepted="True", programmed="True", observedHash=begun)
        assert cluster.project() == begun
        await cluster.sidecar_has(muxel, begun)


@needs_kustomize
async def test_a_sidecar_that_watches_needs_no_kubelet(cluster: Cluster, tmp_path: Path) -> None:
    manifests = build("production")
    await cluster.sync(manifests)
    await cluster.status(accepted="True", programmed="True")
    settings = Settings(
        listen="127.0.0.1:0",
        admin_listen="127.0.0.1:0",
        watch=("muxel-compiled",),
        service_account=tmp_path / "account",
        sandbox="always",
        drain_seconds=1.0,
    )
    async with running(settings, cluster.server.environment) as muxel:
        begun = data(cluster.server, "muxel-status")["observedHash"]
        await cluster.sidecar_has(muxel, begun)
        await cluster.sync(edited(manifests, "costUsd: 0.25", "costUsd: 0.1"))
        await until(lambda: data(cluster.server, "muxel-status")["observedHash"] != begun)
        await cluster.sidecar_has(muxel, data(cluster.server, "muxel-status")["observedHash"])


@needs_kustomize
async def test_the_declared_status_keeps_what_the_controller_has_written(cluster: Cluster) -> None:
    manifests = build("production")
    await cluster.sync(manifests)
    before = await cluster.status(accepted="True", programmed="True")
    await cluster.sync(manifests)
    assert stored(cluster.server, "muxel-status") == before
    assert before["metadata"]["labels"]["muxel.dev/status"] == "true"
