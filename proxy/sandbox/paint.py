"""Paint for the sandbox's pictures: palettes read from a prompt, antialiased shapes, gradients, light and grain.

Called by ``scenes`` and ``render``. Pure pixels: no files, no clock, and all chance comes from the canvas's own seeded
generator. Lengths are pixels of the canvas; colours are 8-bit RGB.
"""

import colorsys
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

INK: Colour = (18, 20, 28)
PAPER: Colour = (248, 246, 241)
WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Palette:
    """From far and lit (``top``, ``low``) to near (``mid``, ``deep``), and one colour that stands out."""

    top: Colour
    low: Colour
    mid: Colour
    deep: Colour
    accent: Colour


@dataclass(frozen=True, slots=True)
class Ramp:
    """A gradient over the box of the shape it fills, through evenly spaced stops."""

    stops: tuple[Colour, ...]
    across: bool = False  # left to right, instead of top to bottom


Paint = Colour | Ramp


@dataclass(slots=True)
class Canvas:
    """What a scene draws on. ``cover`` is the alpha so far where a transparent background was asked for."""

    image: Image.Image
    cover: Image.Image | None
    palette: Palette
    rng: Random
    words: frozenset[str]  # of the prompt, lower case

    @property
    def w(self) -> int:
        return self.image.width

    @property
    def h(self) -> int:
        return self.image.height

    @property
    def u(self) -> int:
        """The unit that keeps circles round: the shorter edge."""
        return min(self.image.size)


# ------------------------------------------------------------------------------------------------------------- palettes


def _palette(*colours: str) -> Palette:
    return Palette(*(colour(name) for name in colours))


def colour(name: str) -> Colour:
    red, green, blue, *_ = ImageColor.getrgb(name)
    return red, green, blue


_MOODS: tuple[tuple[str, Palette], ...] = (
    (
        "sunset sunrise dusk dawn golden evening warm autumn fall",
        _palette("#3d2a5c", "#ffb56b", "#b8476a", "#2a1636", "#ffe0a3"),
    ),
    ("neon cyberpunk synthwave vaporwave futuristic", _palette("#12062e", "#7a1fa2", "#2b1a6b", "#0a0420", "#18f0e0")),
    (
        "night midnight moon moonlit starry space galaxy dark",
        _palette("#070b24", "#33477f", "#1c2a55", "#060916", "#ffe9b8"),
    ),
    ("pastel soft dreamy kawaii baby spring gentle", _palette("#cfe4f7", "#ffe3ec", "#c9b8e8", "#8a7bb5", "#ff9fb2")),
    (
        "ocean sea beach underwater lake coast tropical wave",
        _palette("#2a7fb8", "#bfeaf0", "#1d8fa6", "#0b3c5d", "#ffd59e"),
    ),
    (
        "forest jungle woods botanical garden nature green leaf",
        _palette("#8fb9a8", "#eef3d2", "#4f8a5b", "#16382b", "#f6c453"),
    ),
    (
        "desert sand dune canyon earthy terracotta rustic",
        _palette("#8fb8c9", "#f7dcb4", "#d08c55", "#6b3420", "#fff1cf"),
    ),
    (
        "winter snow snowy ice frozen arctic glacier cold",
        _palette("#7ea6cf", "#f1f7fc", "#a9c4de", "#31506f", "#f7b7a3"),
    ),
    ("vintage retro sepia old nostalgic film", _palette("#b99a6b", "#f3e2bd", "#a65f3e", "#3f2a20", "#2f7f79")),
    ("luxury premium elegant gold black", _palette("#2b2622", "#6d5a41", "#3a322b", "#12100e", "#e2b866")),
    (
        "minimal minimalist clean white simple scandinavian",
        _palette("#dfe3e8", "#fbfaf8", "#b9c0c9", "#3b4350", "#e4572e"),
    ),
)
_NO_HUE = frozenset(("black", "white", "gray", "grey"))
_DEFAULTS = (
    _palette("#274690", "#f3c98b", "#576ca8", "#1b264f", "#f5853f"),
    _palette("#5d3a66", "#f6b7a0", "#a2576f", "#2c1a36", "#ffd166"),
    _palette("#1f6f78", "#f4e8c1", "#3f9c8f", "#12343b", "#e36d4f"),
    _palette("#5b8fb9", "#fbe9d0", "#7a93ac", "#253449", "#e8505b"),
    _palette("#6c63a6", "#fbd3c6", "#8a6fae", "#2b2250", "#5fd0c5"),
)


def palette_of(words: frozenset[str], rng: Random) -> Palette:
    """By mood words first, then by up to two colour names, else one of a few by chance."""
    moods = [(len(words & frozenset(keys.split())), palette) for keys, palette in _MOODS]
    hits, mood = max(moods, key=lambda pair: pair[0])
    chance = rng.choice(_DEFAULTS)
    named = sorted(words & ImageColor.colormap.keys() - _NO_HUE)
    if not named:
        return mood if hits else chance
    first = colour(named[0])
    if hits:
        return Palette(mood.top, mood.low, mix(mood.mid, first, 0.15), mood.deep, vivid(first))
    ground = muted(colour(named[1]) if len(named) > 1 else first)
    return Palette(
        shade(ground, 0.42), mix(ground, PAPER, 0.75), shade(ground, 0.55), shade(ground, 0.16), vivid(first)
    )


def words_of(prompt: str) -> frozenset[str]:
    """The words of a prompt in lower case, each also without a plural s."""
    found = re.findall(r"[a-z]+", prompt.lower())
    return frozenset(found) | frozenset(word[:-1] for word in found if word.endswith("s"))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """``one`` with ``share`` (0..1) of ``other`` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def shade(base: Colour, lightness: float) -> Colour:
    """The same hue at a lightness of 0..1, its saturation kept where pictures are pleasant."""
    hue, _, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in base))
    return _from_hls(hue, lightness, min(saturation, 0.62))


def vivid(base: Colour) -> Colour:
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in base))
    return _from_hls(hue, min(max(lightness, 0.5), 0.9), min(saturation, 0.85))


def muted(base: Colour) -> Colour:
    """The same hue, kept quiet enough to stand behind something."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in base))
    return _from_hls(hue, lightness, min(saturation, 0.3))


def _from_hls(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = (round(channel * 255) for channel in colorsys.hls_to_rgb(hue, lightness, saturation))
    return red, green, blue


def luminance(base: Colour) -> float:
    """0 (black) to 1 (white), as the eye weighs the channels."""
    return (0.299 * base[0] + 0.587 * base[1] + 0.114 * base[2]) / 255


# --------------------------------------------------------------------------------------------------------------- shapes


def backdrop(canvas: Canvas, paint: Paint) -> None:
    """Fills everything; it is what a transparent background leaves out."""
    size = (0, 0, canvas.w, canvas.h)
    canvas.image.paste(_painted_part(paint, size, size), size)


def polygon(canvas: Canvas, points: Sequence[Point], paint: Paint, *, opacity: float = 1.0, blur: float = 0) -> None:
    box = min(x for x, _ in points), min(y for _, y in points), max(x for x, _ in points), max(y for _, y in points)
    _stamp(
        canvas, box, lambda draw, place: draw.polygon([place(x, y) for x, y in points], fill=255), paint, opacity, blur
    )


def ellipse(canvas: Canvas, box: Box, paint: Paint, *, opacity: float = 1.0, blur: float = 0) -> None:
    def draw_on(draw: ImageDraw.ImageDraw, place: Callable[[float, float], Point]) -> None:
        draw.ellipse([place(box[0], box[1]), place(box[2], box[3])], fill=255)

    _stamp(canvas, box, draw_on, paint, opacity, blur)


def disc(canvas: Canvas, centre: Point, radius: float, paint: Paint, *, opacity: float = 1.0, blur: float = 0) -> None:
    x, y = centre
    ellipse(canvas, (x - radius, y - radius, x + radius, y + radius), paint, opacity=opacity, blur=blur)


def block(canvas: Canvas, box: Box, paint: Paint, *, radius: float = 0, opacity: float = 1.0, blur: float = 0) -> None:
    def draw_on(draw: ImageDraw.ImageDraw, place: Callable[[float, float], Point]) -> None:
        draw.rounded_rectangle([place(box[0], box[1]), place(box[2], box[3])], radius=radius * 2, fill=255)

    _stamp(canvas, box, draw_on, paint, opacity, blur)


def ring(
    canvas: Canvas, centre: Point, radius: float, width: float, paint: Paint, start: float = 0, end: float = 360
) -> None:
    """An arc of a circle; angles in degrees, clockwise from three o'clock."""
    x, y = centre
    box = x - radius, y - radius, x + radius, y + radius

    def draw_on(draw: ImageDraw.ImageDraw, place: Callable[[float, float], Point]) -> None:
        draw.arc([place(box[0], box[1]), place(box[2], box[3])], start, end, fill=255, width=max(1, round(width * 2)))

    _stamp(canvas, box, draw_on, paint, 1.0, 0)


def line(canvas: Canvas, points: Sequence[Point], width: float, paint: Paint, *, opacity: float = 1.0) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    box = min(xs) - width, min(ys) - width, max(xs) + width, max(ys) + width

    def draw_on(draw: ImageDraw.ImageDraw, place: Callable[[float, float], Point]) -> None:
        draw.line([place(x, y) for x, y in points], fill=255, width=max(1, round(width * 2)), joint="curve")

    _stamp(canvas, box, draw_on, paint, opacity, 0)


def glow(canvas: Canvas, centre: Point, radius: float, light: Colour, strength: float) -> None:
    """Light that falls off from ``centre``; it lights what is there and covers nothing."""
    size = max(1, round(radius * 2))
    levels = [round(max(0.0, 1 - level / _RIM) ** 2 * 255 * strength) for level in range(256)]
    falloff = Image.radial_gradient("L").point(levels).resize((size, size))
    canvas.image.paste(light, (round(centre[0] - radius), round(centre[1] - radius)), falloff)


_RIM = 181  # the level of Pillow's radial gradient where its inner circle ends; its corners are 255


def _stamp(
    canvas: Canvas,
    box: Box,
    draw_on: Callable[[ImageDraw.ImageDraw, Callable[[float, float], Point]], None],
    paint: Paint,
    opacity: float,
    blur: float,
) -> None:
    """Draws a mask at twice the size, halves it for smooth edges, and pastes the paint through it."""
    margin = blur * 2 + 1
    left, top = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    right, bottom = min(canvas.w, int(box[2] + margin) + 1), min(canvas.h, int(box[3] + margin) + 1)
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
    draw_on(ImageDraw.Draw(mask), lambda x, y: ((x - left) * 2, (y - top) * 2))
    mask = mask.reduce(2)
    if blur:
        mask = mask.filter(ImageFilter.BoxBlur(blur / 2)).filter(ImageFilter.BoxBlur(blur / 2))
    if opacity < 1:
        mask = mask.point([round(level * opacity) for level in range(256)])
    canvas.image.paste(_painted_part(paint, box, (left, top, right, bottom)), (left, top), mask)
    if canvas.cover is not None:
        area = (left, top, right, bottom)
        canvas.cover.paste(ImageChops.lighter(canvas.cover.crop(area), mask), area)


def _painted_part(paint: Paint, box: Box, part: tuple[int, int, int, int]) -> Image.Image | Colour:
    """The part of a paint that spans ``box``."""
    if not isinstance(paint, Ramp):
        return paint
    low, high, start, end = (box[0], box[2], part[0], part[2]) if paint.across else (box[1], box[3], part[1], part[3])
    scale = _STEPS / max(high - low, 1.0)
    first, last = min(max((start - low) * scale, 0), _STEPS - 1), min(max((end - low) * scale, 1), _STEPS)
    window = (first, 0, last, 1) if paint.across else (0, first, 1, last)
    return _strip(paint).resize((part[2] - part[0], part[3] - part[1]), Image.Resampling.BILINEAR, window)


_STEPS = 64


@lru_cache(maxsize=256)
def _strip(ramp: Ramp) -> Image.Image:
    strip = Image.new("RGB", (_STEPS, 1) if ramp.across else (1, _STEPS))
    strip.putdata([_stop(ramp.stops, step / (_STEPS - 1)) for step in range(_STEPS)])
    return strip


def _stop(stops: tuple[Colour, ...], place: float) -> Colour:
    place *= len(stops) - 1
    index = min(int(place), len(stops) - 2)
    return mix(stops[index], stops[index + 1], place - index)


# --------------------------------------------------------------------------------------------------------------- finish


def finish(image: Image.Image, rng: Random, *, vignette: float = 0.16, grain: int = 4) -> None:
    """Darker corners and a grain, which also hides the banding of gradients: ink, laid over through one mask."""
    levels = [round(255 * vignette * (level / 255) ** 2.4) for level in range(256)]
    veil = Image.radial_gradient("L").point(levels).resize(image.size, Image.Resampling.BILINEAR)
    tile = Image.frombytes("L", (128, 128), rng.randbytes(128 * 128))
    tile = tile.point([level * grain // 256 for level in range(256)])
    tile = tile.resize((256, 256), Image.Resampling.NEAREST)  # grains of two pixels: seen, and cheap to compress
    noise = Image.new("L", image.size)
    for top in range(0, image.height, 256):
        for left in range(0, image.width, 256):
            noise.paste(tile, (left, top))
    image.paste(INK, (0, 0, *image.size), ImageChops.add(veil, noise))
