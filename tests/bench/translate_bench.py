"""What one crossing of wires costs: the caller's bytes read, the provider's written, its answer read, ours written."""

import base64
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from statistics import median, quantiles
from time import perf_counter_ns

import orjson
from PIL import Image

from adapters.ir import Artifact, ClientCall, Done, Media, MediaResult, Target, UpstreamReply
from adapters.registry import WIRES

ROUNDS = 2000


def run() -> dict[str, float]:
    """p50 and p99 in microseconds for a small JSON request from OpenAI's wire to OpenAI's and to BFL's."""
    out = BytesIO()
    Image.new("RGB", (64, 64), "#336699").save(out, "PNG")
    picture = out.getvalue()
    body = orjson.dumps({"model": "x", "prompt": "a green bottle on a plinth", "size": "1024x1024", "quality": "high"})
    call = ClientCall("POST", "generate", {}, {}, {"content-type": "application/json"}, body)
    same = orjson.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(picture).decode()}]})
    ready = orjson.dumps({"id": "1", "status": "Ready", "result": {"sample": "https://example.test/1.png", "seed": 1}})
    return _timed("openai -> openai", lambda: _cross(call, "openai_images", same, picture)) | _timed(
        "openai -> bfl", lambda: _cross(call, "bfl", ready, picture)
    )


def _cross(call: ClientCall, provider: str, answer: bytes, picture: bytes) -> None:
    client, upstream = WIRES["openai_images"].client, WIRES[provider].provider
    assert client
    assert upstream
    request = client.read_request(call)
    upstream.write_request(request, Target("https://example.test/v1", "remote"))
    step = upstream.read_reply(UpstreamReply(200, {}, answer))
    assert isinstance(step, Done), step
    made = Artifact(Media(picture, mime="image/png"), 64, 64)
    client.write_reply(MediaResult((replace(made, seed=step.artifacts[0].seed),), "id", "m", 1.0), request)


def _timed(name: str, work: Callable[[], None]) -> dict[str, float]:
    times = []
    for _ in range(ROUNDS):
        begun = perf_counter_ns()
        work()
        times.append((perf_counter_ns() - begun) / 1000)
    return {f"translate {name} p50 us": median(times), f"translate {name} p99 us": quantiles(times, n=100)[98]}
