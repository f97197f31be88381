"""Pictures brought to the caller's form, and the store behind /media."""

from io import BytesIO

import pytest
from PIL import Image

from adapters.ir import Artifact, Media, MediaRequest, Operation
from proxy.media import KEEP_SECONDS, MediaStore, NotAPicture, finish


def picture(width: int, height: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    out = BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert(mode).save(out, kind)
    return out.getvalue()


def asked(**fields: object) -> MediaRequest:
    return MediaRequest(Operation.GENERATE, **fields)  # type: ignore[arg-type]


async def test_a_picture_that_fits_is_handed_on_byte_for_byte_and_measured() -> None:
    data = picture(64, 32)
    finished = await finish(Artifact(Media(data)), asked(size=(64, 32), format="png"), exact=True)
    assert finished.artifact.media == Media(data, mime="image/png")
    assert (finished.artifact.width, finished.artifact.height) == (64, 32)
    assert finished.changes == ()


async def test_another_size_is_scaled_to_cover_and_said() -> None:
    finished = await finish(Artifact(Media(picture(64, 32))), asked(size=(48, 48)), exact=True)
    assert Image.open(BytesIO(finished.artifact.media.data)).size == (48, 48)
    assert finished.changes == ("size 64x32 to 48x48",)


async def test_another_size_is_left_alone_where_policy_says_as_is() -> None:
    data = picture(64, 32)
    finished = await finish(Artifact(Media(data)), asked(size=(48, 48)), exact=False)
    assert finished.artifact.media.data == data
    assert (finished.artifact.width, finished.artifact.height) == (64, 32)


@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("made", ["PNG", "JPEG", "WEBP"])
async def test_every_format_becomes_every_other(made: str, wanted: str) -> None:
    finished = await finish(Artifact(Media(picture(40, 30, made))), asked(format=wanted), exact=True)
    with Image.open(BytesIO(finished.artifact.media.data)) as image:
        assert (image.format, image.size) == (wanted.upper(), (40, 30))
    assert finished.artifact.media.mime == f"image/{wanted}"


async def test_transparency_becomes_white_where_the_format_has_none() -> None:
    out = BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(out, "PNG")
    finished = await finish(Artifact(Media(out.getvalue())), asked(format="jpeg"), exact=True)
    with Image.open(BytesIO(finished.artifact.media.data)) as image:
        assert image.convert("RGB").getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("data", [b"<html>busy</html>", picture(64, 64)[:60]])
async def test_what_is_no_picture_is_not_handed_on(data: bytes) -> None:
    with pytest.raises(NotAPicture):
        await finish(Artifact(Media(data)), asked(size=(8, 8), format="webp"), exact=True)


def test_the_store_forgets_by_age_and_by_bytes_oldest_first() -> None:
    store = MediaStore(budget=100)
    first = store.put(Media(b"x" * 60), 0.0)
    second = store.put(Media(b"y" * 40), 1.0)
    assert store.get(first, 1.0) is not None
    third = store.put(Media(b"z" * 30), 2.0)
    assert store.get(first, 2.0) is None
    assert store.get(second, 2.0) is not None
    assert store.get(third, 2.0 + KEEP_SECONDS) is None
    assert store.get("guess", 2.0) is None
