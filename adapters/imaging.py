"""Pictures as bytes: data URIs and base64, type and size by their header, masks of every polarity.

Called by the wires, and by the proxy where it looks at a picture. Pure; Pillow is imported only where pixels are really
touched. Must not know any provider.
"""

import base64
import binascii
import struct
from io import BytesIO
from typing import Any

import imagesize

from adapters.ir import Delivery, InvalidRequest, Media

MAX_PIXELS = 80_000_000  # a decoded picture above this is refused before it is decoded

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")  # what Pillow may decode: strangers' bytes reach no other parser


def data_uri(media: Media, default_mime: str = "image/png") -> str:
    """The media as the string a JSON field takes: its URL as it is, its bytes as a data URI."""
    if media.url:
        return media.url
    return f"data:{media.mime or default_mime};base64,{encode_base64(media.data)}"


def encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def read_base64(value: object, name: str, mime: str = "") -> Media:
    """Raw base64 or a data URI, in either alphabet and with or without padding, as Google's SDK for Python sends the
    URL-safe one (google-genai 3.4.0, seen 2026-11-20). Raises InvalidRequest naming the field."""
    if not isinstance(value, str) or not value:
        raise InvalidRequest(name, f"{name} must be a base64 string")
    if value.startswith("data:"):
        head, comma, value = value.partition(",")
        mime = head[5:].partition(";")[0].strip().lower() or mime
        if not comma or not head.endswith(";base64"):
            raise InvalidRequest(name, f"{name} must be a base64 data URI")
    try:
        data = base64.b64decode(value.translate(_STANDARD) + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(name, f"{name} is not valid base64") from None
    if not data:
        raise InvalidRequest(name, f"{name} is empty")
    return Media(data=data, mime=mime or sniff_mime(data))


_STANDARD = str.maketrans("-_", "+/")


def read_picture(value: object, name: str) -> Media:
    """What wires call an image string: an http(s) URL, a data URI, or raw base64. Raises InvalidRequest."""
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return Media(url=value)
    return read_base64(value, name)


def sniff_mime(data: bytes) -> str:
    """The picture type by its first bytes; "" if it is none we know."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    if data[:512].lstrip().startswith((b"<svg", b"<?xml")) and b"<svg" in data[:4096]:
        return "image/svg+xml"
    return ""


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height from the picture's header, without decoding it; (0, 0) if it is no raster picture we know."""
    mime = sniff_mime(data)
    if mime in ("", "image/svg+xml"):
        return 0, 0
    try:
        # Nearly every picture is a PNG, whose size stands at one place.
        width, height = struct.unpack_from(">II", data, 16) if mime == "image/png" else imagesize.get(BytesIO(data))
    except (ValueError, OSError, IndexError, struct.error):  # a header that breaks off
        return 0, 0
    return (width, height) if width > 0 and height > 0 else (0, 0)


def mask_from_alpha(data: bytes, name: str) -> Media:
    """A PNG whose transparent pixels mark the area to change, as a grey PNG with white = change. Raises InvalidRequest
    naming the field, also for a picture that has no transparency: it would ask for nothing to be changed."""

    def convert(image: Any) -> Any:
        if not image.has_transparency_data:
            raise InvalidRequest(name, f"{name} has no alpha channel: transparent pixels mark what is to be changed")
        return _inverted(image.convert("RGBA").getchannel("A"))

    return _convert_mask(data, name, convert)


def mask_to_alpha(data: bytes, name: str = "mask") -> Media:
    """The canonical grey mask (white = change) as an RGBA PNG that is transparent where to change."""
    from PIL import Image

    def convert(image: Any) -> Any:
        grey = image.convert("L")
        return Image.merge("RGBA", (*(Image.new("L", grey.size),) * 3, _inverted(grey)))

    return _convert_mask(data, name, convert)


def mask_from_grey(data: bytes, name: str, *, white_is_change: bool = True) -> Media:
    """A black and white mask of either polarity, as the canonical grey PNG."""
    return _convert_mask(
        data, name, lambda image: image.convert("L") if white_is_change else _inverted(image.convert("L"))
    )


def mask_to_binary(data: bytes, name: str = "mask", *, white_is_change: bool = True) -> Media:
    """The canonical grey mask as pure black and white of either polarity, for providers that take nothing between."""
    levels = [0] * 128 + [255] * 128 if white_is_change else [255] * 128 + [0] * 128
    return _convert_mask(data, name, lambda image: image.convert("L").point(levels))


def crop(data: bytes, box: tuple[int, int, int, int], name: str) -> Media:
    """The part of a picture within (left, top, right, bottom), as PNG. Raises InvalidRequest naming the field."""
    return _convert_mask(data, name, lambda image: image.crop(box))


_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error)  # Pillow on bad bytes


def _inverted(grey: Any) -> Any:
    return grey.point(range(255, -1, -1))


def _convert_mask(data: bytes, name: str, convert: Any) -> Media:
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InvalidRequest(name, f"{name} has more than {MAX_PIXELS} pixels")
            out = BytesIO()
            convert(image).save(out, "PNG", compress_level=1)
    except (*_UNREADABLE, Image.DecompressionBombError):
        raise InvalidRequest(name, f"{name} is not a picture that can be decoded") from None
    return Media(data=out.getvalue(), mime="image/png")


def deliver(media: Media, delivery: Delivery) -> str:
    """The string a JSON reply names a finished picture by: its URL, a data URI, or plain base64."""
    if delivery is Delivery.URL and media.url:
        return media.url
    if delivery is Delivery.DATA_URI:
        return data_uri(media)
    return encode_base64(media.data)
