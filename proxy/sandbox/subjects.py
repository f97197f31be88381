"""Pictures of one thing for the sandbox: a product on a plinth, a plate of food, a head and shoulders.

Called by ``scenes``. Each scene paints a canvas and returns the box in which quoted words read well.
"""

from math import cos, pi, sin, tau

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
    ellipse,
    glow,
    line,
    mix,
    polygon,
    ring,
    shade,
    words_of,
)

_ANIMALS = words_of("cat kitten dog puppy fox bear wolf tiger lion rabbit panda raccoon animal pet mascot")


def product(canvas: Canvas) -> Box:
    """A plinth under a spotlight, with the thing on it."""
    palette, w, h, u = canvas.palette, canvas.w, canvas.h, canvas.u
    wall, floor = mix(palette.mid, palette.deep, 0.25), mix(palette.mid, palette.deep, 0.62)
    backdrop(
        canvas,
        Ramp((mix(wall, palette.deep, 0.35), wall, mix(wall, palette.low, 0.3), floor, mix(floor, palette.deep, 0.4))),
    )
    centre, top = w / 2, h * 0.74
    glow(canvas, (centre, h * 0.5), u * 0.75, mix(palette.low, WHITE, 0.35), 0.8)
    beam = [(centre - u * 0.05, -1.0), (centre + u * 0.05, -1.0), (centre + u * 0.42, top), (centre - u * 0.42, top)]
    if canvas.cover is None:
        polygon(canvas, beam, WHITE, opacity=0.1, blur=u * 0.05)
    _plinth(canvas, centre, top)
    ellipse(
        canvas,
        (centre - u * 0.19, top - u * 0.02, centre + u * 0.23, top + u * 0.04),
        palette.deep,
        opacity=0.5,
        blur=u * 0.03,
    )
    thing = next((draw for keys, draw in _THINGS if canvas.words & keys), None) or canvas.rng.choice(
        (_bottle, _sphere, _jar)
    )
    thing(canvas, centre, top + u * 0.012)
    return w * 0.08, h * 0.05, w * 0.92, h * 0.24


def _plinth(canvas: Canvas, centre: float, top: float) -> None:
    u, low = canvas.u, mix(canvas.palette.low, WHITE, 0.25)
    wide, flat = u * 0.34, u * 0.07
    dark = mix(canvas.palette.mid, canvas.palette.deep, 0.5)
    side = Ramp((dark, mix(low, dark, 0.35), low, mix(low, dark, 0.3), dark), across=True)
    block(canvas, (centre - wide, top, centre + wide, canvas.h + 2), side)
    ellipse(
        canvas,
        (centre - wide, top - flat, centre + wide, top + flat),
        Ramp((mix(low, dark, 0.2), mix(low, WHITE, 0.4))),
    )


def _rounded(tone: Colour) -> Ramp:
    """A body lit from the upper left."""
    dark, pale = shade(tone, 0.16), mix(tone, WHITE, 0.6)
    return Ramp((dark, tone, pale, tone, mix(tone, dark, 0.55), dark), across=True)


def _bottle(canvas: Canvas, x: float, foot: float) -> None:
    u, tone = canvas.u, canvas.palette.accent
    body, neck, head = u * 0.12, u * 0.042, foot - u * 0.4
    block(canvas, (x - neck, head - u * 0.06, x + neck, head + u * 0.08), _rounded(tone), radius=u * 0.01)
    block(canvas, (x - body, head, x + body, foot), _rounded(tone), radius=u * 0.055)
    block(
        canvas,
        (x - neck * 1.2, head - u * 0.12, x + neck * 1.2, head - u * 0.03),
        _rounded(canvas.palette.deep),
        radius=u * 0.012,
    )
    block(
        canvas,
        (x - body * 0.98, head + u * 0.15, x + body * 0.98, head + u * 0.31),
        Ramp((shade(PAPER, 0.75), PAPER, shade(PAPER, 0.7)), across=True),
    )
    for row, wide in enumerate((0.5, 0.34, 0.42)):
        y = head + u * (0.19 + 0.035 * row)
        block(canvas, (x - body * wide, y, x + body * wide, y + u * 0.009), mix(tone, INK, 0.4), radius=2, opacity=0.85)
    block(
        canvas,
        (x - body * 0.78, head + u * 0.03, x - body * 0.64, foot - u * 0.05),
        WHITE,
        radius=u * 0.01,
        opacity=0.45,
        blur=u * 0.008,
    )


def _jar(canvas: Canvas, x: float, foot: float) -> None:
    u, tone = canvas.u, canvas.palette.accent
    wide, head = u * 0.17, foot - u * 0.24
    block(canvas, (x - wide, head, x + wide, foot), _rounded(tone), radius=u * 0.045)
    block(
        canvas,
        (x - wide * 1.04, head - u * 0.07, x + wide * 1.04, head + u * 0.035),
        _rounded(mix(canvas.palette.deep, tone, 0.25)),
        radius=u * 0.018,
    )
    block(
        canvas,
        (x - wide * 0.7, head + u * 0.085, x + wide * 0.7, foot - u * 0.05),
        PAPER,
        radius=u * 0.012,
        opacity=0.9,
    )
    disc(canvas, (x, (head + foot) / 2 + u * 0.02), u * 0.032, mix(tone, INK, 0.3))


def _sphere(canvas: Canvas, x: float, foot: float) -> None:
    u, tone, radius = canvas.u, canvas.palette.accent, canvas.u * 0.17
    middle = foot - radius
    disc(canvas, (x, middle), radius, Ramp((mix(tone, WHITE, 0.35), tone, shade(tone, 0.2))))
    disc(canvas, (x - radius * 0.32, middle - radius * 0.38), radius * 0.34, WHITE, opacity=0.55, blur=u * 0.04)
    ellipse(
        canvas,
        (x - radius * 0.6, foot - radius * 0.22, x + radius * 0.6, foot - radius * 0.06),
        mix(tone, WHITE, 0.5),
        opacity=0.3,
        blur=u * 0.02,
    )


def _watch(canvas: Canvas, x: float, foot: float) -> None:
    u, tone, radius = canvas.u, canvas.palette.accent, canvas.u * 0.15
    y = foot - u * 0.25
    block(
        canvas,
        (x - radius * 0.55, y - u * 0.27, x + radius * 0.55, foot),
        _rounded(canvas.palette.deep),
        radius=u * 0.03,
    )
    disc(canvas, (x, y), radius, Ramp((mix(tone, WHITE, 0.7), tone, shade(tone, 0.3))))
    disc(canvas, (x, y), radius * 0.84, Ramp((PAPER, shade(PAPER, 0.78))))
    for hour in range(12):
        turn = hour * tau / 12
        disc(canvas, (x + cos(turn) * radius * 0.7, y + sin(turn) * radius * 0.7), u * 0.006, INK)
    line(
        canvas, [(x - radius * 0.36, y - radius * 0.26), (x, y), (x + radius * 0.18, y - radius * 0.56)], u * 0.009, INK
    )


def _shoe(canvas: Canvas, x: float, foot: float) -> None:
    u, tone = canvas.u, canvas.palette.accent
    heel = foot - u * 0.05
    outline = (
        (-0.26, 0), (-0.26, 0.15), (-0.235, 0.19), (-0.13, 0.165), (-0.055, 0.185),
        (0.02, 0.125), (0.14, 0.095), (0.225, 0.06), (0.25, 0),
    )  # fmt: skip
    upper = [(x + u * right, heel - u * up) for right, up in outline]
    polygon(canvas, upper, Ramp((mix(tone, WHITE, 0.4), tone, shade(tone, 0.28))))
    for step in range(4):
        start = (x - u * 0.06 + u * 0.033 * step, heel - u * (0.165 - 0.021 * step))
        line(canvas, [start, (start[0] + u * 0.035, start[1] + u * 0.035)], u * 0.009, PAPER)
    polygon(
        canvas,
        [
            (x - u * 0.2, heel - u * 0.02),
            (x - u * 0.02, heel - u * 0.07),
            (x + u * 0.06, heel - u * 0.05),
            (x - u * 0.1, heel - u * 0.01),
        ],
        PAPER,
        opacity=0.9,
    )
    block(
        canvas,
        (x - u * 0.275, heel - u * 0.008, x + u * 0.265, foot),
        Ramp((PAPER, shade(PAPER, 0.72))),
        radius=u * 0.025,
    )


def food(canvas: Canvas) -> Box:
    """A plate from above on a table, piled and garnished."""
    palette, rng, w, h, u = canvas.palette, canvas.rng, canvas.w, canvas.h, canvas.u
    table = mix(mix(palette.mid, (120, 78, 52), 0.6), palette.deep, 0.2)
    backdrop(canvas, Ramp((mix(table, WHITE, 0.18), table, mix(table, INK, 0.3))))
    for plank in range(7):
        y = h * plank / 6 + rng.uniform(-6, 6)
        if canvas.cover is None:
            line(canvas, [(0, y), (w, y + rng.uniform(-4, 4))], u * 0.004, INK, opacity=0.35)
    x, y, radius = w * 0.5, h * 0.57, u * 0.36
    disc(canvas, (x + u * 0.02, y + u * 0.03), radius * 1.02, INK, opacity=0.5, blur=u * 0.05)
    disc(canvas, (x, y), radius, Ramp((WHITE, (232, 230, 224), (205, 202, 196))))
    disc(canvas, (x, y), radius * 0.76, Ramp(((214, 212, 206), (243, 242, 238))))
    _cutlery(canvas, x, y, radius)
    base, leaf = mix(palette.accent, (214, 120, 52), 0.55), (92, 140, 62)
    tones = (
        base,
        mix(base, (250, 214, 140), 0.6),
        shade(base, 0.3),
        mix(leaf, palette.accent, 0.12),
        (196, 58, 44),
        (250, 226, 168),
    )
    for index in range(46):
        turn, away = rng.uniform(0, tau), radius * 0.56 * (1 - index / 60) * rng.uniform(0.4, 1) ** 0.5
        spot = (x + cos(turn) * away, y + sin(turn) * away)
        size, tone = u * rng.uniform(0.028, 0.062), rng.choice(tones)
        disc(canvas, (spot[0] + u * 0.006, spot[1] + u * 0.009), size, INK, opacity=0.28, blur=u * 0.01)
        disc(canvas, spot, size, Ramp((mix(tone, WHITE, 0.35), tone, shade(tone, 0.26))))
        disc(canvas, (spot[0] - size * 0.3, spot[1] - size * 0.35), size * 0.22, WHITE, opacity=0.35)
    for _ in range(9):
        _leaf(
            canvas,
            x + rng.gauss(0, 1) * radius * 0.24,
            y + rng.gauss(0, 1) * radius * 0.24,
            mix(leaf, WHITE, rng.uniform(0, 0.35)),
        )
    return w * 0.08, h * 0.04, w * 0.92, h * 0.19


def _cutlery(canvas: Canvas, x: float, y: float, radius: float) -> None:
    u, steel = canvas.u, Ramp(((150, 152, 158), (236, 238, 242), (140, 142, 148)), across=True)
    for side in (-1, 1):
        cx = x + side * (radius + u * 0.075)
        block(canvas, (cx - u * 0.009, y - u * 0.05, cx + u * 0.009, y + u * 0.27), steel, radius=u * 0.009)
        if side > 0:
            block(canvas, (cx - u * 0.016, y - u * 0.27, cx + u * 0.012, y - u * 0.02), steel, radius=u * 0.012)
            continue
        block(canvas, (cx - u * 0.026, y - u * 0.15, cx + u * 0.026, y - u * 0.04), steel, radius=u * 0.02)
        for tine in (-1, 0, 1):
            block(
                canvas,
                (cx + tine * u * 0.021 - u * 0.0055, y - u * 0.26, cx + tine * u * 0.021 + u * 0.0055, y - u * 0.1),
                steel,
                radius=u * 0.005,
            )


def _leaf(canvas: Canvas, x: float, y: float, tone: Colour) -> None:
    turn, length = canvas.rng.uniform(0, tau), canvas.u * canvas.rng.uniform(0.03, 0.055)
    dx, dy = cos(turn) * length, sin(turn) * length
    outline = [(x - dx, y - dy)]
    outline += [
        (x + dx * t - dy * 0.42 * sin(pi * (t + 1) / 2), y + dy * t + dx * 0.42 * sin(pi * (t + 1) / 2))
        for t in (-0.5, 0, 0.5)
    ]
    outline += [(x + dx, y + dy)]
    outline += [
        (x + dx * t + dy * 0.42 * sin(pi * (t + 1) / 2), y + dy * t - dx * 0.42 * sin(pi * (t + 1) / 2))
        for t in (0.5, 0, -0.5)
    ]
    polygon(canvas, outline, tone)
    line(canvas, [(x - dx * 0.8, y - dy * 0.8), (x + dx * 0.8, y + dy * 0.8)], canvas.u * 0.003, mix(tone, INK, 0.4))


_THINGS = (
    (words_of("watch clock smartwatch wristwatch"), _watch),
    (words_of("shoe sneaker boot trainer footwear"), _shoe),
    (words_of("bottle perfume lotion serum shampoo wine beer soda"), _bottle),
    (words_of("jar cream candle mug cup can tin pot honey jam"), _jar),
)


def portrait(canvas: Canvas) -> Box:
    """Head and shoulders before a soft light, lit from one side."""
    palette, rng, w, h, u = canvas.palette, canvas.rng, canvas.w, canvas.h, canvas.u
    backdrop(canvas, Ramp((mix(palette.top, palette.deep, 0.3), palette.mid, mix(palette.mid, palette.deep, 0.55))))
    side = rng.choice((-1, 1))
    x, y, head = w / 2, h * 0.43, u * 0.15
    glow(canvas, (x + side * u * 0.16, y), u * 0.7, mix(palette.low, WHITE, 0.25), 0.85)
    skin = rng.choice(((236, 188, 154), (198, 140, 104), (141, 92, 66), (250, 214, 188), (108, 70, 52)))
    fur = canvas.words & _ANIMALS
    if fur:
        skin = mix(palette.accent, (178, 122, 76), 0.5)
    dark = shade(skin, 0.2)
    face = Ramp((mix(skin, WHITE, 0.22), skin, dark) if side < 0 else (dark, skin, mix(skin, WHITE, 0.22)), across=True)
    hair = skin if fur else mix(palette.deep, rng.choice(((40, 26, 20), (92, 58, 34), (24, 22, 26))), 0.6)
    cloth = palette.accent
    lit = (mix(cloth, WHITE, 0.25), cloth, shade(cloth, 0.2))
    if not fur and rng.random() < 0.55:
        block(
            canvas,
            (x - head * 1.22, y - head * 0.9, x + head * 1.22, y + head * 1.9),
            Ramp((hair, mix(hair, INK, 0.5))),
            radius=head * 1.1,
        )
    body = (x - u * 0.37, h * 0.43 + head * 1.85, x + u * 0.37, h * 1.6)
    block(canvas, body, Ramp(lit if side < 0 else lit[::-1], across=True), radius=u * 0.24)
    block(
        canvas,
        (x - head * 0.48, y + head * 0.6, x + head * 0.48, y + head * 2.1),
        Ramp((dark, mix(dark, skin, 0.6), skin)),
        radius=head * 0.45,
    )
    if fur:
        _ears(canvas, x, y, head, hair, dark)
    ellipse(canvas, (x - head, y - head * 1.2, x + head, y + head * 1.22), face)
    if fur:
        _muzzle(canvas, x, y, head, skin)
    else:
        _hair(canvas, x, y, head, hair)
    _features(canvas, x, y, head, skin, fur=bool(fur))
    return w * 0.06, h * 0.03, w * 0.94, h * 0.19


def _hair(canvas: Canvas, x: float, y: float, head: float, tone: Colour) -> None:
    part = canvas.rng.uniform(-0.5, 0.5)
    outline: list[Point] = [
        (x + cos(pi + t * pi / 12) * head * 1.1, y - head * 0.15 + sin(pi + t * pi / 12) * head * 1.25)
        for t in range(13)
    ]
    outline += [
        (x + head * 1.06, y + head * 0.25),
        (x + head * 0.9, y - head * 0.35),
        (x + part * head, y - head * 0.78),
        (x - head * 0.9, y - head * 0.3),
        (x - head * 1.06, y + head * 0.25),
    ]
    polygon(canvas, outline, Ramp((mix(tone, WHITE, 0.22), tone, mix(tone, INK, 0.35))))


def _ears(canvas: Canvas, x: float, y: float, head: float, tone: Colour, inner: Colour) -> None:
    for side in (-1, 1):
        tip = (x + side * head * 0.95, y - head * 1.75)
        polygon(canvas, [(x + side * head * 0.2, y - head), tip, (x + side * head * 0.98, y - head * 0.35)], tone)
        polygon(
            canvas,
            [
                (x + side * head * 0.42, y - head),
                (tip[0] - side * head * 0.08, tip[1] + head * 0.3),
                (x + side * head * 0.86, y - head * 0.5),
            ],
            inner,
        )


def _muzzle(canvas: Canvas, x: float, y: float, head: float, skin: Colour) -> None:
    ellipse(
        canvas,
        (x - head * 0.52, y + head * 0.2, x + head * 0.52, y + head * 1.05),
        mix(skin, WHITE, 0.55),
        blur=head * 0.08,
    )
    ellipse(canvas, (x - head * 0.16, y + head * 0.3, x + head * 0.16, y + head * 0.52), INK)


def _features(canvas: Canvas, x: float, y: float, head: float, skin: Colour, *, fur: bool) -> None:
    ink, eye = mix(skin, INK, 0.85), head * (0.13 if fur else 0.075)
    for side in (-1, 1):
        spot = (x + side * head * 0.38, y + head * (-0.08 if fur else 0.05))
        disc(canvas, spot, eye, ink)
        disc(canvas, (spot[0] - eye * 0.3, spot[1] - eye * 0.35), eye * 0.3, WHITE)
        if not fur:
            brow = spot[1] - head * 0.24
            line(
                canvas,
                [(spot[0] - head * 0.16, brow + head * 0.03), (spot[0] + head * 0.16, brow)],
                head * 0.05,
                ink,
                opacity=0.8,
            )
    if not fur:
        line(
            canvas,
            [(x, y + head * 0.12), (x - head * 0.07, y + head * 0.42), (x + head * 0.06, y + head * 0.44)],
            head * 0.035,
            mix(skin, INK, 0.45),
            opacity=0.7,
        )
        ring(canvas, (x, y + head * 0.52), head * 0.28, head * 0.05, mix((176, 62, 66), skin, 0.3), 25, 155)
