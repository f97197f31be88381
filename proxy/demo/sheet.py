"""The demo's contact sheet: every picture with what made it. Called by ``run``."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil

from PIL import Image, ImageDraw, ImageFont, ImageOps

_CELL, _GAP, _CAPTION, _COLUMNS = 300, 16, 62, 4
_PAPER, _INK, _SOFT = "#faf8f4", "#1d1d1f", "#6b6b70"


@dataclass(frozen=True, slots=True)
class Print:
    picture: bytes
    title: str
    detail: str
    note: str


def contact_sheet(prints: Sequence[Print], heading: str) -> bytes:
    """A PNG: the pictures in rows of four, each captioned by three short lines."""
    head = 72
    width = _COLUMNS * (_CELL + _GAP) + _GAP
    height = head + ceil(len(prints) / _COLUMNS) * (_CELL + _CAPTION + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 24), heading, _INK, _font(22))
    for index, item in enumerate(prints):
        left = _GAP + index % _COLUMNS * (_CELL + _GAP)
        top = head + index // _COLUMNS * (_CELL + _CAPTION + _GAP)
        with Image.open(BytesIO(item.picture)) as picture:
            small = ImageOps.contain(picture.convert("RGB"), (_CELL, _CELL), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + (_CELL - small.width) // 2, top + (_CELL - small.height) // 2))
        for line, (text, colour) in enumerate(((item.title, _INK), (item.detail, _SOFT), (item.note, _SOFT))):
            draw.text((left, top + _CELL + 6 + line * 18), _fitted(draw, text, _CELL, 14), colour, _font(14))
    out = BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _fitted(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """The text, cut with an ellipsis where it is wider than ``width``."""
    if draw.textlength(text, _font(size)) <= width:
        return text
    while text and draw.textlength(text + "...", _font(size)) > width:
        text = text[:-1]
    return text + "..."
