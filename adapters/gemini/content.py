"""``generateContent`` as callers send it and are answered: pictures are parts of a conversation.

``client`` calls it. A conversation is flattened on the way in: its texts become the prompt, its pictures the
references. What only this wire has is kept in the extras under its dotted path ("generationConfig.temperature").

A call that asks for words or sound alone is passed through: one whose ``responseModalities`` leave IMAGE out, or that
has none and names one of Google's models that answer in words. So is one about a file that only Google can read.
"""

import re
from collections.abc import Iterator
from typing import Any

from adapters import fields, imaging
from adapters.gemini.shapes import CONFIG, IMAGE, NAME, blob_part, read_output, read_text, spelled
from adapters.ir import (
    RESOLUTIONS,
    ClientCall,
    Failure,
    InvalidRequest,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    PassThrough,
)

STREAM = "streamGenerateContent"  # the route
OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT})

_INT32 = 2**31
_SPEAKS = re.compile(r"(?:gemini|gemma|learnlm|lyria|veo)-(?!.*(?:image|banana))")  # models that draw say so by name
_AT_GOOGLE = re.compile(r"gs://|https://generativelanguage\.googleapis\.com/")


def read_body(call: ClientCall, given: dict[str, Any]) -> MediaRequest:
    """A generation, or an edit where ``contents`` holds pictures. Raises InvalidRequest and PassThrough."""
    given.pop("model", None)  # the path says it
    config = spelled(given.pop("generationConfig", None), "generationConfig")
    image = spelled(config.pop("imageConfig", None), "generationConfig.imageConfig")
    if not _makes_pictures(call.params.get("model", ""), _read_modalities(config) or ({"IMAGE"} if image else set())):
        raise PassThrough
    texts, references = _read_contents(given.pop("contents", None))
    shape = _read_image_config(image)
    seed = _read_integer(config, "seed", -_INT32, _INT32 - 1)
    n = _read_integer(config, "candidateCount", 1, 8) or 1
    extras = {
        **given,
        **{CONFIG + name: value for name, value in config.items()},
        **{IMAGE + name: value for name, value in image.items()},
    }
    return MediaRequest(
        operation=Operation.EDIT if references else Operation.GENERATE,
        prompt="\n".join(texts),
        model=call.params.get("model", ""),
        n=n,
        **shape,
        seed=seed,
        references=references,
        stream=call.route == STREAM and call.query.get("alt") == "sse",
        route=call.route,
        extras={NAME: extras} if extras else {},
        ask=call.ask,
    )


def _read_modalities(config: dict[str, Any]) -> set[str]:
    """Pictures alone are what every deployment is asked for; a wish for words beside them stays in ``config``."""
    name = "generationConfig.responseModalities"
    modalities = config.get("responseModalities", [])
    if not isinstance(modalities, list) or not all(isinstance(item, str) for item in modalities):
        raise InvalidRequest(name, f"{name} must be a list of strings")
    wanted = {item.upper() for item in modalities}
    if wanted <= {"IMAGE"}:
        config.pop("responseModalities", None)
    return wanted


def _makes_pictures(model: str, wanted: set[str]) -> bool:
    """By the modalities, else by the model: those of other names are the catalog's, and draw."""
    return "IMAGE" in wanted if wanted else bool(model) and not _SPEAKS.match(model)


def _read_contents(contents: object) -> tuple[list[str], tuple[Media, ...]]:
    if not isinstance(contents, list) or not contents:
        raise InvalidRequest("contents", "contents is required, a list of objects with parts")
    texts: list[str] = []
    references: list[Media] = []
    for name, part in _parts(contents):
        match part:
            case {"thought": True}:
                continue
            case {"text": str(text)}:
                texts += [text] if text else []
            case {"inlineData": blob}:
                references.append(_read_blob(blob, f"{name}.inlineData"))
            case {"fileData": file}:
                references.append(_read_file(file, f"{name}.fileData"))
            case {"thoughtSignature": _}:
                continue
            case _:
                raise InvalidRequest(name, f"{name} must have text, inlineData or fileData")
    if not texts:
        raise InvalidRequest("contents", "contents must have a text: it is the prompt")
    return texts, tuple(references)


def _parts(contents: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part with its path, over all turns."""
    for turn, content in enumerate(contents):
        parts = spelled(content, f"contents[{turn}]").get("parts", [])
        if not isinstance(parts, list):
            raise InvalidRequest(f"contents[{turn}].parts", f"contents[{turn}].parts must be a list")
        for index, part in enumerate(parts):
            yield (name := f"contents[{turn}].parts[{index}]"), spelled(part, name)


def _read_blob(value: object, name: str) -> Media:
    blob = spelled(value, name)
    mime = read_text(blob, name, "mimeType").lower()
    if mime and not mime.startswith("image/"):
        raise InvalidRequest(f"{name}.mimeType", f"{name}.mimeType must be a picture's; got {mime[:40]!r}")
    return imaging.read_base64(blob.get("data"), f"{name}.data", mime)


def _read_file(value: object, name: str) -> Media:
    file = spelled(value, name)
    uri = read_text(file, name, "fileUri")
    if _AT_GOOGLE.match(uri):
        raise PassThrough
    if not uri.startswith(("http://", "https://")):
        raise InvalidRequest(f"{name}.fileUri", f"{name}.fileUri must be an http or https URL")
    return Media(url=uri, mime=read_text(file, name, "mimeType").lower())


def _read_image_config(image: dict[str, Any]) -> dict[str, Any]:
    """The canonical fields of the picture's shape and format, taken out of ``image``."""
    aspect, size = f"{IMAGE}aspectRatio", f"{IMAGE}imageSize"
    ratio = fields.read_text({aspect: image.pop("aspectRatio", None)}, aspect)
    resolution = fields.read_text({size: image.pop("imageSize", None)}, size).upper()
    format_, compression = read_output(image.pop("imageOutputOptions", None), f"{IMAGE}imageOutputOptions")
    return {
        "aspect": fields.read_aspect(ratio, aspect) if ratio else None,
        "resolution": fields.read_choice({size: resolution}, size, RESOLUTIONS),
        "format": format_,
        "compression": compression,
    }


def _read_integer(config: dict[str, Any], name: str, low: int, high: int) -> int | None:
    path = CONFIG + name
    return fields.read_integer({path: config.pop(name, None)}, path, low, high)


def answer(result: MediaResult) -> dict[str, Any]:
    """One candidate a picture; the words beside them in the first."""
    candidates = []
    for index, artifact in enumerate(result.artifacts):
        words = [{"text": result.text}] if result.text and index == 0 else []
        content = {"role": "model", "parts": [*words, blob_part(artifact.media)]}
        candidates.append({"content": content, "finishReason": "STOP", "index": index})
    tokens = {"promptTokenCount": result.usage.input_tokens, "candidatesTokenCount": result.usage.output_tokens}
    known = {name: count for name, count in tokens.items() if count is not None}
    return {
        "candidates": candidates,
        "usageMetadata": known | {"totalTokenCount": sum(known.values())},
        "modelVersion": result.model,
        "responseId": result.id,
    }


def refusal(failure: Failure) -> dict[str, Any]:
    """``promptFeedback`` and no candidates."""
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": failure.message}
    return {"promptFeedback": feedback, "usageMetadata": {"totalTokenCount": 0}, "responseId": failure.id}
