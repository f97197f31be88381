"""The ids of fal's endpoints: their addresses, and what they do as far as the words of the id tell.

Called by the faces of this wire. Does not look into bodies.
"""

import re
from urllib.parse import quote, urlsplit

from adapters.ir import Operation

NAME = "fal"
PREFIX = "/fal"

_MOUNTS = {
    "fal.run": f"{PREFIX}/run",
    "falrun.com": f"{PREFIX}/run",  # the SDKs' second choice where the first cannot be reached
    "queue.fal.run": f"{PREFIX}/queue",
    "queue.falrun.com": f"{PREFIX}/queue",
}
_KEYS = "/.well-known/jwks.json"
_NAMESPACES = ("workflows", "comfy")  # stand before the owner; such apps are their owner's, with inputs of their own

# ----------------------------------------------------------------------------------------------------------- addresses


def proxy_path(url: str) -> str | None:
    """Where a URL of fal's is served by us, with its query: "https://queue.fal.run/fal-ai/flux/dev" is
    "/fal/queue/fal-ai/flux/dev". None: it is not served."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None
    if ".." in parts.path.split("/"):
        return None
    if host == "rest.fal.ai":
        return f"{PREFIX}{_KEYS}" if parts.path == _KEYS else None
    return f"{_MOUNTS[host]}{parts.path}{'?' if parts.query else ''}{parts.query}" if host in _MOUNTS else None


def sync_base(base_url: str) -> str:
    """The host that answers at once, beside that of the queue."""
    return base_url.replace("://queue.", "://", 1)


def pass_url(base_url: str, path: str) -> str:
    """Where a call is passed on to that came in at ``path`` below a mount; ``base_url`` is that of the provider."""
    return f"{sync_base(base_url)}{path.removeprefix('/run')}" if path.startswith("/run/") else f"{base_url}{path}"


def requests_path(app: str) -> str:
    """The path of a queue's requests: "fal-ai/flux/dev" -> "/fal-ai/flux/requests", without what follows the alias."""
    segments = app.split("/")
    return f"/{quote('/'.join(segments[: 3 if segments[0] in _NAMESPACES else 2]))}/requests"


# ---------------------------------------------------------------------------------------------------------- operations

OPERATIONS = frozenset(
    {
        Operation.GENERATE, Operation.EDIT, Operation.INPAINT, Operation.OUTPAINT, Operation.ERASE,
        Operation.REMOVE_BACKGROUND, Operation.REPLACE_BACKGROUND, Operation.UPSCALE, Operation.RESTORE,
        Operation.RELIGHT, Operation.VECTORIZE,
    }
)  # fmt: skip
_SAID = (  # the first whose words all stand in the id, behind its owner
    ("rembg", Operation.REMOVE_BACKGROUND),
    ("birefnet", Operation.REMOVE_BACKGROUND),
    ("background remove", Operation.REMOVE_BACKGROUND),
    ("background removal", Operation.REMOVE_BACKGROUND),
    ("background replace", Operation.REPLACE_BACKGROUND),
    ("background change", Operation.REPLACE_BACKGROUND),
    ("upscale", Operation.UPSCALE),
    ("upscaler", Operation.UPSCALE),
    ("esrgan", Operation.UPSCALE),
    ("aura sr", Operation.UPSCALE),
    ("super resolution", Operation.UPSCALE),
    ("vectorize", Operation.VECTORIZE),
    ("image2svg", Operation.VECTORIZE),
    ("star vector", Operation.VECTORIZE),
    ("eraser", Operation.ERASE),
    ("erase", Operation.ERASE),
    ("object removal", Operation.ERASE),
    ("inpaint", Operation.INPAINT),
    ("inpainting", Operation.INPAINT),
    ("fill", Operation.INPAINT),
    ("genfill", Operation.INPAINT),
    ("outpaint", Operation.OUTPAINT),
    ("expand", Operation.OUTPAINT),
    ("reframe", Operation.OUTPAINT),
    ("relight", Operation.RELIGHT),
    ("relighting", Operation.RELIGHT),
    ("iclight", Operation.RELIGHT),
    ("restore", Operation.RESTORE),
    ("photo restoration", Operation.RESTORE),
    ("codeformer", Operation.RESTORE),
)
# Video, sound, text, shapes, training; pictures that only steer; families whose ids do not say what they make.
_OTHER_KINDS = re.compile(
    r"video.*|.*3d|audio|speech|tts|voice.*|music|sound|lipsync|avatars?|mesh|train(er|ing)|realtime|i2v|t2v|animate"
    r"|motion|extend|transition|llm|router|guard|captions?|ocr|understand|detect(ion)?|segment(ation)?|lottie"
    r"|canny|depth|controlnet.*|layered"
    r"|(sam|moondream|florence|llava|sa2va|isaac|seed|kokoro|lyria|maya|omnilottie|vecglypher)[\dv.]*"
    r"|(veo|ltx|ltxv|pika|framepack|mochi|magi|cogvideox|animatediff|infinitalk|transpixar|vace)[\d.]*"
    r"|lynx|magihuman|multishot|dancer|custom|goal"
)
_FILM_FAMILIES = frozenset({"wan", "luma"})  # make pictures too, and then the id says so


def words_of(app: str) -> frozenset[str]:
    """The words of an id behind its owner, in lower case."""
    return frozenset(re.split(r"[/_-]", app.partition("/")[2].lower()))


def makes_images(app: str) -> bool:
    """Whether an endpoint may make a picture, by its id; what it is given has a say too."""
    words = words_of(app)
    if app.startswith(tuple(f"{namespace}/" for namespace in _NAMESPACES)):
        return False
    if words & _FILM_FAMILIES and not words & {"image", "photon"}:
        return False
    return not any(map(_OTHER_KINDS.fullmatch, words))


def operation_of(words: frozenset[str]) -> Operation | None:
    """What the words say that an endpoint does; None where its input has to tell."""
    return next((operation for needed, operation in _SAID if words.issuperset(needed.split())), None)
