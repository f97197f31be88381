"""The official ``fal_client`` SDK 1.0.3 as the oracle, both ways.

The SDK has https fixed and its hosts from FAL_RUN_HOST and FAL_QUEUE_RUN_HOST at import time. So it is run here against
the wire's own routes behind TLS on loopback, with hosts that carry our mounts, as the package of the wire tells an app
to set them; httpx trusts the certificate by SSL_CERT_FILE.

What the provider face sends is compared with what the SDK sends for the same call. All that may differ:

* headers: we set Content-Type. The credential is added by the proxy; the rest are the HTTP client's.
* the query ``logs``: the SDK says that it wants none, which is what the API does anyway.
"""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import fal_client.client as sdk_module
import orjson
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fal_client import AsyncClient, Completed, FalClientHTTPError, InProgress, Queued, Status, SyncClient

from adapters.fal import client, provider
from adapters.ir import (
    Artifact,
    Cause,
    ClientCall,
    ClientReply,
    Failure,
    Job,
    JobState,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Partial,
    PassThrough,
    Target,
    UpstreamCall,
    Webhook,
)

APP = "fal-ai/flux-pro/v1/fill"  # longer than what the URLs of its requests name
ARGUMENTS = {"prompt": "a red fox", "image_size": {"width": 1024, "height": 768}, "num_images": 2, "seed": 7}
RESULT = MediaResult(
    (Artifact(Media(data=b"\xff\xd8\xff..", mime="image/jpeg", url="https://muxel/media/1"), 1024, 768, 7),), "r1"
)
Answer = Callable[[ClientCall], ClientReply | bytes]


@dataclass(slots=True)
class Served:
    """Our routes at ``host``, what was asked of them, and the URLs that were asked."""

    host: str = ""
    calls: list[ClientCall] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    @property
    def routes(self) -> list[str]:
        return [call.route for call in self.calls]


# ------------------------------------------------------------------------------------------------ our routes behind TLS


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "loopback.pem"
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@asynccontextmanager
async def serve(pem: Path, answer: Answer) -> AsyncIterator[Served]:
    served = Served()
    app = web.Application()
    for version in client.VERSIONS:
        for route in client.ROUTES:
            handler = _handler(served, answer, client.PREFIX + version, route.name)
            app.router.add_route(route.method, client.PREFIX + version + route.path, handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        served.host = f"127.0.0.1:{runner.addresses[0][1]}"
        yield served
    finally:
        await runner.cleanup()


def _handler(served: Served, answer: Answer, mount: str, route: str) -> Callable[[web.Request], Any]:
    async def handle(http: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in http.headers.items()}
        base_url = f"https://{http.host}{mount}"
        body = await http.read()
        call = ClientCall(http.method, route, http.match_info, http.query, headers, body, base_url)
        served.calls.append(call)
        served.urls.append(str(http.url))
        match answer(call):
            case bytes(events):
                return web.Response(body=events, content_type="text/event-stream")
            case ClientReply() as reply:
                kind = {"Content-Type": reply.content_type}
                return web.Response(status=reply.status, body=reply.body, headers={**kind, **reply.headers})

    return handle


class Sdk:
    """The SDK's two clients behind one interface, so that each claim is made of both."""

    def __init__(self, kind: str) -> None:
        self.client: Any = SyncClient(key="id:secret") if kind == "sync" else AsyncClient(key="id:secret")
        self.is_sync = kind == "sync"

    async def do(self, name: str, *args: Any, of: Any = None, **kwargs: Any) -> Any:
        method = getattr(of or self.client, name)
        return await (asyncio.to_thread(method, *args, **kwargs) if self.is_sync else method(*args, **kwargs))

    async def streamed(self, app: str, arguments: Mapping[str, Any]) -> list[Any]:
        if self.is_sync:
            return await asyncio.to_thread(lambda: list(self.client.stream(app, arguments)))
        return [event async for event in self.client.stream(app, arguments)]

    async def close(self) -> None:
        await (asyncio.to_thread(self.client._client.close) if self.is_sync else (await self.client._client).aclose())


Start = Callable[[Answer], Any]


@pytest.fixture(params=["sync", "async"])
def start(request: pytest.FixtureRequest, pem: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts our routes with an answer, and the SDK pointed at them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))

    @asynccontextmanager
    async def started(answer: Answer) -> AsyncIterator[tuple[Sdk, Served]]:
        async with serve(pem, answer) as served:
            monkeypatch.setattr(sdk_module, "RUN_URL_FORMAT", f"https://{served.host}/fal/run/")
            monkeypatch.setattr(sdk_module, "QUEUE_URL_FORMAT", f"https://{served.host}/fal/queue/")
            sdk = Sdk(request.param)
            try:
                yield sdk, served
            finally:
                await sdk.close()

    return started


def test_the_hosts_of_the_sdk_may_carry_a_path() -> None:
    script = "import fal_client.client as sdk; print(sdk.RUN_URL_FORMAT, sdk.QUEUE_URL_FORMAT)"
    hosts = {"FAL_RUN_HOST": "muxel:8443/fal/run", "FAL_QUEUE_RUN_HOST": "muxel:8443/fal/queue"}
    run = subprocess.run([sys.executable, "-c", script], env=hosts, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["https://muxel:8443/fal/run/", "https://muxel:8443/fal/queue/"]


# ------------------------------------------------------------------------------------------------------- what we answer


def job(call: ClientCall, state: JobState, **more: Any) -> Job:
    return Job("sealed-1", state, call.base_url, APP, 1.0, route=call.route, params=call.params, **more)


def queue(*states: JobState, failure: Failure | None = None) -> Answer:
    """A job that is in the next of ``states`` at each look at its status, and stays in the last."""
    left = list(states)

    def answer(call: ClientCall) -> ClientReply:
        state = left.pop(0) if call.route == "status" and len(left) > 1 else left[0]
        if call.route == "cancel":
            state = JobState.CANCELED
        result = RESULT if state is JobState.SUCCEEDED else None
        return client.write_job(job(call, state, result=result, failure=failure, finished=3.5))

    return answer


def assert_is_the_result(output: Any) -> None:
    assert [image["url"] for image in output["images"]] == ["https://muxel/media/1"]
    assert output["image"] == {
        "url": "https://muxel/media/1", "width": 1024, "height": 768, "content_type": "image/jpeg"
    }  # fmt: skip
    assert (output["seed"], output["has_nsfw_concepts"]) == (7, [False])


async def test_run_is_answered_at_once(start: Start) -> None:
    async with start(lambda call: client.write_reply(RESULT, client.read_request(call))) as (sdk, served):
        assert_is_the_result(await sdk.do("run", "fal-ai/flux/dev", ARGUMENTS))
    assert served.urls == [f"https://{served.host}/fal/run/fal-ai/flux/dev"]
    request = client.read_request(served.calls[0])
    assert (request.model, request.size, request.n, request.wait) == ("fal-ai/flux/dev", (1024, 768), 2, None)
    assert served.calls[0].headers["authorization"] == "Key id:secret"


async def test_a_stream_is_read_to_its_last_event(start: Start) -> None:
    def answer(call: ClientCall) -> bytes:
        request = client.read_request(call)
        return client.write_event(Partial(RESULT.artifacts[0]), request) + client.write_event(RESULT, request)

    async with start(answer) as (sdk, served):
        events = await sdk.streamed("fal-ai/flux-lora", ARGUMENTS)
    assert len(events) == 2
    assert_is_the_result(events[-1])
    request = client.read_request(served.calls[0])
    assert (served.routes, request.model, request.stream) == (["stream"], "fal-ai/flux-lora", True)


async def test_subscribe_sees_every_status_and_then_the_result(start: Start) -> None:
    seen: list[Status] = []
    states = (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED)
    async with start(queue(*states)) as (sdk, served):
        output = await sdk.do("subscribe", APP, ARGUMENTS, interval=0.001, on_queue_update=seen.append, with_logs=True)
    assert_is_the_result(output)
    assert seen == [Queued(0), InProgress([]), Completed([], {"inference_time": 2.5})]
    assert served.urls[:2] == [
        f"https://{served.host}/fal/queue/fal-ai/flux-pro/v1/fill",
        f"https://{served.host}/fal/queue/fal-ai/flux-pro/requests/sealed-1/status?logs=true",
    ]
    assert served.routes == ["submit", "status", "status", "status", "status", "result"]


async def test_a_request_is_found_again_by_its_id(start: Start) -> None:
    async with start(queue(JobState.SUCCEEDED)) as (sdk, served):
        assert isinstance(await sdk.do("status", APP, "sealed-1"), Completed)
        assert_is_the_result(await sdk.do("result", APP, "sealed-1"))
        await sdk.do("cancel", APP, "sealed-1")
    assert served.routes == ["status", "status", "result", "cancel"]
    assert {client.read_id(call) for call in served.calls} == {"sealed-1"}


async def test_an_id_of_fals_own_is_passed_on(start: Start) -> None:
    async with start(queue(JobState.SUCCEEDED)) as (sdk, served):
        await sdk.do("status", "fal-ai/veo3.1", "3c9e5d0a-6f5b-4f0e-9f60-0a8f3f0f3f11")
    with pytest.raises(PassThrough):
        client.read_id(served.calls[0])


async def test_a_webhook_is_asked_for_as_the_sdk_does(start: Start) -> None:
    async with start(queue(JobState.QUEUED)) as (sdk, served):
        hook = "https://app.example/hook?a=1&b=2"
        handle = await sdk.do("submit", APP.removesuffix("/v1/fill"), ARGUMENTS, webhook_url=hook, priority="low")
    assert handle.request_id == "sealed-1"
    assert client.read_request(served.calls[0]).webhook == Webhook(hook)


async def test_a_job_that_failed_raises_when_its_result_is_fetched(start: Start) -> None:
    refused = Failure(Cause.REFUSED, "no foxes here")
    async with start(queue(JobState.FAILED, failure=refused)) as (sdk, served):
        status = await sdk.do("status", APP, "sealed-1")
        with pytest.raises(FalClientHTTPError) as raised:
            await sdk.do("subscribe", APP, ARGUMENTS)
    assert (status.error, status.error_type) == ("no foxes here", "content_policy_violation")
    assert (raised.value.status_code, raised.value.error_type) == (422, "content_policy_violation")
    assert served.routes.count("result") == 1


@pytest.mark.parametrize(
    "cause", [cause for cause in Cause if cause is not Cause.THROTTLED], ids=lambda cause: cause.label
)
async def test_an_error_is_raised_with_its_message_and_nothing_is_sent_again(start: Start, cause: Cause) -> None:
    def answer(call: ClientCall) -> ClientReply:
        return client.write_error(Failure(cause, "no foxes here", id="r1"), client.read_request(call))

    async with start(answer) as (sdk, served):
        for name in ("run", "submit"):
            with pytest.raises(FalClientHTTPError, match="no foxes here") as raised:
                await sdk.do(name, "fal-ai/flux/dev", ARGUMENTS)
            assert raised.value.error_type
            assert raised.value.response_headers["x-fal-request-id"] == "r1"
    assert served.routes == ["run", "submit"]


@pytest.mark.parametrize(
    "cause", [Cause.THROTTLED, Cause.UNAVAILABLE, Cause.AMBIGUOUS, Cause.MALFORMED], ids=lambda cause: cause.label
)
async def test_a_failed_job_is_not_asked_for_its_result_again(start: Start, cause: Cause) -> None:
    async with start(queue(JobState.FAILED, failure=Failure(cause, "no foxes here", retry_after=9.0))) as (sdk, served):
        with pytest.raises(FalClientHTTPError, match="no foxes here"):
            await sdk.do("subscribe", APP, ARGUMENTS)
    assert served.routes.count("result") == 1


# --------------------------------------------------------------------------------------------------------- what we send


def assert_same(ours: UpstreamCall, theirs: ClientCall, url: str) -> None:
    """All but the differences listed above."""
    assert (ours.method, ours.url) == (theirs.method, url.partition("?logs=")[0])
    headers = {name.lower(): value for name, value in ours.headers.items()}
    assert headers.get("content-type") == theirs.headers.get("content-type")
    assert (orjson.loads(ours.body) if ours.body else None) == (orjson.loads(theirs.body) if theirs.body else None)


async def test_a_request_is_submitted_polled_and_canceled_as_the_sdk_does(start: Start) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a red fox", size=(1024, 768), n=2, seed=7)
    async with start(queue(JobState.RUNNING, JobState.SUCCEEDED)) as (sdk, served):
        handle = await sdk.do("submit", APP, ARGUMENTS)
        await sdk.do("get", of=handle)
        await sdk.do("cancel", of=handle)
    target = Target(f"https://{served.host}/fal/queue", APP)
    cancel = provider.cancel({"id": "sealed-1"}, target)
    assert cancel is not None
    ours = {
        "submit": provider.write_request(request, target),
        "status": provider.poll({"id": "sealed-1"}, target),
        "result": provider.poll({"id": "sealed-1", "completed": True}, target),
        "cancel": cancel,
    }
    assert served.routes == ["submit", "status", "status", "result", "cancel"]
    for call, url in zip(served.calls, served.urls, strict=True):
        assert_same(ours[call.route], call, url)


async def test_a_picture_goes_inline_as_the_sdk_encodes_it(start: Start) -> None:
    picture = Media(data=b"\x89PNG\r\n\x1a\n...", mime="image/png")
    request = MediaRequest(Operation.EDIT, prompt="snow", references=(picture,))
    arguments = {"prompt": "snow", "image_url": sdk_module.encode(picture.data, picture.mime)}
    async with start(lambda call: client.write_reply(RESULT, client.read_request(call))) as (sdk, served):
        await sdk.do("run", "fal-ai/flux-pro/kontext", arguments)
    target = Target(
        f"https://{served.host}/fal/run", "fal-ai/flux-pro/kontext", {"inputs": {"references": "image_url"}}
    )
    assert_same(provider.write_request(request, target), served.calls[0], served.urls[0])
    assert client.read_request(served.calls[0]).references == (picture,)
