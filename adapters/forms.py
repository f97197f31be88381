"""multipart/form-data, both ways. Called by the wires that speak it; pure, and knows no provider."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import orjson

from adapters import fields, imaging
from adapters.ir import InvalidRequest, Media

MAX_PARTS = 128  # of a multipart body


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


def read_form(body: bytes, content_type: str) -> tuple[dict[str, Any], dict[str, list[Media]]]:
    """The fields, and the files by name, of a body that may be multipart or a JSON object, for APIs that take either.
    Nulls are absent; a field given more than once is a list; ``name[]`` names a file as ``name`` does. Raises
    InvalidRequest."""
    if not content_type.lower().startswith("multipart/"):
        return {name: value for name, value in fields.read_object(body).items() if value is not None}, {}
    given: dict[str, list[str]] = {}
    files: dict[str, list[Media]] = {}
    for name, filename, mime, value in read_multipart(body, content_type):
        if filename:
            if not value:
                raise InvalidRequest(name, f"{name} is empty")
            files.setdefault(name.removesuffix("[]"), []).append(
                Media(data=value, mime=imaging.sniff_mime(value) or mime)
            )
            continue
        try:
            given.setdefault(name, []).append(value.decode())
        except UnicodeDecodeError:
            raise InvalidRequest(name, f"{name} must be text in UTF-8") from None
    return {name: values if len(values) > 1 else values[0] for name, values in given.items()}, files


def form_parts(fields: Mapping[str, Any]) -> list[tuple[str, str, str, bytes]]:
    """The fields as parts for ``write_multipart``: pictures as files, a list as one part for each of its items, objects
    and lists of objects as JSON."""
    return [part for name, value in fields.items() for part in _form_parts(name, value)]


def _form_parts(name: str, value: Any) -> Iterator[tuple[str, str, str, bytes]]:
    match value:
        case Media():
            mime = imaging.sniff_mime(value.data) or value.mime or "image/png"
            yield name, f"image.{mime.partition('/')[2].removesuffix('+xml')}", mime, value.data
        case list() | tuple() if not any(isinstance(item, dict | list) for item in value):
            for item in value:
                yield from _form_parts(name, item)
        case dict() | list() | tuple() | bool():
            yield name, "", "", orjson.dumps(value)
        case _:
            yield name, "", "", str(value).encode()


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
