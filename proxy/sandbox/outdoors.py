"""Pictures of places for the sandbox: landscapes and buildings.

Called by ``scenes``. Each scene paints a canvas and returns the box in which quoted words read well.
"""

from itertools import pairwise
from random import Random

from proxy.sandbox.paint import (
    INK,
    WHITE,
    Box,
    Canvas,
    Colour,
    Point,
    Ramp,
    backdrop,
    block,
    disc,
    ellipse,
    glow,
    luminance,
    mix,
    polygon,
    shade,
    words_of,
)

_WATER = words_of("ocean sea lake river beach coast water waterfall island harbor harbour bay wave fjord reflection")
_TREES = words_of("forest tree wood pine jungle woods fir mountain valley hill cabin")


def landscape(canvas: Canvas) -> Box:
    """Sky with a sun or a moon, ridges that fade with distance, and water or trees in front."""
    palette, rng, w, h = canvas.palette, canvas.rng, canvas.w, canvas.h
    night = luminance(palette.top) < 0.2
    horizon = h * rng.uniform(0.56, 0.64)
    backdrop(canvas, Ramp((palette.top, mix(palette.top, palette.low, 0.55), palette.low, palette.low)))
    if night:
        for _ in range(90):
            disc(
                canvas,
                (rng.uniform(0, w), rng.uniform(0, horizon)),
                canvas.u * rng.uniform(0.0008, 0.0026),
                WHITE,
                opacity=0.8,
            )
    sun = (w * rng.uniform(0.2, 0.8), horizon * rng.uniform(0.4, 0.66))
    light = mix(palette.accent, WHITE, 0.5)
    glow(canvas, sun, canvas.u * 0.62, light, 0.75)
    disc(canvas, sun, canvas.u * 0.075, mix(palette.accent, WHITE, 0.8))
    _clouds(canvas, horizon, light)
    water = bool(canvas.words & _WATER)
    layers = 3 if water else 5
    for index in range(layers):
        near = (index + 1) / layers
        top = horizon - h * 0.1 + h * (0.07 if water else 0.34) * near**1.3
        tone = mix(mix(palette.mid, palette.low, 0.72), palette.deep, near**1.4 * (0.5 if water else 1.0))
        _ridge(
            canvas,
            top,
            h * (0.2 - 0.1 * near),
            Ramp((tone, mix(tone, palette.low, 0.42 * (1.2 - near)))),
            rough=0.5 + 0.2 * near,
        )
    if water:
        _water(canvas, horizon, sun, light)
    elif canvas.words & _TREES:
        _pines(canvas)
    return w * 0.08, h * 0.07, w * 0.92, h * 0.36


def _clouds(canvas: Canvas, horizon: float, light: Colour) -> None:
    rng = canvas.rng
    for _ in range(5):
        x, y, length = rng.uniform(0, canvas.w), horizon * rng.uniform(0.2, 0.8), canvas.w * rng.uniform(0.16, 0.4)
        thick = canvas.u * rng.uniform(0.008, 0.02)
        block(
            canvas,
            (x - length / 2, y, x + length / 2, y + thick),
            light,
            radius=thick / 2,
            opacity=0.3,
            blur=canvas.u * 0.025,
        )


def _ridge(canvas: Canvas, top: float, swing: float, paint: Ramp, *, rough: float) -> None:
    heights = _jagged(canvas.rng, 7, rough)
    step = canvas.w / (len(heights) - 1)
    points = [(index * step, top - swing * height) for index, height in enumerate(heights)]
    polygon(canvas, [*points, (canvas.w, canvas.h), (0, canvas.h)], paint)


def _jagged(rng: Random, depth: int, rough: float) -> list[float]:
    """A line of 2**depth + 1 heights about 0..1 by midpoint displacement."""
    heights = [rng.random(), rng.random()]
    swing = 0.5
    for _ in range(depth):
        between = [(a + b) / 2 + rng.uniform(-swing, swing) for a, b in pairwise(heights)]
        heights = [height for pair in zip(heights, [*between, 0.0], strict=True) for height in pair][:-1]
        swing *= rough
    return heights


def _water(canvas: Canvas, horizon: float, sun: Point, light: Colour) -> None:
    palette, rng, h = canvas.palette, canvas.rng, canvas.h
    top = horizon + h * 0.045
    sea = Ramp((mix(palette.low, palette.mid, 0.45), palette.mid, palette.deep))
    block(canvas, (0, top, canvas.w, h + 2), sea)
    for index in range(46):
        depth = (index / 46) ** 1.5
        y = top + (h - top) * depth
        wide = canvas.u * (0.02 + 0.22 * depth) * rng.uniform(0.4, 1.3)
        x = sun[0] + rng.gauss(0, 1) * canvas.u * (0.015 + 0.07 * depth)
        thick = canvas.u * (0.002 + 0.006 * depth)
        ellipse(canvas, (x - wide / 2, y, x + wide / 2, y + thick), light, opacity=0.75 - 0.45 * depth)
    for _ in range(26):
        depth = rng.random() ** 0.7
        x, y, wide = rng.uniform(0, canvas.w), top + (h - top) * depth, canvas.w * 0.16 * (0.3 + depth)
        ellipse(canvas, (x - wide, y, x + wide, y + canvas.u * 0.004 * (1 + depth)), palette.low, opacity=0.16)


def _pines(canvas: Canvas) -> None:
    rng, palette, w, h = canvas.rng, canvas.palette, canvas.w, canvas.h
    for row in range(2):
        tone = mix(palette.deep, palette.mid, 0.3 * (1 - row))
        x = -w * 0.03
        while x < w * 1.03:
            height = h * rng.uniform(0.12, 0.26) * (0.8 + 0.35 * row) * (0.7 + 0.6 * abs(x / w - 0.5) * 2)
            foot, wide = h * (0.93 + 0.1 * row), height * 0.26
            outline: list[Point] = [(x, foot - height)]
            for tier in range(1, 5):
                outline += [
                    (x + wide * tier / 4, foot - height * (1 - tier / 4.2)),
                    (x + wide * tier / 7, foot - height * (1 - tier / 4.2)),
                ]
            outline += [(2 * x - px, py) for px, py in reversed(outline)]
            polygon(canvas, outline, tone)
            x += wide * rng.uniform(0.7, 1.5)
        block(canvas, (0, h * (0.92 + 0.1 * row), w, h + 2), tone)


def architecture(canvas: Canvas) -> Box:
    """Towers in layers with their windows, and one in front."""
    palette, rng, w, h, u = canvas.palette, canvas.rng, canvas.w, canvas.h, canvas.u
    night = luminance(palette.top) < 0.2
    backdrop(canvas, Ramp((palette.top, mix(palette.top, palette.low, 0.6), palette.low)))
    glow(canvas, (w * rng.uniform(0.25, 0.75), h * 0.75), u * 0.9, mix(palette.accent, WHITE, 0.6), 0.6)
    for layer in range(3):
        tone = mix(mix(palette.mid, palette.low, 0.6), palette.deep, layer / 2.6)
        x = -w * 0.04
        while x < w:
            wide = u * rng.uniform(0.09, 0.17) * (1 + 0.25 * layer)
            top = h * (rng.uniform(0.34, 0.62) + 0.1 * layer)
            block(canvas, (x, top, x + wide, h + 2), Ramp((tone, mix(tone, palette.low, 0.3 * (1 - layer / 3)))))
            if layer:
                _windows(canvas, (x, top, x + wide, h * 0.97), tone, night=night)
            x += wide * rng.uniform(0.92, 1.25)
    _tower(canvas, night=night)
    return w * 0.06, h * 0.05, w * 0.94, h * 0.22


def _windows(canvas: Canvas, box: Box, wall: Colour, *, night: bool) -> None:
    cell = canvas.u * 0.026
    lit, unlit = mix(canvas.palette.accent, (255, 226, 160), 0.5), mix(wall, WHITE if not night else INK, 0.22)
    columns = int((box[2] - box[0] - cell) / cell)
    rows = min(int((box[3] - box[1]) / (cell * 1.5)), 22)
    if columns < 1:
        return
    start = box[0] + (box[2] - box[0] - columns * cell) / 2
    for row in range(rows):
        y = box[1] + cell * (0.8 + 1.5 * row)
        strip = (start + cell * 0.2, y, start + (columns - 0.2) * cell, y + cell * 0.7)
        block(canvas, strip, unlit, opacity=0.55)
        for column in range(columns):
            if canvas.rng.random() < (0.4 if night else 0.13):
                x = start + cell * (column + 0.2)
                block(canvas, (x, y, x + cell * 0.6, y + cell * 0.7), lit)


def _tower(canvas: Canvas, *, night: bool) -> None:
    """The building of the picture: two faces in perspective, banded with glass."""
    palette, w, h, u = canvas.palette, canvas.w, canvas.h, canvas.u
    x, top, foot = w * canvas.rng.uniform(0.36, 0.64), h * 0.27, h + 2
    sides = ((-u * 0.19, mix(palette.low, WHITE, 0.35)), (u * 0.13, shade(mix(palette.deep, palette.mid, 0.5), 0.24)))
    for reach, tone in sides:
        drop = abs(reach) * 0.34
        polygon(
            canvas,
            [(x, top), (x + reach, top + drop), (x + reach, foot), (x, foot)],
            Ramp((tone, mix(tone, palette.mid, 0.45))),
        )
        glass = mix(palette.accent, (255, 226, 160), 0.4) if night else mix(tone, palette.top, 0.6)
        for floor in range(1, 17):
            y = top + (h - top) * floor / 17
            lean = drop * (1 - floor / 17)
            thick = u * 0.02
            polygon(
                canvas,
                [
                    (x + reach * 0.05, y),
                    (x + reach * 0.95, y + lean),
                    (x + reach * 0.95, y + lean + thick),
                    (x + reach * 0.05, y + thick),
                ],
                Ramp((mix(glass, WHITE, 0.3), glass), across=True),
                opacity=0.9 if night and canvas.rng.random() < 0.6 else 0.6,
            )
