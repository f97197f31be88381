"""A replay on one page: what it cost against what it would have, by tier and app, and which models made how much.

Called by ``verbs.replay``. Plain SVG, written by hand: it opens anywhere and needs no library.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from proxy.replay.measure import Sums, Tally, largest_first

WIDTH, MARGIN, LABEL, NUMBERS = 900, 32, 230, 250  # pixels; bars have what is left
ROW, BAR, GAP = 26, 16, 34
MOST_ROWS = 12  # of a section; the rest is one more
PAPER, INK, SOFT, BEFORE, NOW, SHARE = "#ffffff", "#1d1d1f", "#6b6b70", "#d5dae0", "#1f6f8b", "#b5722a"


@dataclass(frozen=True, slots=True)
class Row:
    """A bar from 0 to 1, before it a paler one where there is something to compare with, and what both say."""

    label: str
    bar: float
    text: str
    before: float = 0.0


def plot(tally: Tally, title: str) -> str:
    """The page as an SVG document."""
    costs = {"the baseline": tally.served}
    if alone := tally.one_model():
        costs[f"{alone[0]} alone"] = alone[1]
    sections = [("cost against", NOW, _cost_rows(costs.items()))]
    for name, groups in (("by tier", tally.tiers), ("by app", tally.apps)):
        if len(groups) > 1:
            sections.append((name, NOW, _cost_rows(_largest(groups))))
    sections.append(
        ("pictures by model", SHARE, [_share_row(*group, tally.served.pictures) for group in _largest(tally.models)])
    )
    body: list[str] = []
    top = MARGIN + 60
    for name, colour, rows in sections:
        body += _section(top, name, colour, rows)
        top += GAP + len(rows) * ROW + 10
    head = [_text(MARGIN, MARGIN + 8, title, size=20), _text(MARGIN, MARGIN + 34, _headline(tally), fill=SOFT)]
    return "\n".join([_open(top, title), *head, *body, "</svg>", ""])


def _headline(tally: Tally) -> str:
    """The replay in one sentence."""
    served = tally.served
    parts = [f"{tally.requests:,} requests"]
    if served.saved is None:
        parts.append(f"${served.cost_usd:,.2f}")
    else:
        parts.append(
            f"${served.compared_usd:,.2f} instead of ${served.baseline_usd:,.2f}, {percent(served.saved)} saved"
        )
    parts.append(f"{tally.violations.total():,} floor violations")
    if unserved := tally.unserved.total():
        parts.append(f"{unserved:,} not served")
    return "; ".join(parts)


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


def _largest(groups: Mapping[str, Sums]) -> list[tuple[str, Sums]]:
    """The groups with the most pictures, and all others as one."""
    ordered = largest_first(groups)
    if len(ordered) <= MOST_ROWS + 1:
        return [(label or "unnamed", sums) for label, sums in ordered]
    rest = ordered[MOST_ROWS:]
    return [*ordered[:MOST_ROWS], (f"{len(rest)} others", _total(sums for _, sums in rest))]


def _total(parts: Iterable[Sums]) -> Sums:
    total = Sums()
    for part in parts:
        total.requests += part.requests
        total.pictures += part.pictures
        total.priced += part.priced
        total.cost_usd += part.cost_usd
        total.compared_usd += part.compared_usd
        total.baseline_usd += part.baseline_usd
    return total


def _cost_rows(groups: Iterable[tuple[str, Sums]]) -> list[Row]:
    ordered = list(groups)
    most = max((max(sums.baseline_usd, sums.compared_usd) for _, sums in ordered), default=0.0) or 1.0
    return [Row(label, sums.compared_usd / most, _cost_text(sums), sums.baseline_usd / most) for label, sums in ordered]


def _cost_text(sums: Sums) -> str:
    if sums.saved is None:
        return f"${sums.cost_usd:,.2f}"
    return f"${sums.compared_usd:,.2f} of ${sums.baseline_usd:,.2f}, {percent(sums.saved)} saved"


def _share_row(label: str, sums: Sums, pictures: int) -> Row:
    share = sums.pictures / pictures
    each = "unknown price" if sums.each_usd is None else f"${sums.each_usd:.4f} a picture"
    return Row(label, share, f"{percent(share)}, {each}")


# ------------------------------------------------------------------------------------------------------------ drawing


def _open(height: int, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>'
    )


def _section(top: int, name: str, colour: str, rows: Iterable[Row]) -> Iterator[str]:
    yield _text(MARGIN, top + 14, name, size=14, weight="bold")
    left, width = MARGIN + LABEL, WIDTH - 2 * MARGIN - LABEL - NUMBERS
    for index, row in enumerate(rows):
        y = top + GAP - 8 + index * ROW
        yield _text(left - 10, y + BAR - 3, row.label, anchor="end")
        for share, fill in ((row.before, BEFORE), (row.bar, colour)):
            if share > 0:
                long = max(1.0, share * width)
                yield f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{BAR}" rx="2" fill="{fill}"/>'
        yield _text(left + width + 10, y + BAR - 3, row.text, fill=SOFT)


def _text(
    x: int, y: int, text: str, *, size: int = 13, fill: str = INK, anchor: str = "start", weight: str = ""
) -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"{bold}>{escape(text)}</text>'
