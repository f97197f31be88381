"""What a wire's provider face writes, its client face reads back: nothing carried is lost or changed on the way.

Sizes are brought to what a provider takes, so of them only this is asked: brought there once, they stay. All else that
was set and not listed as dropped must come back as it was.
"""

import asyncio
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from adapters.ir import Lora, Margins, Media, MediaRequest, Operation, Target
from adapters.registry import WIRES, Wire
from tests.wires.targets import as_client_call, at_muxel, both_faces, targets

MUXEL = "http://muxel.test"
MASKED = {Operation.INPAINT, Operation.ERASE}
SHAPE = {"size", "aspect", "resolution", "margins", "scale"}  # brought to what the provider takes
COMPARED = ("prompt", "negative_prompt", "n", "seed", "steps", "guidance", "strength", "loras", "format")
OPERATIONS = [
    operation
    for operation in Operation
    if operation.startswith("image.") and any(operation in wire.operations for wire in WIRES.values())
]
PAIRS = [(operation, wire) for operation in OPERATIONS for wire in both_faces(operation)]


def png(kind: str, size: tuple[int, int], colour: Any, box: tuple[int, int, int, int] | None = None) -> Media:
    image, out = Image.new(kind, size, colour), BytesIO()
    if box:
        image.paste(255, box)
    image.save(out, "PNG")
    return Media(data=out.getvalue(), mime="image/png")


PICTURES = [png("RGB", (32, 24), colour) for colour in ("#804020", "#208040", "#402080")]
MASK = png("L", (32, 24), 0, (0, 0, 16, 24))
words = st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters='"<>|{}'), max_size=40).map(
    str.strip
)


@st.composite
def requests(draw: st.DrawFn, operation: Operation) -> MediaRequest:
    """A request of this operation; what a provider cannot be told is dropped by its face, and then not compared."""
    works = operation is not Operation.GENERATE
    return MediaRequest(
        operation,
        prompt=draw(words) or "a fox",
        negative_prompt=draw(words),
        seed=draw(st.none() | st.integers(1, 2**31 - 1)),
        steps=draw(st.none() | st.integers(1, 50)),
        guidance=draw(st.none() | st.sampled_from([1.5, 3.5, 7.0])),
        strength=draw(st.none() | st.sampled_from([0.25, 0.5, 0.75])) if works else None,
        size=draw(st.none() | st.sampled_from([(1024, 1024), (1536, 1024), (768, 1344)])) if not works else None,
        references=(PICTURES[0],) if works else (),
        mask=MASK if operation in MASKED else None,
        margins=Margins(16, 0, 16, 0) if operation is Operation.OUTPAINT else None,
        scale=draw(st.sampled_from([None, 2.0, 4.0])) if operation is Operation.UPSCALE else None,
        loras=draw(st.just(()) | st.just((Lora("https://weights.example/a.safetensors", 0.5),))) if not works else (),
        format="svg" if operation is Operation.VECTORIZE else draw(st.sampled_from(["", "png", "jpeg"])),
    )


def looks(media: Media | None) -> bytes:
    """The pixels: a mask may have been written in another way."""
    assert media is not None
    with Image.open(BytesIO(media.data)) as image:
        return image.convert("L").tobytes()


async def returned(wire: Wire, request: MediaRequest, target: Target) -> tuple[MediaRequest, set[str]]:
    assert wire.client is not None
    assert wire.provider is not None
    call = wire.provider.write_request(request, at_muxel(wire, target, MUXEL))
    return wire.client.read_request(await as_client_call(wire, call)), set(call.dropped)


@pytest.mark.parametrize(("operation", "name"), PAIRS, ids=[f"{name}-{operation[6:]}" for operation, name in PAIRS])
def test_what_is_written_is_read_back(operation: Operation, name: str) -> None:
    wire, target = WIRES[name], targets()[name, operation]

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(requests(operation))
    def holds(request: MediaRequest) -> None:
        first, dropped = asyncio.run(returned(wire, request, target))
        again, _ = asyncio.run(returned(wire, replace(first, model=request.model), target))
        told = {field: getattr(first, field) for field in COMPARED if field not in dropped and getattr(request, field)}
        assert told == {field: getattr(request, field) for field in told}
        assert [looks(media) for media in first.references] == [looks(media) for media in request.references]
        if request.mask:
            assert looks(first.mask) == looks(request.mask)
        for field in SHAPE:
            assert getattr(again, field) == getattr(first, field), field

    holds()
