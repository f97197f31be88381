"""Muxel's own work on a small JSON request, traced and logged: everything between the two HTTP stacks, which are left
out. This is what the budget of the hot path is about."""

import asyncio
import base64
import gc
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from time import process_time

import orjson
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from PIL import Image

from adapters.ir import ClientCall, ClientReply, UpstreamCall, UpstreamReply
from adapters.registry import WIRES
from policies.catalog import Provider
from proxy import logs
from proxy.ask import read_ask
from proxy.exchange import Exchange
from proxy.serve import running
from proxy.services import Services
from proxy.settings import Settings
from proxy.transport import Transport
from tests.bench.servers import POLICY, Nowhere

REQUESTS, ROUNDS = 1000, 5
BODY = orjson.dumps(
    {"model": "gpt-image-2", "prompt": "studio product photo of a green glass bottle on a marble plinth"}
)
HEADERS = {"content-type": "application/json", "host": "127.0.0.1", "authorization": "Bearer app"}


class Canned(Transport):
    """Answers every call at once."""

    def __init__(self, body: bytes) -> None:
        self._reply = UpstreamReply(200, {"content-type": "application/json"}, body)

    async def send(
        self, call: UpstreamCall, headers: Mapping[str, str], provider: Provider, seconds: float
    ) -> UpstreamReply:
        return self._reply


def run() -> dict[str, float]:
    """CPU microseconds a request: the median of the rounds, and the least."""
    rounds = sorted(asyncio.run(_rounds()))
    return {"own cpu us/request": rounds[len(rounds) // 2], "own cpu us/request, least": rounds[0]}


async def _rounds() -> list[float]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger("muxel").level
    logs.install("info", StringIO())
    try:
        with tempfile.TemporaryDirectory() as directory:
            policy = Path(directory) / "policy.yaml"
            policy.write_text(POLICY.format(url="http://127.0.0.1:9"))
            settings = Settings(listen="127.0.0.1:0", admin_listen="127.0.0.1:0", policy=(policy,), sandbox="never")
            async with running(settings, {}, BatchSpanProcessor(Nowhere())) as served:
                services = replace(served.services, transport=Canned(_reply()))
                await _requests(services, 200)
                return [await _requests(services, REQUESTS) for _ in range(ROUNDS)]
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger("muxel").setLevel(level)


async def _requests(services: Services, count: int) -> float:
    gc.collect()
    begun = process_time()
    for number in range(count):
        reply = await _request(services, f"{number:016x}")
        assert isinstance(reply, ClientReply)
        assert reply.status == 200, reply.body
    return (process_time() - begun) / count * 1e6


async def _request(services: Services, name: str) -> object:
    """What ``app`` does around an exchange, without its HTTP."""
    config = services.state.current
    assert config is not None
    span = services.tracing.server("/v1/images/generations", "POST", "/v1/images/generations", HEADERS)
    call = ClientCall("POST", "generate", {}, {}, HEADERS, BODY, "http://127.0.0.1/v1", read_ask(HEADERS))
    try:
        return await Exchange(services, WIRES["openai_images"], call, span, name, services.monotonic(), config).create()
    finally:
        span.set_attribute("http.response.status_code", 200)
        span.end()


def _reply() -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 64), "#336699").save(out, "PNG")
    return orjson.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(out.getvalue()).decode()}]})
