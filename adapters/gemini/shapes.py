"""How Google spells JSON, and how this wire shows a picture: what its client and provider face share.

Facts from google-genai 3.4.0 (read and captured 2026-11-20): the SDK for Python sends camelCase and snake_case in one
body, and the URL-safe base64 alphabet.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adapters import fields, imaging
from adapters.ir import InvalidRequest, Media

NAME = "gemini"
CONFIG = "generationConfig."  # what the path of an extra begins with
IMAGE = "generationConfig.imageConfig."
FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


def spelled(value: object, name: str) -> dict[str, Any]:
    """An object with its keys in camelCase and its nulls left out; empty for null. Raises InvalidRequest."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(name, f"{name} must be an object")
    return {camel(key): item for key, item in value.items() if item is not None}


def camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def read_text(owner: Mapping[str, Any], path: str, name: str) -> str:
    """A string field, its whole path named in an error."""
    return fields.read_text({f"{path}.{name}": owner.get(name)}, f"{path}.{name}")


def read_output(value: object, path: str) -> tuple[str, int | None]:
    """Format and compression out of ``{mimeType, compressionQuality}``. Raises InvalidRequest."""
    options = spelled(value, path)
    mime, quality = f"{path}.mimeType", f"{path}.compressionQuality"
    chosen = fields.read_choice({mime: options.get("mimeType")}, mime, FORMATS)
    return (
        FORMATS.get(chosen, ""),
        fields.read_integer({quality: options.get("compressionQuality")}, quality, 0, 100),
    )


def mime_of(media: Media) -> str:
    return media.mime or imaging.sniff_mime(media.data) or "image/png"


def blob_part(media: Media) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime_of(media), "data": imaging.encode_base64(media.data)}}


def objects(value: object) -> Iterator[dict[str, Any]]:
    """The objects in a list a provider answered with."""
    yield from (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))
