"""Every caller's wire against every provider's, through a whole Muxel and its sandbox.

A wire with both faces is its own client here: its provider face writes the caller's request and reads the answer, which
the SDK tests in ``tests/wires`` hold to the official SDKs. ``test_pairs`` runs those SDKs themselves.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import cache
from io import BytesIO
from typing import Any

import pytest
import yaml
from PIL import Image

from adapters.fields import both_ways
from adapters.ir import (
    Cause,
    Done,
    Failed,
    Margins,
    Media,
    MediaRequest,
    Operation,
    Pending,
    Step,
    UpstreamCall,
    UpstreamReply,
)
from adapters.registry import WIRES, Wire
from proxy.exchange import _HONOURED
from tests.proxy.conftest import Build, World
from tests.wires.targets import as_client_call, at_muxel, both_faces, can_be_sent, targets

PROMPT = "a lighthouse above the sea at dusk"
REFUSED = "forbidden-sandbox-word"
SIZE = (1024, 1024)
SMALL = (320, 320)
TODAY = date(2026, 11, 20)


def picture(size: tuple[int, int], colour: str = "#2f6f8f") -> Media:
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return Media(data=out.getvalue(), mime="image/png")


def mask(size: tuple[int, int]) -> Media:
    image, out = Image.new("L", size, 0), BytesIO()
    image.paste(255, (0, 0, size[0] // 2, size[1]))
    image.save(out, "PNG")
    return Media(data=out.getvalue(), mime="image/png")


REQUESTS: Mapping[Operation, MediaRequest] = {
    Operation.GENERATE: MediaRequest(Operation.GENERATE, PROMPT, size=SIZE, seed=7, negative_prompt="people"),
    Operation.EDIT: MediaRequest(Operation.EDIT, PROMPT, references=(picture(SMALL),)),
    Operation.INPAINT: MediaRequest(Operation.INPAINT, PROMPT, references=(picture(SMALL),), mask=mask(SMALL)),
    Operation.ERASE: MediaRequest(Operation.ERASE, references=(picture(SMALL),), mask=mask(SMALL)),
    Operation.OUTPAINT: MediaRequest(
        Operation.OUTPAINT, PROMPT, references=(picture(SMALL),), margins=Margins(left=64, right=64)
    ),
    Operation.UPSCALE: MediaRequest(Operation.UPSCALE, references=(picture(SMALL),)),
    Operation.REMOVE_BACKGROUND: MediaRequest(Operation.REMOVE_BACKGROUND, references=(picture(SMALL),)),
    Operation.REPLACE_BACKGROUND: MediaRequest(Operation.REPLACE_BACKGROUND, PROMPT, references=(picture(SMALL),)),
    Operation.VECTORIZE: MediaRequest(Operation.VECTORIZE, references=(picture(SMALL),), format="svg"),
}
ALL = sorted({operation for operation in REQUESTS if both_faces(operation)}, key=list(Operation).index)


@cache
def catalog(operation: Operation) -> str:
    """For every wire that can be sent the operation a provider and a model, both of its name."""
    documents, models = [], []
    for wire in can_be_sent(operation):
        target = targets()[wire, operation]
        spec = {"wire": wire, "baseUrl": target.base_url, "credential": "none"}
        documents.append(_document("Provider", _name(wire), spec))
        limits = {"maxReferences": 4, "mask": True, "vector": operation is Operation.VECTORIZE}
        price = {"formula": {"unit": "image", "usd": 0.01}, "source": "test", "asOf": TODAY}
        score = {"score": 0.9, "p25": 0.9, "source": "test", "asOf": TODAY}
        deployment = {"provider": _name(wire), "remote": target.remote, "options": dict(target.options), "price": price}
        models.append(
            {
                "id": _name(wire),
                "vendor": "test",
                "operations": [operation.value],
                "limits": limits,
                "quality": {"general": score},
                "deployments": [deployment],
            }
        )
    documents.append(_document("RoutingPolicy", "default", {"objective": "cheapest"}))
    return yaml.safe_dump_all([*documents, _document("ModelCatalog", "every-wire", {"models": models})])


def _document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "muxel.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _name(wire: str) -> str:
    return f"by-{wire}".replace("_", "-")


class Caller:
    """An app that speaks one wire, to Muxel and by way of the wire's own provider face."""

    def __init__(self, world: World, wire: Wire, operation: Operation) -> None:
        self.world, self.wire = world, wire
        self.target = at_muxel(wire, targets()[wire.name, operation], world.muxel.url)
        self.dropped = ""

    def call(self, request: MediaRequest) -> UpstreamCall:
        assert self.wire.provider is not None
        return self.wire.provider.write_request(request, self.target)

    async def ask(self, request: MediaRequest, model: str) -> Step:
        """Sends the request, pinned to a model, and follows a job to its end."""
        step = await self._send(self.call(request), model)
        handle: Mapping[str, Any] = {}
        while isinstance(step, Pending):
            handle = step.handle or handle
            await self.world.muxel.services.jobs.drain(60.0)
            assert self.wire.polling is not None
            step = await self._send(self.wire.polling.poll(handle, self.target), model)
        return step

    async def _send(self, call: UpstreamCall, model: str) -> Step:
        assert self.wire.provider is not None
        auth = self.wire.provider.AUTH
        headers = {**call.headers, auth.header: f"{auth.scheme} app".strip(), "x-muxel-model": model}
        async with self.world.http.request(call.method, call.url, data=call.body or None, headers=headers) as reply:
            body = await reply.read()
            self.dropped = reply.headers.get("x-muxel-dropped", self.dropped)
            return self.wire.provider.read_reply(
                UpstreamReply(reply.status, {name.lower(): value for name, value in reply.headers.items()}, body)
            )

    async def picture(self, step: Step) -> bytes:
        assert isinstance(step, Done), step
        media = step.artifacts[0].media
        if not media.url:
            return media.data
        assert media.url.startswith(self.world.muxel.url), media.url[:60]
        async with self.world.http.get(media.url) as reply:
            assert reply.status == 200
            return await reply.read()


def sized(data: bytes) -> tuple[int, int]:
    image = Image.open(BytesIO(data))
    image.load()
    return image.size


CROSSINGS = [(operation, caller) for operation in ALL for caller in both_faces(operation)]
IDS = [f"{operation.partition('.')[2]}-{caller}" for operation, caller in CROSSINGS]


@pytest.mark.parametrize(("operation", "caller"), CROSSINGS, ids=IDS)
async def test_a_picture_crosses_from_every_provider_to_the_caller(
    build: Build, operation: Operation, caller: str
) -> None:
    world = await build(catalog(operation))
    wrong = {provider: await lost(world, caller, provider, operation) for provider in can_be_sent(operation)}
    problems = {provider: problem for provider, problem in wrong.items() if problem}
    assert not problems, "\n".join(f"{provider}: {problem[:300]}" for provider, problem in problems.items())


async def lost(world: World, caller: str, provider: str, operation: Operation) -> str:
    """What did not come through as it was asked for, and was not told of; "" if all is well."""
    wire, request, bought = WIRES[caller], REQUESTS[operation], await world.purchases()
    by = Caller(world, wire, operation)
    step = await by.ask(request, _name(provider))
    if not isinstance(step, Done):
        unsaid = "prompt" in by.call(request).dropped and "prompt is required" in step.message
        return "" if unsaid else f"no picture: {step}"
    data = await by.picture(step)
    after = await world.purchases()
    if (asked := {name for name in after if after[name] != bought.get(name)}) != {_name(provider)}:
        return f"bought from {asked}"
    if operation is Operation.VECTORIZE:
        return "" if b"<svg" in data else "not SVG"
    assert wire.client is not None
    read = both_ways(wire.client.read_request(await as_client_call(wire, by.call(request))))
    if read.size and sized(data) != read.size:
        return f"size {sized(data)}, not {read.size}"
    face = WIRES[provider].provider
    assert face is not None
    dropped = set(face.write_request(read, targets()[provider, operation]).dropped) - _HONOURED
    return ", ".join(sorted(name for name in dropped if name not in by.dropped))


UNMODERATED = {"a1111", "comfyui"}  # servers of one's own that refuse nothing


@pytest.mark.parametrize("caller", both_faces(Operation.GENERATE))
async def test_a_refusal_of_any_provider_is_a_refusal_to_the_caller(build: Build, caller: str) -> None:
    operation = Operation.GENERATE
    world = await build(catalog(operation))
    request = replace(REQUESTS[operation], prompt=f"{PROMPT} {REFUSED}")
    steps = {
        provider: await Caller(world, WIRES[caller], operation).ask(request, _name(provider))
        for provider in can_be_sent(operation)
        if provider not in UNMODERATED
    }
    told = {provider: step.cause if isinstance(step, Failed) else step for provider, step in steps.items()}
    refused = Cause.UNSUPPORTED if caller in UNMODERATED else Cause.REFUSED  # whose wire has no word for it
    assert not {provider: cause for provider, cause in told.items() if cause is not refused}
