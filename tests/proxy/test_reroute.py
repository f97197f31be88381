"""Calls that reach Muxel by the name of the real host, over TLS, or as through a forward proxy."""

import asyncio
import datetime
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.settings import Settings, SettingsError
from tests.proxy.conftest import Build, World

APP = "/fal-ai/flux/dev"
INPUT = {"prompt": "a lighthouse above the sea at dusk", "image_size": "square_hd"}
NAMES = ["fal.run", "queue.fal.run", "localhost"]


def certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A self-signed certificate for these names, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "tls.crt", folder / "tls.key"
    pem.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return pem, private


async def by_name(world: World, method: str, url: str, trust: Path, **options: object) -> tuple[int, dict[str, object]]:
    """A call whose host name leads here: the connection goes to the TLS port, the Host header says the name."""
    context = ssl.create_default_context(cafile=str(trust))
    port = world.muxel.tls_url.rpartition(":")[2]
    host, _, path = url.removeprefix("https://").partition("/")
    async with world.http.request(
        method, f"https://127.0.0.1:{port}/{path}", headers={"Host": host, "Authorization": "Key app"}, ssl=context,
        server_hostname=host, **options,  # type: ignore[arg-type]
    ) as reply:  # fmt: skip
        return reply.status, await reply.json()


async def test_a_host_name_that_leads_here_is_served_over_tls(build: Build, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, *NAMES)
    world = await build(tls_listen="127.0.0.1:0", tls_cert=cert, tls_key=key)
    status, made = await by_name(world, "POST", f"https://fal.run{APP}", cert, json=INPUT)
    assert status == 200, made
    assert made["images"]
    status, job = await by_name(world, "POST", f"https://queue.fal.run{APP}", cert, json=INPUT)
    assert status == 200, job
    assert str(job["status_url"]).startswith("https://queue.fal.run/fal-ai/flux/requests/")
    await world.muxel.services.jobs.drain(30.0)
    status, state = await by_name(world, "GET", str(job["status_url"]), cert)
    assert state["status"] == "COMPLETED"
    status, result = await by_name(world, "GET", str(job["response_url"]), cert)
    assert result["images"]


async def test_a_name_of_ones_own_stands_for_the_real_host(build: Build) -> None:
    world = await build(hosts=("queue.muxel.svc=queue.fal.run",))
    headers = {"Host": "queue.muxel.svc", "Authorization": "Key app"}
    async with world.http.post(f"{world.muxel.url}{APP}", json=INPUT, headers=headers) as reply:
        assert (await reply.json())["status_url"].startswith("http://queue.muxel.svc/fal-ai/flux/requests/")


async def test_the_target_header_of_the_javascript_client_is_followed(build: Build) -> None:
    world = await build()
    headers = {"x-fal-target-url": f"https://queue.fal.run{APP}", "Authorization": "Key app"}
    async with world.http.post(f"{world.muxel.url}/api/fal/proxy", json=INPUT, headers=headers) as reply:
        job = await reply.json()
    assert job["status_url"].startswith("https://queue.fal.run/fal-ai/flux/requests/")
    await world.muxel.services.jobs.drain(30.0)
    headers["x-fal-target-url"] = job["response_url"]
    async with world.http.get(f"{world.muxel.url}/api/fal/proxy", headers=headers) as reply:
        assert (await reply.json())["images"]


async def test_a_target_that_is_not_the_wires_own_is_not_called(build: Build) -> None:
    world = await build()
    headers = {"x-fal-target-url": "https://elsewhere.example/secret"}
    async with world.http.post(f"{world.muxel.url}/api/fal/proxy", json=INPUT, headers=headers) as reply:
        assert reply.status == 404


async def test_a_renewed_certificate_is_shown_without_a_restart(build: Build, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "localhost")
    world = await build(tls_listen="127.0.0.1:0", tls_cert=cert, tls_key=key)
    certificate(tmp_path, "localhost", "renewed.example")
    context = ssl.create_default_context(cafile=str(cert))
    port = world.muxel.tls_url.rpartition(":")[2]
    url, name = f"https://127.0.0.1:{port}/media/x", "renewed.example"
    async with asyncio.timeout(30):
        while True:
            try:
                async with aiohttp.ClientSession() as fresh, fresh.get(url, ssl=context, server_hostname=name) as reply:
                    assert reply.status == 404
                    return
            except aiohttp.ClientConnectorCertificateError:
                continue  # the old one is still shown


def test_a_tls_port_without_a_certificate_is_refused() -> None:
    with pytest.raises(SettingsError, match="tls_listen needs tls_cert and tls_key"):
        Settings(tls_listen="127.0.0.1:0")
