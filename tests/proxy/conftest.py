"""A whole Muxel over a whole sandbox, inside the test's own loop; everything between them is real HTTP on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
import yaml
from opentelemetry.sdk.trace import SpanProcessor

from adapters.registry import WIRES, Wire
from proxy.configuration import load_config
from proxy.sandbox.app import start
from proxy.sandbox.faults import Faults, Rule
from proxy.serve import Running, running
from proxy.settings import Settings


@dataclass(frozen=True, slots=True, repr=False)  # the catalog is in it, and Python 3.11 prints a task's result
class World:
    """``muxel`` in front of a sandbox whose providers answer at once unless ``faults`` say otherwise."""

    muxel: Running
    sandbox: str
    faults: Faults
    http: aiohttp.ClientSession

    async def upstream_requests(self, provider: str) -> list[dict[str, Any]]:
        """What the provider was sent, oldest first."""
        async with self.http.get(f"{self.sandbox}/_sandbox/requests", params={"provider": provider}) as reply:
            requests: list[dict[str, Any]] = (await reply.json())["requests"]
            return requests

    async def purchases(self) -> dict[str, int]:
        """How often each provider was asked to make something: what may cost money."""
        async with self.http.get(f"{self.sandbox}/_sandbox/requests") as reply:
            counts = (await reply.json())["counts"]
        return {name: count["creates"] for name, count in counts.items() if count["creates"]}

    async def post(self, path: str, body: Mapping[str, Any], **headers: str) -> aiohttp.ClientResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.http.post(self.muxel.url + path, json=body, headers=sent)
        await reply.read()
        return reply


@cache
def shipped_wires() -> dict[str, Wire]:
    """The wires of the shipped providers, by provider: what a sandbox serves."""
    return {name: WIRES[provider.wire] for name, provider in load_config(()).catalog.providers.items()}


def _wires_of(policy: str) -> Mapping[str, Wire]:
    """The wires of the providers that ``policy`` adds."""
    documents = [document for document in yaml.safe_load_all(policy) if document and document["kind"] == "Provider"]
    return {document["metadata"]["name"]: WIRES[document["spec"]["wire"]] for document in documents}


Build = Callable[..., Awaitable[World]]


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    """Makes worlds; ``policy`` is YAML that overlays what Muxel ships."""
    async with AsyncExitStack() as stack:

        async def make(policy: str = "", /, *processors: SpanProcessor, sandbox: str = "", **settings: Any) -> World:
            faults = Faults([Rule(refuse_words=("forbidden-sandbox-word",))])
            if policy:
                (tmp_path / "policy.yaml").write_text(policy)
                settings.setdefault("policy", (tmp_path / "policy.yaml",))
            if not sandbox:
                box = await start("127.0.0.1", 0, shipped_wires() | _wires_of(policy), faults=faults, rng=Random(7))
                stack.push_async_callback(box.close)
                sandbox = box.url
            chosen = Settings(
                **{"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "sandbox": sandbox, "drain_seconds": 2.0}
                | settings
            )
            muxel = await stack.enter_async_context(running(chosen, {}, *processors))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            return World(muxel, sandbox, faults, http)

        yield make


@pytest.fixture
async def world(build: Build) -> World:
    return await build()
