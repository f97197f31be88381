"""Callers' fields read into types, sizes and aspects brought to what a provider takes, and what it is not told of.

Called by the wires. Pure: values in, values out. Must not know any provider.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import gcd, sqrt
from typing import Any

import orjson

from adapters import imaging
from adapters.ir import RESOLUTIONS, InvalidRequest, Margins, MediaRequest, Operation

MAX_EDGE = 16_384


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
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)  # not by way of a float, which has too few digits for a seed
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


def nearest_size(asked: tuple[int, int], sizes: Iterable[str]) -> str:
    """The size ("1536x1024", or "3:2") nearest in shape; of those, the smallest with at least the pixels asked for, or
    else the largest."""

    def rank(size: str) -> tuple[float, bool, int]:
        width, height = (int(edge) for edge in size.replace(":", "x").split("x"))
        ratio = asked[0] * height / (asked[1] * width)
        missing = asked[0] * asked[1] - width * height
        return round(max(ratio, 1 / ratio), 3), missing > 0, abs(missing)

    return min(sizes, key=rank)


def snap(
    size: tuple[int, int], multiple: int, low: int, high: int, max_pixels: int = imaging.MAX_PIXELS, min_pixels: int = 1
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


_CANONICAL = (
    "prompt", "negative_prompt", "size", "aspect", "resolution", "duration", "quality", "seed", "steps", "guidance",
    "strength", "references", "style_references", "mask", "margins", "scale", "loras", "format", "compression",
    "background", "user",
)  # fmt: skip


def dropped_fields(request: MediaRequest, wire: str, carried: Iterable[str]) -> tuple[str, ...]:
    """The fields the caller set that this provider is not told: canonical names, and ``wire.field`` for the extras of
    other wires. ``carried`` are the canonical fields the provider face did carry."""
    kept = set(carried)
    added = request.margins if request.operation is Operation.OUTPAINT else None
    if added and ("margins" in kept or ("size" in kept and _centred(added))):
        kept |= {"size", "margins"}  # either says it all
    names = [name for name in _CANONICAL if name not in kept and getattr(request, name) not in (None, "", ())]
    if request.n > 1 and "n" not in kept:
        names.append("n")
    if request.partials and "partials" not in kept:
        names.append("partials")
    for other, fields in request.extras.items():
        if other != wire:
            names.extend(f"{other}.{name}" for name in fields)
    return tuple(names)


def both_ways(request: MediaRequest) -> MediaRequest:
    """An outpaint told by margins and by size, since a wire has only one of them. Where the size alone was asked for,
    the picture stands in its middle. As it is where the picture's own size is not known, or does not fit in."""
    if request.operation is not Operation.OUTPAINT or not request.references or (request.margins and request.size):
        return request
    width, height = imaging.picture_size(request.references[0].data)
    if not width or not height:
        return request
    if added := request.margins:
        return replace(request, size=(width + added.left + added.right, height + added.top + added.bottom))
    if not request.size or request.size[0] < width or request.size[1] < height or request.size == (width, height):
        return request
    across, down = request.size[0] - width, request.size[1] - height
    return replace(request, margins=Margins(across // 2, down // 2, across - across // 2, down - down // 2))


def _centred(margins: Margins) -> bool:
    return abs(margins.left - margins.right) <= 1 and abs(margins.top - margins.bottom) <= 1
