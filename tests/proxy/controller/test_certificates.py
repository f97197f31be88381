"""The certificate that the controller keeps itself: what is made, when it is renewed, and who believes it."""

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography import x509

from proxy.controller import keep
from proxy.controller.certificates import AUTHORITY_LIVES, LEAF_LIVES, Bundle, due, read, renewed, write
from proxy.controller.run import Controlling
from proxy.controller.webhook import PATH
from tests.kube.api_server import CONFIG_MAPS, EVENTS, LEASES, ApiServer
from tests.kube.pki import create_authority
from tests.kube.rbac import Rule
from tests.kube.store import Resource
from tests.proxy.controller.conftest import Control, rules, until
from tests.proxy.controller.sources import BROKEN, config_map

HOST = "muxel-controller.studio.svc"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIGURATIONS = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"
)
CONFIGURATION = "muxel-controller-studio"


def leaf(bundle: Bundle) -> x509.Certificate:
    return x509.load_pem_x509_certificate(bundle.leaf)


def authorities(bundle: Bundle) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(bundle.authorities)


def test_a_leaf_is_renewed_when_a_third_of_its_life_is_left_and_the_authority_stays() -> None:
    first = renewed(None, HOST, NOW)
    assert not due(first, HOST, NOW + LEAF_LIVES / 2)
    later = NOW + LEAF_LIVES * 2 / 3 + timedelta(minutes=1)
    assert due(first, HOST, later)
    second = renewed(first, HOST, later)
    assert second.authorities == first.authorities
    assert second.leaf != first.leaf
    assert leaf(second).not_valid_after_utc == later + LEAF_LIVES


def test_a_leaf_for_another_name_is_no_leaf() -> None:
    assert due(None, HOST, NOW)
    assert due(renewed(None, "old.studio.svc", NOW), HOST, NOW)


def test_the_authority_before_stays_trusted_and_the_one_before_that_does_not() -> None:
    first = renewed(None, HOST, NOW)
    later = NOW + AUTHORITY_LIVES - LEAF_LIVES / 2
    second = renewed(first, HOST, later)
    assert [one.subject for one in authorities(second)] == [authorities(first)[0].subject] * 2
    assert authorities(second)[1] == authorities(first)[0]
    leaf(second).verify_directly_issued_by(authorities(second)[0])
    third = renewed(second, HOST, later + AUTHORITY_LIVES)
    assert authorities(third)[1:] == authorities(second)[:1]


def test_what_was_written_reads_back_and_what_cannot_be_used_does_not() -> None:
    bundle, other = renewed(None, HOST, NOW), renewed(None, HOST, NOW)
    assert read(write(bundle)) == bundle
    for spoiled in (
        {},
        {**write(bundle), "tls.crt": "*"},
        {**write(bundle), "tls.crt": base64.b64encode(b"no certificate").decode()},
        {**write(bundle), "tls.key": write(other)["tls.key"]},
        {**write(bundle), "ca.crt": write(other)["ca.crt"]},
    ):
        assert read(spoiled) is None


# ------------------------------------------------------------------------------------------------------- in a cluster


def kept() -> tuple[Rule, ...]:
    """The rights that a certificate of its own needs beside the others; ``tests/charts`` compares them."""
    return (
        Rule(("secrets",), ("create",), (), "studio"),
        Rule(("secrets",), ("get", "update"), ("muxel-webhook",), "studio"),
        Rule((CONFIGURATIONS.label,), ("get", "update"), (CONFIGURATION,), ""),
    )


@pytest.fixture
async def server() -> Any:
    resources = (CONFIG_MAPS, EVENTS, LEASES, SECRETS, CONFIGURATIONS)
    granted = (*rules("studio"), *kept())
    async with ApiServer(authority=create_authority(), rules=granted, resources=resources) as server:
        webhook = {"name": "policies.muxel.dev", "clientConfig": {"service": {"name": "muxel-controller"}}}
        manifest = {"metadata": {"name": CONFIGURATION}, "webhooks": [webhook]}
        server.store.create(CONFIGURATIONS, "", manifest)
        yield server


def keeping(control: Control, identity: str = "one") -> Any:
    return control(identity, webhook_listen="127.0.0.1:0", webhook_configuration=CONFIGURATION, webhook_host=HOST)


def told(server: ApiServer) -> str:
    found = server.store.get(CONFIGURATIONS, "", CONFIGURATION)
    return str(found["webhooks"][0]["clientConfig"].get("caBundle", ""))


async def denied(server: ApiServer, running: Controlling) -> bool:
    """What the API server does: it believes whom the configuration says, and calls by the name of the Service."""
    trust = ssl.create_default_context(cadata=base64.b64decode(told(server)).decode())
    request = {"uid": "1", "operation": "CREATE", "namespace": "studio", "object": config_map("brand", BROKEN)}
    body = orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
    async with (
        aiohttp.ClientSession() as http,
        http.post(running.webhook_url + PATH, data=body, ssl=trust, server_hostname=HOST) as reply,
    ):
        return not (await reply.json())["response"]["allowed"]


async def test_every_replica_is_believed_with_the_certificate_that_the_leader_made(
    server: ApiServer, control: Control
) -> None:
    async with keeping(control) as one, keeping(control, "two") as two:
        await until(lambda: told(server))
        for running in (one, two):
            await until(lambda running=running: running.keeper.shown and running.reconciler.known())
            assert await denied(server, running)
    assert len(server.all(SECRETS)) == 1
    assert server.count("create", "secrets") == 1


async def test_a_replica_that_does_not_lead_makes_no_certificate_and_tells_nobody(
    server: ApiServer, control: Control
) -> None:
    spec = {"holderIdentity": "another", "leaseDurationSeconds": 3600}
    server.store.create(LEASES, "studio", {"metadata": {"name": "muxel-controller"}, "spec": spec})
    async with keeping(control) as running:
        assert running.keeper
        await running.keeper.once()
        assert (server.all(SECRETS), told(server), running.keeper.shown) == ([], "", None)
        bundle = renewed(None, HOST, datetime.now(UTC))
        server.store.create(SECRETS, "studio", {"metadata": {"name": "muxel-webhook"}, "data": write(bundle)})
        await running.keeper.once()
        assert (running.keeper.shown, told(server)) == (bundle, "")


async def test_a_replica_is_not_ready_before_it_can_shake_hands(server: ApiServer, control: Control) -> None:
    allowed = server.rules or ()
    server.rules = [rule for rule in allowed if "secrets" not in rule.resources]
    async with keeping(control) as running, aiohttp.ClientSession() as http:
        await until(lambda: running.reconciler.known() is not None and server.count("get", "secrets", 403))
        async with http.get(running.admin_url + "/readyz") as reply:
            assert reply.status == 503
        server.rules = allowed
        await until(lambda: running.keeper and running.keeper.shown)
        async with http.get(running.admin_url + "/readyz") as reply:
            assert reply.status == 200


async def test_what_others_spoil_is_made_anew(
    server: ApiServer, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(control) as running:
        await until(lambda: running.keeper and running.keeper.shown and told(server))
        first = told(server)
        found = server.store.get(CONFIGURATIONS, "", CONFIGURATION)
        server.store.replace(
            CONFIGURATIONS, "", CONFIGURATION, {**found, "webhooks": [{**found["webhooks"][0], "clientConfig": {}}]}
        )
        assert running.keeper
        running.keeper.seconds = 0.05
        await running.keeper.once()
        assert told(server) == first
        server.store.delete(SECRETS, "studio", "muxel-webhook", {})
        await running.keeper.once()
        assert told(server) not in ("", first)
        await until(lambda: running.reconciler.known())
        assert await denied(server, running)


async def test_a_kept_certificate_that_nothing_is_wrong_with_is_not_written_again(
    server: ApiServer, control: Control
) -> None:
    async with keeping(control) as running:
        await until(lambda: running.keeper and running.keeper.shown and told(server))
        assert running.keeper
        before = (server.all(SECRETS), told(server))
        for _ in range(3):
            await running.keeper.once()
        assert (server.all(SECRETS), told(server)) == before


def test_no_key_is_ever_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    class Context:
        def load_cert_chain(self, path: str) -> None:
            loaded.append((path, Path(path).read_bytes()))

    bundle = renewed(None, HOST, NOW)
    keep._load(Context(), bundle)  # type: ignore[arg-type]
    ((path, text),) = loaded
    assert path.startswith("/proc/self/fd/")
    assert text == bundle.leaf + bundle.leaf_key
