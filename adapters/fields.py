"""What three or more wires share: typed reading of callers' fields, sizes, data URIs, multipart, masks, dropped fields.

Called by the wires, and by the proxy where it looks at a picture. Pure: values in, values out; Pillow is imported only
where pixels are really touched. Must not know any provider.
"""

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from math import gcd, sqrt
from typing import Any

import imagesize
import orjson

from adapters.ir import RESOLUTIONS, Cause, Delivery, InvalidRequest, Media, MediaRequest

MAX_EDGE = 16_384
MAX_PIXELS = 80_000_000  # a decoded picture above this is refused before it is decoded
MAX_PARTS = 128  # of a multipart body
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")  # what Pillow may decode: strangers' bytes reach no other parser

# ------------------------------------------------------------------------------------------ reading a caller's fields


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``. Raises InvalidRequest."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("body", f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRequest("body", f"the body must be a JSON object, not {_json_type(value)}")
    return value


def read_text(fields: Mapping[str, Any], name: str, *, required: bool = False, limit: int = 0) -> str:
    """A string field; "" where absent or null."""
    value = fields.get(name)
    if value is None or value == "":
        if required:
            raise InvalidRequest(name, f"{name} is required")
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(name, f"{name} must be a string, not {_json_type(value)}")
    if limit and len(value) > limit:
        raise InvalidRequest(name, f"{name} is {len(value)} characters long; the limit is {limit}")
    return value


def read_choice(fields: Mapping[str, Any], name: str, choices: Iterable[str]) -> str:
    """A string field out of ``choices``; "" where absent or null."""
    value = read_text(fields, name)
    if value and value not in (known := tuple(choices)):
        raise InvalidRequest(name, f"{name} must be one of {', '.join(known)}; got {value[:40]!r}")
    return value


def read_number(fields: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    """A number in [low, high], also when a multipart part spelled it as text; None where absent or null."""
    given = fields.get(name)
    if given is None or given == "":
        return None
    try:
        value = float(given) if isinstance(given, str) else given
    except ValueError:
        raise InvalidRequest(name, f"{name} must be a number; got {given[:40]!r}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(name, f"{name} must be a number, not {_json_type(value)}")
    if not low <= value <= high:  # NaN is outside too
        raise InvalidRequest(name, f"{name} must be between {low:.12g} and {high:.12g}; got {value:.12g}")
    return value


def read_integer(fields: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    """A whole number in [low, high]; None where absent or null."""
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    number = read_number(fields, name, low, high)
    if number is None:
        return None
    if number != int(number):
        raise InvalidRequest(name, f"{name} must be a whole number; got {number:g}")
    return int(number)


def read_flag(fields: Mapping[str, Any], name: str) -> bool | None:
    """A boolean, also as the text a multipart part carries; None where absent or null."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    raise InvalidRequest(name, f"{name} must be true or false")


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


# ------------------------------------------------------------------------------------------------- sizes and aspects


def read_size(value: str, name: str, separator: str = "x") -> tuple[int, int]:
    """ "1024x1536" -> (1024, 1536). Raises InvalidRequest naming the field."""
    width, _, height = value.partition(separator)
    if not (width.isascii() and height.isascii() and width.isdigit() and height.isdigit()):
        raise InvalidRequest(name, f"{name} must be WIDTH{separator}HEIGHT in pixels; got {value[:40]!r}")
    if len(width) > 6 or len(height) > 6 or not (1 <= int(width) <= MAX_EDGE and 1 <= int(height) <= MAX_EDGE):
        raise InvalidRequest(name, f"{name}: each edge must be between 1 and {MAX_EDGE} pixels; got {value[:40]!r}")
    return int(width), int(height)


def read_aspect(value: str, name: str, separator: str = ":") -> tuple[int, int]:
    """ "16:9" -> (16, 9). Raises InvalidRequest naming the field."""
    width, _, height = value.partition(separator)
    plain = width.isascii() and height.isascii() and width.isdigit() and height.isdigit()
    if not plain or len(width) > 4 or len(height) > 4 or not int(width) or not int(height):
        raise InvalidRequest(name, f"{name} must be WIDTH{separator}HEIGHT; got {value[:40]!r}")
    return int(width), int(height)


def aspect_of(request: MediaRequest) -> tuple[int, int] | None:
    """The aspect asked for, in lowest terms, from the size where there is one."""
    pair = request.size or request.aspect
    if pair is None:
        return None
    divisor = gcd(*pair)
    return pair[0] // divisor, pair[1] // divisor


def nearest_aspect(pair: tuple[int, int], choices: Iterable[str], separator: str = ":") -> str:
    """The choice ("16:9", ...) whose ratio is nearest to ``pair``, by factor and not by difference."""
    ratio = pair[0] / pair[1]

    def distance(choice: str) -> float:
        width, _, height = choice.partition(separator)
        other = float(width) / float(height)
        return max(ratio / other, other / ratio)

    return min(choices, key=distance)


def nearest_resolution(request: MediaRequest, choices: Iterable[str]) -> str:
    """The smallest of ``choices`` ("512", "1K", ...) with at least the pixels asked for, else the largest; "" if there
    is no choice, or neither a size nor a resolution was asked for."""
    ordered = sorted(choices, key=RESOLUTIONS.__getitem__)
    if not ordered:
        return ""
    if request.resolution:
        wanted = float(RESOLUTIONS.get(request.resolution, 1024))
    elif request.size:
        wanted = sqrt(request.size[0] * request.size[1])
    else:
        return ""
    return next((name for name in ordered if RESOLUTIONS[name] * 1.1 >= wanted), ordered[-1])


def snap(
    size: tuple[int, int], multiple: int, low: int, high: int, max_pixels: int = MAX_PIXELS, min_pixels: int = 1
) -> tuple[int, int]:
    """``size`` brought within edge and pixel limits at the same aspect, each edge a multiple of ``multiple``. Where the
    limits contradict each other the upper ones hold."""
    width, height = size
    scale = min(1.0, high / max(width, height), sqrt(max_pixels / (width * height)))
    if scale == 1.0:
        scale = max(1.0, low / min(width, height), sqrt(min_pixels / (width * height)))

    def edge(length: float) -> int:
        rounded = max(round(length / multiple), -(-low // multiple), 1)
        return min(rounded, high // multiple) * multiple

    width, height = edge(width * scale), edge(height * scale)
    while width * height < min_pixels and max(width, height) + multiple <= high:  # rounded down to below it
        width, height = (width, height + multiple) if width >= height else (width + multiple, height)
    while width * height > max_pixels and max(width, height) > multiple:
        width, height = (width - multiple, height) if width >= height else (width, height - multiple)
    return width, height


# ------------------------------------------------------------------------------------------------------------ pictures


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


# ------------------------------------------------------------------------------------------------------------ multipart


def read_multipart(body: bytes, content_type: str) -> list[tuple[str, str, str, bytes]]:
    """The parts as (name, file name, mime, value); one without a file name is a plain field. Raises InvalidRequest."""
    import multipart

    kind, options = multipart.parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise InvalidRequest("body", "the body must be multipart/form-data with a boundary")
    parts: list[tuple[str, str, str, bytes]] = []
    name = filename = mime = ""
    content = b""
    try:
        with multipart.PushMultipartParser(options["boundary"], len(body), max_segment_count=MAX_PARTS) as parser:
            for event in parser.parse(body):
                if event is None:
                    parts.append((name, filename, mime, content))
                elif isinstance(event, multipart.MultipartSegment):
                    name, filename, mime = event.name or "", event.filename or "", event.content_type or ""
                    content = b""
                else:
                    content += event
    except (multipart.MultipartError, UnicodeError) as error:
        raise InvalidRequest("body", f"the multipart body cannot be read: {error}") from None
    return parts


_ESCAPED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def write_multipart(parts: Sequence[tuple[str, str, str, bytes]]) -> tuple[str, bytes]:
    """(content type, body) for parts of (name, file name, mime, value). The boundary comes from the content; names and
    types may be a caller's, so they are escaped as browsers do and cannot end their header."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part[3])
    boundary = digest.hexdigest()
    out = BytesIO()
    for *labels, value in parts:
        name, filename, mime = (str(label).translate(_ESCAPED) for label in labels)
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        kind = f"Content-Type: {mime}\r\n" if mime else ""
        out.write(f"--{boundary}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n".encode())
        out.write(value)
        out.write(b"\r\n")
    out.write(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", out.getvalue()


# ------------------------------------------------------------------------------------------------------ what is dropped

_CANONICAL = (
    "negative_prompt", "size", "aspect", "resolution", "quality", "seed", "steps", "guidance", "strength", "references",
    "mask", "format", "compression", "background", "user",
)  # fmt: skip


def dropped_fields(request: MediaRequest, wire: str, carried: Iterable[str]) -> tuple[str, ...]:
    """The fields the caller set that this provider is not told: canonical names, and ``wire.field`` for the extras of
    other wires. ``carried`` are the canonical fields the provider face did carry."""
    kept = set(carried)
    names = [name for name in _CANONICAL if name not in kept and getattr(request, name) not in (None, "", ())]
    if request.n > 1 and "n" not in kept:
        names.append("n")
    if request.partials and "partials" not in kept:
        names.append("partials")
    for other, fields in request.extras.items():
        if other != wire:
            names.extend(f"{other}.{name}" for name in fields)
    return tuple(names)


def deliver(media: Media, delivery: Delivery) -> str:
    """The string a JSON reply names a finished picture by: its URL, a data URI, or plain base64."""
    if delivery is Delivery.URL and media.url:
        return media.url
    if delivery is Delivery.DATA_URI:
        return data_uri(media)
    return encode_base64(media.data)


# ------------------------------------------------------------------------------------------ reading a provider's answer

_CAUSES = {
    401: Cause.DENIED,
    402: Cause.DENIED,
    403: Cause.DENIED,
    408: Cause.UNAVAILABLE,
    429: Cause.THROTTLED,
    504: Cause.AMBIGUOUS,
}
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}")  # base64, or a key


def read_answer(body: bytes) -> dict[str, Any]:
    """The JSON object a provider answered with; empty where it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def cause_of(status: int) -> Cause:
    """What an HTTP status alone says of a failed call. A wire that knows better from the body asks that first."""
    if status in _CAUSES:
        return _CAUSES[status]
    if 400 <= status < 500:
        return Cause.UNSUPPORTED
    return Cause.UNAVAILABLE if 500 <= status < 600 else Cause.MALFORMED


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after``; None where there is neither, or a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= seconds < 1e6:  # NaN is outside too
            return seconds
    return None


def excerpt(text: str, limit: int = 300) -> str:
    """A provider's own words, short enough for a message, on one line and without base64."""
    line = " ".join(_ENCODED.sub("...", text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
