"""Designed pictures for the sandbox: marks, charts, interfaces, posters and flowing shapes.

Called by ``scenes``. Each scene paints a canvas and returns the box in which quoted words read well.
"""

from math import cos, sin, tau

from proxy.sandbox.paint import (
    INK,
    PAPER,
    WHITE,
    Box,
    Canvas,
    Colour,
    Point,
    Ramp,
    backdrop,
    block,
    disc,
    glow,
    line,
    luminance,
    mix,
    polygon,
    ring,
    shade,
)


def logo(canvas: Canvas) -> Box:
    """One geometric mark in the middle of calm paper, with room for a name below."""
    palette, rng, w, h, u = canvas.palette, canvas.rng, canvas.w, canvas.h, canvas.u
    paper = mix(palette.deep, INK, 0.3) if luminance(palette.low) < 0.35 else mix(palette.low, PAPER, 0.82)
    backdrop(canvas, paper)
    x, y, radius = w / 2, h * 0.42, u * 0.22
    tones = (palette.accent, palette.mid, mix(palette.accent, palette.mid, 0.5))
    rng.choice((_petals, _orbits, _facets))(canvas, (x, y), radius, tones)
    return w * 0.14, h * 0.7, w * 0.86, h * 0.87


def _petals(canvas: Canvas, centre: Point, radius: float, tones: tuple[Colour, ...]) -> None:
    count = canvas.rng.choice((5, 6, 8))
    for index in range(count):
        turn = index * tau / count
        spot = (centre[0] + cos(turn) * radius * 0.52, centre[1] + sin(turn) * radius * 0.52)
        disc(canvas, spot, radius * 0.5, Ramp((mix(tones[index % 2], WHITE, 0.15), tones[index % 2])), opacity=0.72)
    disc(canvas, centre, radius * 0.2, PAPER)


def _orbits(canvas: Canvas, centre: Point, radius: float, tones: tuple[Colour, ...]) -> None:
    for index in range(3):
        start = canvas.rng.uniform(0, 360)
        ring(canvas, centre, radius * (1 - 0.28 * index), radius * 0.17, tones[index], start, start + 270)
    disc(canvas, centre, radius * 0.17, tones[0])


def _facets(canvas: Canvas, centre: Point, radius: float, tones: tuple[Colour, ...]) -> None:
    corners = [
        (centre[0] + cos(k * tau / 6 - tau / 4) * radius, centre[1] + sin(k * tau / 6 - tau / 4) * radius)
        for k in range(6)
    ]
    for index, corner in enumerate(corners):
        tone = tones[index % 3] if index % 2 else mix(tones[index % 3], WHITE, 0.28)
        polygon(canvas, [centre, corner, corners[(index + 1) % 6]], tone)
    polygon(
        canvas, [(centre[0] + (x - centre[0]) * 0.42, centre[1] + (y - centre[1]) * 0.42) for x, y in corners], PAPER
    )


def infographic(canvas: Canvas) -> Box:
    """A title above cards with rings, bars and a curve."""
    palette, w, h = canvas.palette, canvas.w, canvas.h
    tones = (shade(palette.accent, 0.55), shade(palette.mid, 0.48), shade(palette.top, 0.36))
    backdrop(canvas, Ramp((mix(palette.low, PAPER, 0.7), mix(palette.low, PAPER, 0.5))))
    block(canvas, (0, 0, w, h * 0.2), Ramp((shade(palette.top, 0.3), shade(palette.mid, 0.4)), across=True))
    gap = canvas.u * 0.035
    top, middle = h * 0.2 + gap, h * 0.57
    for column in range(3):
        left = gap + column * (w - gap) / 3
        card = (left, top, left + (w - gap) / 3 - gap, middle)
        _card(canvas, card)
        _share(canvas, card, tones[column])
    left_card, right_card = (
        (gap, middle + gap, w / 2 - gap / 2, h - gap * 2),
        (w / 2 + gap / 2, middle + gap, w - gap, h - gap * 2),
    )
    _card(canvas, left_card)
    _bars(canvas, left_card, tones)
    _card(canvas, right_card)
    _curve(canvas, right_card, tones[0])
    return w * 0.06, h * 0.03, w * 0.94, h * 0.17


def _card(canvas: Canvas, box: Box, tone: Colour = WHITE) -> None:
    soft = canvas.u * 0.012
    block(canvas, (box[0], box[1] + soft, box[2], box[3] + soft), INK, radius=soft * 2, opacity=0.16, blur=soft * 2)
    block(canvas, box, tone, radius=canvas.u * 0.018)


def _share(canvas: Canvas, card: Box, tone: Colour) -> None:
    x, y = (card[0] + card[2]) / 2, card[1] + (card[3] - card[1]) * 0.44
    radius = min(card[2] - card[0], card[3] - card[1]) * 0.3
    share = canvas.rng.uniform(110, 320)
    ring(canvas, (x, y), radius, radius * 0.3, mix(tone, WHITE, 0.78))
    ring(canvas, (x, y), radius, radius * 0.3, tone, -90, share - 90)
    _words(
        canvas, (card[0] + (card[2] - card[0]) * 0.2, card[3] - (card[3] - card[1]) * 0.17), (card[2] - card[0]) * 0.6
    )


def _words(canvas: Canvas, spot: Point, wide: float, rows: int = 2) -> None:
    """Lines of text too small to read."""
    thick = canvas.u * 0.009
    for row in range(rows):
        length = wide * canvas.rng.uniform(0.55, 1)
        y = spot[1] + row * thick * 2.1
        block(canvas, (spot[0], y, spot[0] + length, y + thick), (176, 180, 188), radius=thick / 2)


def _bars(canvas: Canvas, card: Box, tones: tuple[Colour, ...]) -> None:
    wide, tall = card[2] - card[0], card[3] - card[1]
    foot, count = card[3] - tall * 0.14, 7
    for index in range(count):
        x = card[0] + wide * (0.1 + 0.8 * index / count)
        height = tall * (0.18 + 0.5 * index / count) * canvas.rng.uniform(0.7, 1.2)
        tone = tones[0] if index == count - 1 else tones[1]
        block(
            canvas,
            (x, foot - height, x + wide * 0.075, foot),
            Ramp((mix(tone, WHITE, 0.25), tone)),
            radius=canvas.u * 0.006,
        )
    line(canvas, [(card[0] + wide * 0.07, foot), (card[2] - wide * 0.07, foot)], canvas.u * 0.003, (150, 154, 162))


def _curve(canvas: Canvas, card: Box, tone: Colour) -> None:
    wide, tall = card[2] - card[0], card[3] - card[1]
    values = [0.2 + 0.1 * step + canvas.rng.uniform(-0.1, 0.1) for step in range(6)]
    points = [
        (card[0] + wide * (0.1 + 0.16 * step), card[3] - tall * (0.1 + value)) for step, value in enumerate(values)
    ]
    for row in range(4):
        y = card[1] + tall * (0.16 + 0.2 * row)
        line(canvas, [(card[0] + wide * 0.08, y), (card[2] - wide * 0.08, y)], canvas.u * 0.002, (222, 224, 230))
    foot = card[3] - tall * 0.1
    polygon(
        canvas,
        [*points, (points[-1][0], foot), (points[0][0], foot)],
        Ramp((tone, mix(tone, WHITE, 0.7))),
        opacity=0.35,
    )
    line(canvas, points, canvas.u * 0.007, tone)
    for point in points:
        disc(canvas, point, canvas.u * 0.011, tone)
        disc(canvas, point, canvas.u * 0.005, WHITE)


def interface(canvas: Canvas) -> Box:
    """An application window: side bar, title, cards, a chart and a list."""
    palette, w, h, u = canvas.palette, canvas.w, canvas.h, canvas.u
    backdrop(canvas, Ramp((mix(palette.top, palette.accent, 0.15), palette.mid, mix(palette.low, palette.mid, 0.4))))
    dark = luminance(palette.top) < 0.12 or bool(canvas.words & {"dark", "neon"})
    page, panel = ((24, 27, 38), (36, 40, 54)) if dark else ((246, 247, 250), WHITE)
    frame = (w * 0.06, h * 0.07, w * 0.94, h * 0.9)
    block(
        canvas,
        (frame[0], frame[1] + u * 0.03, frame[2], frame[3] + u * 0.03),
        INK,
        radius=u * 0.03,
        opacity=0.4,
        blur=u * 0.05,
    )
    block(canvas, frame, page, radius=u * 0.026)
    side = frame[0] + (frame[2] - frame[0]) * 0.2
    block(canvas, (frame[0], frame[1], side, frame[3]), shade(palette.deep, 0.17), radius=u * 0.026)
    _menu(canvas, frame, side)
    left, gap, right = side + u * 0.03, u * 0.02, frame[2] - u * 0.03
    top, tall = frame[1] + (frame[3] - frame[1]) * 0.24, frame[3] - frame[1]
    tones = (palette.accent, shade(palette.mid, 0.5), mix(palette.accent, palette.mid, 0.55))
    for column in range(3):
        x = left + column * (right - left + gap) / 3
        card = (x, top, x + (right - left + gap) / 3 - gap, top + tall * 0.17)
        _card(canvas, card, panel)
        block(
            canvas,
            (x + gap * 0.8, card[1] + gap * 0.8, x + gap * 2.6, card[1] + gap * 2.6),
            tones[column],
            radius=u * 0.008,
        )
        _words(canvas, (x + gap * 0.8, card[3] - gap * 1.9), (card[2] - x) * 0.7)
    row = top + tall * 0.17 + gap
    chart = (left, row, left + (right - left) * 0.6, frame[3] - u * 0.03)
    _card(canvas, chart, panel)
    _curve(canvas, chart, palette.accent)
    _list(canvas, (chart[2] + gap, row, right, chart[3]), panel, tones)
    return left, frame[1] + u * 0.025, right, top - u * 0.02


def _menu(canvas: Canvas, frame: Box, side: float) -> None:
    u, wide = canvas.u, side - frame[0]
    for index, tone in enumerate(((255, 95, 86), (255, 189, 46), (39, 201, 63))):
        disc(canvas, (frame[0] + u * (0.026 + 0.022 * index), frame[1] + u * 0.028), u * 0.0075, tone)
    for index in range(6):
        y = frame[1] + (frame[3] - frame[1]) * (0.18 + 0.085 * index)
        chosen = index == 1
        if chosen:
            block(
                canvas,
                (frame[0] + wide * 0.08, y - u * 0.02, side - wide * 0.08, y + u * 0.026),
                canvas.palette.accent,
                radius=u * 0.01,
            )
        disc(canvas, (frame[0] + wide * 0.2, y + u * 0.003), u * 0.009, WHITE, opacity=1 if chosen else 0.5)
        length = wide * canvas.rng.uniform(0.25, 0.45)
        block(
            canvas,
            (frame[0] + wide * 0.34, y - u * 0.003, frame[0] + wide * 0.34 + length, y + u * 0.008),
            WHITE,
            radius=3,
            opacity=1 if chosen else 0.5,
        )


def _list(canvas: Canvas, box: Box, panel: Colour, tones: tuple[Colour, ...]) -> None:
    _card(canvas, box, panel)
    wide, step = box[2] - box[0], (box[3] - box[1]) / 5.4
    for row in range(5):
        y = box[1] + step * (row + 0.7)
        radius = min(step * 0.28, wide * 0.12)
        disc(canvas, (box[0] + wide * 0.18, y), radius, Ramp((mix(tones[row % 3], WHITE, 0.4), tones[row % 3])))
        _words(canvas, (box[0] + wide * 0.36, y - canvas.u * 0.013), wide * 0.5)


def poster(canvas: Canvas) -> Box:
    """Large flat shapes, as printed, around words in the middle."""
    palette, rng, w, h, u = canvas.palette, canvas.rng, canvas.w, canvas.h, canvas.u
    ground = mix(palette.deep, palette.top, 0.35)
    backdrop(canvas, Ramp((ground, mix(ground, palette.mid, 0.5))))
    side = rng.choice((0.22, 0.78))
    disc(canvas, (w * side, h * 0.24), u * 0.34, Ramp((palette.accent, mix(palette.accent, palette.mid, 0.6))))
    for index in range(6):
        shift = u * (0.09 * index)
        stripe = [
            (-u * 0.1, h * 0.78 + shift),
            (w + u * 0.1, h * 0.62 + shift),
            (w + u * 0.1, h * 0.655 + shift),
            (-u * 0.1, h * 0.815 + shift),
        ]
        polygon(canvas, stripe, mix(palette.low, palette.mid, index / 6), opacity=0.85)
    ring(canvas, (w * (1 - side), h * 0.86), u * 0.2, u * 0.035, palette.low)
    for column in range(6):
        for row in range(4):
            disc(
                canvas,
                (w * (1 - side) + u * 0.035 * (column - 2.5), h * 0.13 + u * 0.035 * row),
                u * 0.006,
                palette.low,
            )
    return w * 0.08, h * 0.3, w * 0.92, h * 0.64


def abstract(canvas: Canvas) -> Box:
    """Ribbons that flow across, lit from behind."""
    palette, rng, w, h, u = canvas.palette, canvas.rng, canvas.w, canvas.h, canvas.u
    backdrop(canvas, Ramp((palette.top, mix(palette.top, palette.mid, 0.5), palette.low)))
    glow(
        canvas, (w * rng.uniform(0.2, 0.8), h * rng.uniform(0.15, 0.45)), u * 0.8, mix(palette.accent, WHITE, 0.4), 0.8
    )
    tones = (palette.low, palette.accent, palette.mid, mix(palette.mid, palette.accent, 0.4), palette.deep)
    turn, wave = rng.uniform(0, tau), rng.uniform(0.7, 1.3)
    for index in range(9):
        near = index / 8
        tone = mix(tones[index % len(tones)], palette.deep, near * 0.35)
        top = [_flow(canvas, step / 40, 0.3 + 0.5 * near, turn + 0.42 * index, wave) for step in range(-1, 42)]
        foot = [(x, y + u * (0.09 + 0.14 * near)) for x, y in _shifted(top, u * 0.02)]
        polygon(
            canvas,
            [*top, *reversed(foot)],
            Ramp((mix(tone, WHITE, 0.3), tone, mix(tone, palette.deep, 0.5))),
            opacity=0.88,
        )
        line(canvas, top, u * 0.003, mix(tone, WHITE, 0.6), opacity=0.6)
    for _ in range(7):
        spot = (rng.uniform(0.05, 0.95) * w, rng.uniform(0.08, 0.9) * h)
        radius = u * rng.uniform(0.008, 0.04)
        disc(canvas, spot, radius, Ramp((mix(palette.accent, WHITE, 0.6), palette.accent, shade(palette.accent, 0.3))))
    return w * 0.08, h * 0.08, w * 0.92, h * 0.4


def _flow(canvas: Canvas, share: float, height: float, turn: float, wave: float) -> Point:
    swing = sin(share * tau * wave + turn) * 0.11 + sin(share * tau * 0.53 * wave - turn * 1.7) * 0.07
    return share * canvas.w, (height + swing) * canvas.h


def _shifted(points: list[Point], distance: float) -> list[Point]:
    return [(x + distance, y) for x, y in points]
