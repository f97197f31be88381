"""Pictures: brought to the form a caller asked for, and kept for a while where callers fetch them by URL.

``exchange`` calls ``finish`` on every picture before a wire writes its reply; ``app`` serves the store. Bounded by
bytes and by age; ids cannot be guessed. Must not know any wire.
"""

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO

from adapters.imaging import MAX_PIXELS, picture_size, sniff_mime
from adapters.ir import Artifact, Media, MediaRequest

KEEP_SECONDS = 3600.0
_FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}


class NotAPicture(Exception):
    """The provider's bytes are no picture that can be handed on."""


@dataclass(frozen=True, slots=True)
class Finished:
    artifact: Artifact
    changes: tuple[str, ...] = ()  # what had to be done to it: "size 1024x768 to 1024x1024"


async def finish(artifact: Artifact, request: MediaRequest, *, exact: bool) -> Finished:
    """Measures a picture whose bytes are here, and brings it to the format and (where ``exact``) the size the caller
    named. Raises NotAPicture. Pixels are touched off the event loop, and only where something differs."""
    data = artifact.media.data
    mime = sniff_mime(data)
    if mime == "image/svg+xml":
        return Finished(_with(artifact, Media(data=data, mime=mime), (0, 0)))
    size = picture_size(data)
    if not size[0] or size[0] * size[1] > MAX_PIXELS:
        raise NotAPicture("the provider's answer is not a picture that can be decoded")
    target = request.size if exact and request.size not in (None, size) else None
    kind = request.format if request.format in _FORMATS else mime.removeprefix("image/")
    changes = []
    if target:
        changes.append(f"size {size[0]}x{size[1]} to {target[0]}x{target[1]}")
    if kind != mime.removeprefix("image/"):
        changes.append(f"format {mime.removeprefix('image/')} to {kind}")
    if changes:
        kind = kind if kind in _FORMATS else "png"
        data = await asyncio.to_thread(_convert, data, target, _FORMATS[kind], request.compression)
    return Finished(_with(artifact, Media(data=data, mime=f"image/{kind}"), target or size), tuple(changes))


def _with(artifact: Artifact, media: Media, size: tuple[int, int]) -> Artifact:
    return Artifact(media, *size, artifact.seed, artifact.revised_prompt)


def _convert(data: bytes, size: tuple[int, int] | None, kind: str, quality: int | None) -> bytes:
    """Scaled to cover ``size`` and cropped at the centre, in another format. Raises NotAPicture."""
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened)
            if size:
                image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
            if kind == "JPEG" and image.mode != "RGB":
                flat = Image.new("RGB", image.size, "white")
                flat.paste(image, mask=image.convert("RGBA").getchannel("A"))
                image = flat
            out = BytesIO()
            options = (
                {"compress_level": 1} if kind == "PNG" else {"quality": 90 if quality is None else max(quality, 1)}
            )
            image.save(out, kind, **options)
            return out.getvalue()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NotAPicture("the provider's picture cannot be decoded") from error


class MediaStore:
    """Pictures by unguessable id, oldest out first when the byte budget is full."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._kept: OrderedDict[str, tuple[float, Media]] = OrderedDict()

    def put(self, media: Media, now: float) -> str:
        """Keeps the picture for an hour or until room is needed; the id to fetch it by."""
        self._expire(now)
        while self._kept and self._held + len(media.data) > self._budget:
            self._drop(next(iter(self._kept)))
        name = secrets.token_urlsafe(24)
        self._kept[name] = (now + KEEP_SECONDS, media)
        self._held += len(media.data)
        return name

    def get(self, name: str, now: float) -> Media | None:
        self._expire(now)
        found = self._kept.get(name)
        return found[1] if found else None

    def _expire(self, now: float) -> None:
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        self._held -= len(self._kept.pop(name)[1].data)
