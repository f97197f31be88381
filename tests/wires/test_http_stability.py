"""Stability's client face over HTTP, in place of an SDK: the API has no official one, and its callers write the paths.

``aiohttp`` makes the multipart body here, so that nothing of ours is on both ends.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, FormData

from adapters.ir import Artifact, Cause, Failure, Media, MediaResult, Operation
from adapters.registry import WIRES
from tests.wires.serve import Served, served

PNG = b"\x89PNG\r\n\x1a\n..."
WIRE = WIRES["stability"]
RESULT = MediaResult((Artifact(Media(PNG, mime="image/png"), 8, 6, seed=7),), id="request-1")
THEIRS = "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4"


def form(*files: str, **texts: str) -> FormData:
    data = FormData(default_to_multipart=True)
    for name in files:
        data.add_field(name, PNG, filename=f"{name}.png", content_type="image/png")
    for name, text in texts.items():
        data.add_field(name, text)
    return data


@asynccontextmanager
async def posted(face: Served, path: str, data: FormData, accept: str = "*/*") -> AsyncIterator[ClientResponse]:
    async with (
        ClientSession(headers={"Accept": accept}) as session,
        session.post(f"{face.url}/v2beta/stable-image/{path}", data=data) as answer,
    ):
        yield answer


async def test_a_picture_comes_as_its_bytes() -> None:
    data = form("image", prompt="a red fox")
    async with served(WIRE, RESULT) as face, posted(face, "control/style", data, "image/*") as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", PNG)
    assert (answer.headers["finish-reason"], answer.headers["seed"]) == ("SUCCESS", "7")
    [request] = face.requests
    assert (request.operation, request.prompt) == (Operation.GENERATE, "a red fox")
    assert request.style_references == (Media(PNG, mime="image/png"),)


async def test_a_picture_comes_as_json() -> None:
    data = form(prompt="a red fox")
    async with served(WIRE, RESULT) as face, posted(face, "generate/core", data, "application/json") as answer:
        assert await answer.json() == {"image": "iVBORw0KGgouLi4=", "finish_reason": "SUCCESS", "seed": 7}


async def test_a_refusal_is_a_content_moderation() -> None:
    refusal = Failure(Cause.REFUSED, "not this", id="d-1")
    async with served(WIRE, refusal) as face, posted(face, "generate/core", form(prompt="a red fox")) as answer:
        assert await answer.json() == {"id": "d-1", "name": "content_moderation", "errors": ["not this"]}
    assert answer.status == 403


@pytest.mark.parametrize(
    "path", ["/v1/user/balance", "/v1/engines/list", f"/v2beta/results/{THEIRS}", "/v2beta/audio/results/1"]
)
async def test_what_is_no_picture_is_passed_on(path: str) -> None:
    answer: dict[str, Any] = {"credits": 0.4}
    async with (
        served(WIRE, RESULT, passed_answer=answer) as face,
        ClientSession() as session,
        session.get(f"{face.url}{path}") as reply,
    ):
        assert await reply.json() == answer
    assert face.passed == [f"GET /stability{path}"]
