"""The official ``dashscope`` SDK 2.0.2 as the oracle, both ways and both halves of it: the blocking and the async one.

What the provider face sends is compared field by field with what the SDK sends for the same call. All that may differ:

* headers: we set Content-Type and X-DashScope-Async. The credential is added by the proxy, which signs every call;
  User-Agent, Accept and the SDK's own about itself are the HTTP client's.
* the slash its async half puts behind the path of a task.

And the client face is called by the SDK, unchanged: its requests are read, and it is answered with our replies.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import dashscope
import orjson
import pytest
from dashscope.aigc.image_generation import AioImageGeneration, ImageGeneration
from dashscope.aigc.image_synthesis import AioImageSynthesis, ImageSynthesis
from dashscope.aigc.multimodal_conversation import AioMultiModalConversation, MultiModalConversation
from dashscope.api_entities.aio_session import close_shared_aio_session
from dashscope.api_entities.http_request import close_shared_sync_session
from dashscope.client import base_api
from dashscope.common.constants import TaskStatus

from adapters.dashscope import client, provider
from adapters.dashscope.dialect import PATHS
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
    Target,
    UpstreamCall,
)
from tests.wires.capture import Captured, capture

Call = Callable[..., Awaitable[Any]]
MESSAGES = [{"role": "user", "content": [{"image": "https://pictures.example/a.png"}, {"text": "snow"}]}]
TASK = {"output": {"task_id": "t1", "task_status": "SUCCEEDED", "results": []}, "request_id": "r1"}
PICTURES = {"output": {"choices": []}, "request_id": "r1"}
EDIT = MediaRequest(Operation.EDIT, prompt="snow", references=(Media(url="https://pictures.example/a.png"),))


def threaded(call: Callable[..., Any]) -> Call:
    """A blocking call of the SDK, beside the loop that serves it."""

    async def run(*args: Any, **named: Any) -> Any:
        return await asyncio.to_thread(call, *args, **named)

    return run


CONVERSATIONS = [threaded(MultiModalConversation.call), AioMultiModalConversation.call]
SUBMITS = [threaded(ImageSynthesis.async_call), AioImageSynthesis.async_call]
FETCHES = [threaded(ImageSynthesis.fetch), AioImageSynthesis.fetch]
WAITS = [threaded(ImageSynthesis.wait), AioImageSynthesis.wait]
CANCELS = [threaded(ImageSynthesis.cancel), AioImageSynthesis.cancel]
GENERATIONS = [threaded(ImageGeneration.async_call), AioImageGeneration.async_call]
HALVES = pytest.mark.parametrize("half", [0, 1], ids=["blocking", "async"])


@pytest.fixture(autouse=True)
async def _sdk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A key, no sleep between two polls, and no connection left open."""

    async def at_once(seconds: float) -> None:
        pass

    monkeypatch.setattr(dashscope, "api_key", "sk-test")
    monkeypatch.setattr(base_api, "time", SimpleNamespace(time=time.time, sleep=lambda seconds: None))
    monkeypatch.setattr(base_api, "asyncio", SimpleNamespace(sleep=at_once))
    yield
    close_shared_sync_session()
    await close_shared_aio_session()


async def captured(
    monkeypatch: pytest.MonkeyPatch, reply: Mapping[str, Any], call: Call, *args: Any, **named: Any
) -> tuple[Captured, str]:
    """What the SDK sent for ``call``, and the base URL it sent it to."""
    async with capture(reply) as (url, calls):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        await call(*args, **named)
    return calls[0], url


def assert_same(ours: UpstreamCall | None, theirs: Captured, url: str) -> None:
    """All but the differences listed above."""
    assert ours is not None
    assert (ours.method, ours.url) == (theirs.method, url + theirs.path.removesuffix("/"))
    headers = {name.lower(): value for name, value in ours.headers.items()}
    assert headers.get("x-dashscope-async") == theirs.headers.get("x-dashscope-async")
    if ours.body:
        assert headers["content-type"] == theirs.headers["content-type"].partition(";")[0]
        assert orjson.loads(ours.body) == theirs.json()


# ------------------------------------------------------------------------------------------------------- what we send


@HALVES
async def test_a_picture_is_asked_for_as_the_sdk_does(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    request = MediaRequest(
        Operation.GENERATE,
        prompt="a red fox",
        negative_prompt="blurry",
        n=2,
        size=(1024, 768),
        seed=7,
        extras={"dashscope": {"prompt_extend": False, "watermark": False}},
    )
    theirs, url = await captured(
        monkeypatch,
        PICTURES,
        CONVERSATIONS[half],
        "qwen-image-2.0",
        messages=[{"role": "user", "content": [{"text": "a red fox"}]}],
        negative_prompt="blurry",
        n=2,
        size="1024*768",
        seed=7,
        prompt_extend=False,
        watermark=False,
    )
    assert_same(provider.write_request(request, Target(f"{url}/api/v1", "qwen-image-2.0")), theirs, url)


@HALVES
async def test_a_picture_is_edited_as_the_sdk_does(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    call = CONVERSATIONS[half]
    theirs, url = await captured(monkeypatch, PICTURES, call, "qwen-image-edit", messages=MESSAGES, n=1)
    assert_same(provider.write_request(EDIT, Target(f"{url}/api/v1", "qwen-image-edit")), theirs, url)


@HALVES
async def test_a_task_of_text_to_image_is_submitted_as_the_sdk_does(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a red fox", negative_prompt="blurry", size=(1024, 1024))
    named = {"prompt": "a red fox", "negative_prompt": "blurry", "size": "1024*1024", "n": 1}
    theirs, url = await captured(monkeypatch, TASK, SUBMITS[half], "wan2.5-t2i-preview", **named)
    target = Target(f"{url}/api/v1", "wan2.5-t2i-preview", {"api": "text2image"})
    assert_same(provider.write_request(request, target), theirs, url)


@HALVES
async def test_a_task_with_pictures_is_submitted_as_the_sdk_does(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"prompt": "snow", "images": ["https://pictures.example/a.png"], "n": 1}
    theirs, url = await captured(monkeypatch, TASK, SUBMITS[half], "wan2.5-i2i-preview", **named)
    target = Target(f"{url}/api/v1", "wan2.5-i2i-preview", {"api": "image2image"})
    assert_same(provider.write_request(EDIT, target), theirs, url)


@HALVES
async def test_a_masked_edit_is_submitted_as_the_sdk_does(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    request = MediaRequest(
        Operation.INPAINT,
        prompt="a rabbit",
        references=(Media(url="https://pictures.example/a.png"),),
        mask=Media(url="https://pictures.example/mask.png"),
    )
    theirs, url = await captured(
        monkeypatch,
        TASK,
        SUBMITS[half],
        "wanx2.1-imageedit",
        prompt="a rabbit",
        function="description_edit_with_mask",
        base_image_url="https://pictures.example/a.png",
        mask_image_url="https://pictures.example/mask.png",
        n=1,
    )
    target = Target(f"{url}/api/v1", "wanx2.1-imageedit", {"api": "image2image", "input": "function"})
    assert_same(provider.write_request(request, target), theirs, url)


@HALVES
async def test_a_task_of_image_generation_is_submitted_as_the_sdk_does(
    half: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, url = await captured(
        monkeypatch, TASK, GENERATIONS[half], "wan2.7-image", messages=MESSAGES, n=1, is_async=True
    )
    target = Target(f"{url}/api/v1", "wan2.7-image", {"api": "image-generation"})
    ours = provider.write_request(EDIT, target)
    body = theirs.json()
    assert body["parameters"].pop("is_async")  # the SDK's own switch, which it sends along
    assert_same(ours, Captured(theirs.method, theirs.path, theirs.headers, orjson.dumps(body)), url)


@HALVES
async def test_a_task_is_polled_and_canceled_as_the_sdk_does(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = {"task_id": "t1"}
    theirs, url = await captured(monkeypatch, TASK, FETCHES[half], "t1")
    assert_same(provider.poll(handle, Target(f"{url}/api/v1", "")), theirs, url)
    theirs, url = await captured(monkeypatch, TASK, CANCELS[half], "t1")
    assert_same(provider.cancel(handle, Target(f"{url}/api/v1", "")), theirs, url)


# --------------------------------------------------------------------------------------------------- what callers send

RESULT = MediaResult(
    (
        Artifact(Media(url="http://ours/media/1.png"), 1024, 768, revised_prompt="a red fox, finely drawn"),
        Artifact(Media(url="http://ours/media/2.png"), 1024, 768),
    ),
    id="request-1",
)


def job(state: JobState, route: str = "task", **more: Any) -> ClientReply:
    return client.write_job(Job("sealed", state, "http://ours/dashscope/api/v1", created=1.0, route=route, **more))


def read(theirs: Captured, route: str) -> MediaRequest:
    return client.read_request(ClientCall("POST", route, {}, {}, theirs.headers, theirs.body))


@HALVES
async def test_a_conversation_is_read_and_answered_with_pictures(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = MediaRequest(Operation.EDIT, model="qwen-image-edit-plus")
    async with capture(client.write_reply(RESULT, asked)) as (url, calls):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        answer = await CONVERSATIONS[half]("qwen-image-edit-plus", messages=MESSAGES, n=2, watermark=False)
    assert answer.status_code == 200
    content = answer.output.choices[0].message.content
    assert [part["image"] for part in content] == ["http://ours/media/1.png", "http://ours/media/2.png"]
    assert calls[0].path == "/api/v1" + PATHS["multimodal"]
    request = read(calls[0], "multimodal")
    assert (request.operation, request.prompt, request.n) == (Operation.EDIT, "snow", 2)
    assert request.references == (Media(url="https://pictures.example/a.png"),)
    assert request.extras == {"dashscope": {"watermark": False}}


@HALVES
async def test_a_task_is_submitted_waited_for_and_read(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = (
        job(JobState.QUEUED, "text2image"),
        job(JobState.RUNNING),
        job(JobState.SUCCEEDED, result=RESULT, finished=3.0, input={"prompt": "a red fox"}),
    )
    async with capture(*replies) as (url, calls):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        task = await SUBMITS[half]("wan2.5-t2i-preview", "a red fox", n=2, size="1024*768")
        assert (task.output.task_id, task.output.task_status) == ("sealed", "PENDING")
        answer = await WAITS[half](task)
    assert answer.output.task_status == "SUCCEEDED"
    assert [result.url for result in answer.output.results] == ["http://ours/media/1.png", "http://ours/media/2.png"]
    assert answer.output.results[0].actual_prompt == "a red fox, finely drawn"
    assert answer.usage.image_count == 2
    assert [call.path.removesuffix("/") for call in calls[1:]] == ["/api/v1/tasks/sealed"] * 2
    request = read(calls[0], "text2image")
    assert (request.prompt, request.n, request.size, request.wait) == ("a red fox", 2, (1024, 768), 0.0)


@HALVES
async def test_call_submits_and_polls_by_itself(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    call = [threaded(ImageSynthesis.call), AioImageSynthesis.call][half]
    async with capture(job(JobState.QUEUED, "image2image"), job(JobState.SUCCEEDED, result=RESULT)) as (url, calls):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        answer = await call("wan2.5-i2i-preview", "snow", images=["https://pictures.example/a.png"])
    assert len(answer.output.results) == 2
    assert calls[0].path == "/api/v1" + PATHS["image2image"]
    assert read(calls[0], "image2image").operation is Operation.EDIT


@HALVES
async def test_sync_call_is_answered_with_the_finished_task(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    call = [threaded(ImageSynthesis.sync_call), AioImageSynthesis.sync_call][half]
    async with capture(job(JobState.SUCCEEDED, "text2image", result=RESULT)) as (url, calls):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        answer = await call("wan2.2-t2i-flash", "a red fox")
    assert len(answer.output.results) == 2
    assert read(calls[0], "text2image").wait is None


@HALVES
async def test_a_task_of_image_generation_is_read_as_choices(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = [threaded(ImageGeneration.fetch), AioImageGeneration.fetch][half]
    async with capture(job(JobState.QUEUED, "image-generation"), job(JobState.SUCCEEDED, result=RESULT)) as (
        url,
        calls,
    ):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        task = await GENERATIONS[half]("wan2.7-image", messages=MESSAGES)
        answer = await fetch(task)
    assert [choice.message.content[0]["image"] for choice in answer.output.choices] == [
        "http://ours/media/1.png",
        "http://ours/media/2.png",
    ]
    assert read(calls[0], "image-generation").wait == 0.0


@HALVES
@pytest.mark.parametrize("state", JobState)
async def test_every_state_is_one_the_sdk_knows(half: int, state: JobState, monkeypatch: pytest.MonkeyPatch) -> None:
    more: dict[str, Any] = {"result": RESULT} if state is JobState.SUCCEEDED else {}
    async with capture(job(state, **more)) as (url, _):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        answer = await FETCHES[half]("sealed")
    assert answer.output.task_status in vars(TaskStatus).values()


@HALVES
async def test_a_refused_task_tells_why(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Failure(Cause.REFUSED, "no foxes here")
    async with capture(job(JobState.FAILED, failure=refused)) as (url, _):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        output = (await WAITS[half]("sealed")).output
    assert (output.task_status, output.code, output.message) == ("FAILED", "DataInspectionFailed", "no foxes here")


@HALVES
async def test_a_task_is_canceled_or_it_is_too_late(half: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = (job(JobState.CANCELED, "cancel"), job(JobState.SUCCEEDED, "cancel", result=RESULT))
    async with capture(*replies) as (url, calls):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        canceled = await CANCELS[half]("sealed")
        too_late = await CANCELS[half]("sealed")
    assert (canceled.status_code, canceled.output["task_status"]) == (200, "CANCELED")
    assert (too_late.status_code, too_late.code) == (400, "UnsupportedOperation")
    assert [call.path.removesuffix("/") for call in calls] == ["/api/v1/tasks/sealed/cancel"] * 2


@HALVES
@pytest.mark.parametrize("cause", Cause)
async def test_every_failure_has_a_status_a_code_and_its_message(
    half: int, cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = Failure(cause, "no foxes here", id="request-1", retry_after=2.0)
    async with capture(client.write_error(failure, None)) as (url, _):
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{url}/api/v1")
        answer = await SUBMITS[half]("wan2.5-t2i-preview", "a red fox")
    if cause is Cause.EXPIRED:
        assert answer.output.task_status == "UNKNOWN"
    else:
        assert (answer.status_code, answer.message) == (cause.status, "no foxes here")
        assert answer.code
