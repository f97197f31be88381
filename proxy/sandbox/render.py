"""MediaRequest -> the bytes of a picture in which a person recognises what was asked.

Called by ``app`` in a thread pool. The same request and seed give the same bytes. Must not fetch anything: references
and mask come with their bytes. Raises InvalidRequest where a given picture cannot be decoded.
"""

import hashlib
import re
from functools import lru_cache
from io import BytesIO
from math import sqrt
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from adapters.imaging import MAX_PIXELS, picture_size
from adapters.ir import InvalidRequest, Margins, Media, MediaRequest, Operation
from proxy.sandbox.paint import INK, PAPER, Box, Canvas, Palette, finish, glow, luminance, mix, palette_of, words_of
from proxy.sandbox.retouch import cleaned, cut_out, enlarged, extended, placed, traced
from proxy.sandbox.scenes import scene_of

SCENE_PIXELS = (
    1_100_000  # a scene is painted with about this many pixels and enlarged; only words are drawn at full size
)
CAPTION_EDGE = 160  # a smaller picture has no room for a caption
_QUOTED = re.compile(
    r'"([^"]{1,160})"|“([^”]{1,160})”|«([^»]{1,160})»|(?<!\w)[\'\u2018]([^\'\u2019]{2,160})[\'\u2019](?!\w)'
)


def render(request: MediaRequest, *, width: int, height: int, seed: int, model: str, provider: str) -> bytes:
    """The finished picture, ``width`` x ``height`` pixels in the format asked for (PNG where none was)."""
    rng = Random(f"{seed} {model}")
    words = words_of(request.prompt)
    palette = palette_of(words, rng)
    clear = request.background == "transparent" and request.format in ("", "png", "webp")
    image = _retouched(request, (width, height), palette, rng)
    if image is None and request.references and request.mask:
        image = _filled(request, (width, height), palette, rng)
    if image is None:
        if request.references:
            image, box = _edited(request, (width, height), palette, rng)
        else:
            image, box = _painted(words, (width, height), palette, rng, clear=clear)
        _letter(image, quoted(request.prompt), box)
        if image.mode == "RGB":  # a cut-out stays clean
            _caption(image, f"{model}@{provider}", request.prompt, palette)
    if request.format == "svg" or request.operation is Operation.VECTORIZE:
        return traced(image.convert("RGB"))
    return _encoded(image, request)


def size_of(request: MediaRequest) -> tuple[int, int]:
    """Width and height to draw: what was asked for, else the first reference's, enlarged where that is the work, else
    1024 x 1024."""
    if asked := request.dimensions():
        return asked
    width, height = picture_size(request.references[0].data) if request.references else (0, 0)
    if not width or not height:
        return 1024, 1024
    if request.operation is Operation.UPSCALE:
        scale = request.scale or 2.0
        return round(width * scale), round(height * scale)
    added = request.margins or Margins()
    return width + added.left + added.right, height + added.top + added.bottom


def seed_of(request: MediaRequest, index: int) -> int:
    """The seed of the picture with this index: counted up from the caller's, or from a hash of the prompt."""
    if request.seed is not None:
        return request.seed + index
    return int.from_bytes(hashlib.blake2b(request.prompt.encode(errors="replace"), digest_size=4).digest()) + index


def develop(picture: bytes, share: float) -> bytes:
    """The picture as it may have looked at ``share`` (0..1) of the way: coarse and blurred, at its full size."""
    with Image.open(BytesIO(picture)) as image:
        kind, size = image.format or "PNG", image.size
        coarse = 4 + round(max(size) * 0.25 * share**2)
        small = image.resize((max(1, size[0] * coarse // max(size)), max(1, size[1] * coarse // max(size))))
    out = BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(out, kind, **_OPTIONS[kind])
    return out.getvalue()


def quoted(prompt: str) -> tuple[str, ...]:
    """What stands in quotation marks, in order; a picture has room for six."""
    return tuple(" ".join(next(filter(None, groups)).split()) for groups in _QUOTED.findall(prompt)[:6])


# ------------------------------------------------------------------------------------------------------------- pictures


def _painted(
    words: frozenset[str], size: tuple[int, int], palette: Palette, rng: Random, *, clear: bool = False
) -> tuple[Image.Image, Box]:
    """The scene at ``size``, RGBA where ``clear``, and the box for words."""
    scale = min(1.0, sqrt(SCENE_PIXELS / (size[0] * size[1])))
    small = max(16, round(size[0] * scale)), max(16, round(size[1] * scale))
    cover = Image.new("L", small) if clear else None
    canvas = Canvas(Image.new("RGB", small), cover, palette, rng, words)
    left, top, right, bottom = scene_of(words)(canvas)
    image = canvas.image.resize(size, Image.Resampling.BICUBIC)
    finish(image, rng)
    if cover is not None:
        image.putalpha(cover.resize(size, Image.Resampling.BICUBIC))
    x, y = size[0] / small[0], size[1] / small[1]
    return image, (left * x, top * y, right * x, bottom * y)


def _retouched(request: MediaRequest, size: tuple[int, int], palette: Palette, rng: Random) -> Image.Image | None:
    """The first reference after work that paints nothing over it; None: the operation is none of that."""
    if not request.references:
        return None
    match request.operation:
        case Operation.UPSCALE | Operation.RESTORE | Operation.VECTORIZE:
            return enlarged(_opened(request.references[0], size), size)
        case Operation.REMOVE_BACKGROUND:
            return cut_out(_opened(request.references[0], size))
        case Operation.REPLACE_BACKGROUND:
            scene, _ = _painted(words_of(request.prompt), size, palette, rng)
            return placed(cut_out(_opened(request.references[0], size)), scene)
        case Operation.ERASE if request.mask:
            return cleaned(_opened(request.references[0], size), _opened(request.mask, size).convert("L"))
        case Operation.OUTPAINT if request.margins:
            inner = picture_size(request.references[0].data)
            scene, _ = _painted(words_of(request.prompt), size, palette, rng)
            return extended(_opened(request.references[0], inner), request.margins, scene)
        case _:
            return None


def _edited(request: MediaRequest, size: tuple[int, int], palette: Palette, rng: Random) -> tuple[Image.Image, Box]:
    """The first reference, graded and relit in the palette of the prompt; the others as small prints on it."""
    image = _opened(request.references[0], size)
    share = 0.55 if request.strength is None else 0.25 + 0.6 * request.strength
    grey = ImageOps.autocontrast(image.convert("L"), cutoff=1)
    middle, bright = mix(palette.mid, palette.accent, 0.35), mix(palette.low, PAPER, 0.4)
    image = Image.blend(image, ImageOps.colorize(grey, black=palette.deep, mid=middle, white=bright), share)
    canvas = Canvas(image, None, palette, rng, words_of(request.prompt))
    glow(canvas, (canvas.w * rng.uniform(0.1, 0.9), 0), canvas.u * 0.9, palette.accent, 0.6)
    finish(image, rng)
    edge = canvas.u // 6
    for index, other in enumerate(request.references[1:9] if edge >= 16 else ()):
        spot = (canvas.w - edge - edge // 6, edge // 6 + index * (edge + edge // 8))
        image.paste(ImageOps.expand(_opened(other, (edge - 8, edge - 8)), 4, PAPER), spot)
    return image, (canvas.w * 0.08, canvas.h * 0.7, canvas.w * 0.92, canvas.h * 0.92)


def _filled(request: MediaRequest, size: tuple[int, int], palette: Palette, rng: Random) -> Image.Image:
    """The first reference with the prompt's scene inside the mask, and no other pixel changed."""
    assert request.mask is not None
    image, mask = _opened(request.references[0], size), _opened(request.mask, size).convert("L")
    area = mask.getbbox()
    if area is None:
        return image
    patch, box = _painted(words_of(request.prompt), (area[2] - area[0], area[3] - area[1]), palette, rng)
    _letter(patch, quoted(request.prompt), box)
    soft = mask.filter(ImageFilter.GaussianBlur(min(size) / 200))
    image.paste(patch, area[:2], ImageChops.darker(mask, soft).crop(area))
    return image


def _opened(media: Media, size: tuple[int, int]) -> Image.Image:
    try:
        with Image.open(BytesIO(media.data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InvalidRequest("image", f"the image has more than {MAX_PIXELS} pixels")
            return image.convert("RGB") if image.size == size else ImageOps.fit(image.convert("RGB"), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InvalidRequest("image", "the image cannot be decoded") from None


_OPTIONS: dict[str, dict[str, int]] = {
    "PNG": {"compress_level": 1},
    "JPEG": {"quality": 90},
    "WEBP": {"quality": 88, "method": 0},
}


def _encoded(image: Image.Image, request: MediaRequest) -> bytes:
    kind = {"jpeg": "JPEG", "webp": "WEBP"}.get(request.format, "PNG")
    options = dict(_OPTIONS[kind])
    if request.compression is not None and "quality" in options:
        options["quality"] = request.compression
    if kind == "JPEG":
        image = image.convert("RGB")
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# ---------------------------------------------------------------------------------------------------------------- words


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _letter(image: Image.Image, texts: tuple[str, ...], box: Box) -> None:
    """Draws the words as large as the box takes them, in the ink that stands out there, on a soft shadow."""
    left, top, right, bottom = (round(edge) for edge in box)
    if not texts or min(right - left, bottom - top) < 8:
        return
    lines, size = _fitted(texts, right - left, bottom - top)
    stroke = round(size / 44)
    mask = Image.new("L", (right - left, bottom - top))
    pen, step = ImageDraw.Draw(mask), size * 1.16
    y = (bottom - top - step * len(lines)) / 2
    for index, words in enumerate(lines):
        x = (right - left - _font(size).getlength(words)) / 2
        pen.text((x, y + index * step), words, fill=255, font=_font(size), stroke_width=stroke)
    behind = image.crop((left, top, right, bottom)).convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(behind, tuple)
    ink, halo = (INK, PAPER) if luminance((behind[0], behind[1], behind[2])) > 0.55 else (PAPER, INK)
    small = mask.reduce(4) if min(mask.size) >= 32 else mask
    shadow = small.filter(ImageFilter.GaussianBlur(max(1, size / 40))).resize(mask.size, Image.Resampling.BILINEAR)
    image.paste(halo, (left, top), shadow.point([min(255, round(level * 0.75)) for level in range(256)]))
    image.paste(ink, (left, top), mask)


def _fitted(texts: tuple[str, ...], wide: int, tall: int) -> tuple[list[str], int]:
    """The lines, and the largest font size in pixels at which they fit."""
    size = max(8, min(tall, wide) // 2)
    while True:
        lines = [words for text in texts for words in _wrapped(text, _font(size), wide * 0.96)]
        fits = len(lines) * size * 1.16 <= tall and all(_font(size).getlength(words) <= wide * 0.98 for words in lines)
        if fits or size <= 8:
            return lines, size
        size = max(8, int(size * 0.9))


def _wrapped(text: str, font: ImageFont.FreeTypeFont, wide: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > wide:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _caption(image: Image.Image, source: str, prompt: str, palette: Palette) -> None:
    """A band along the foot: who made it, and the first words of what was asked."""
    if min(image.size) < CAPTION_EDGE:
        return
    size = max(11, round(min(image.size) * 0.021))
    band, font = round(size * 2.1), _font(size)
    area = (0, image.height - band, image.width, image.height)
    image.paste(Image.blend(image.crop(area), Image.new("RGB", (image.width, band), INK), 0.72), area[:2])
    pen, x, y = ImageDraw.Draw(image), size * 0.9, image.height - band / 2
    pen.text((x, y), source, fill=mix(palette.accent, PAPER, 0.45), font=font, anchor="lm")
    x += font.getlength(source) + size
    rest = image.width - x - size
    words = " ".join(prompt[:240].split())
    if font.getlength(words) > rest:
        while words and font.getlength(f"{words}...") > rest:
            words = words[:-1]
        words = f"{words.rstrip()}..." if words else ""
    pen.text((x, y), words, fill=(214, 216, 222), font=font, anchor="lm")
