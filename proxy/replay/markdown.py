"""What a change of configuration does, as a comment on a pull request: the short of it first, the rest folded away.

Called by ``verbs.diff``. GitHub's Markdown. Whatever is not ours to word (names, reasons, prompts) stands in code
spans: it can neither break a table nor call anybody by name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from proxy.replay.changes import (
    Compared,
    counted,
    dollars,
    interval,
    means,
    money,
    most_first,
    per_thousand,
    ruled,
    whole,
)
from proxy.replay.compare import Comparison
from proxy.replay.guard import Verdict

TOLD = 20  # moves
SHOWN = 5  # examples


def markdown(found: Comparison, told: Compared, verdicts: Sequence[Verdict]) -> str:
    """The whole comment."""
    parts = [
        f"### Muxel: {_headline(found)}",
        _limits(verdicts),
        "\n".join(_table(("", "old", "new", "change (95 % interval)"), "lrrr", _figures(found))),
        _folded(f"What moves ({found.changed:,} requests)", _moves(found)),
        _folded(f"Floors at risk ({found.at_risk:,})", _risks(found)),
        _folded(f"Refusals ({found.refused.total():,} new, {found.admitted.total():,} gone)", _refusals(found)),
        _folded("Examples", _examples(found)),
        f"Traffic {_code(told.traffic)}, {found.requests:,} requests. Old {_code(told.old)} {_code(told.old_hash)}, "
        f"new {_code(told.new)} {_code(told.new_hash)}. As the catalog expects, every breaker shut; the interval takes "
        "each line of the traffic for one draw.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _headline(found: Comparison) -> str:
    if not found.changed and not found.at_risk:
        return f"no request of {found.requests:,} changes model"
    words = [f"{found.changed_share:.1%} of {found.requests:,} requests change model"]
    if share := found.cost.share():
        words.append(f"cost {share.value:+.1%}")
    if share := found.p50.share():
        words.append(f"latency {share.value:+.1%}")
    if found.at_risk:
        words.append(f"{found.at_risk:,} floors at risk")
    if found.refused:
        words.append(f"{found.refused.total():,} newly refused")
    return ", ".join(words)


def _limits(verdicts: Iterable[Verdict]) -> str:
    return "\n".join(
        f"- {'within' if one.ok else '**exceeded**'}: {_code(f'{one.name} {one.limit}')}, found {one.found}"
        for one in verdicts
    )


def _figures(found: Comparison) -> Iterator[tuple[str, ...]]:
    cost = found.cost
    before, after, change = per_thousand(cost)
    yield "cost, all", f"${cost.old:,.2f}", f"${cost.new:,.2f}", f"{money(whole(cost))}"
    yield "cost, 1,000 requests", f"${before:,.2f}", f"${after:,.2f}", money(change)
    yield "cost, relative", "", "", interval(cost.share(), "+.1%")
    for name, values in (("p50", found.p50), ("p95", found.p95)):
        old, new = means(values)
        yield f"latency {name}, on average", f"{old:.1f} s", f"{new:.1f} s", interval(values.share(), "+.1%")
    served = found.old.served.requests, found.new.served.requests
    yield "requests served", f"{served[0]:,}", f"{served[1]:,}", f"{served[1] - served[0]:+,}"
    if found.unpriced:
        yield "of unknown price, in no cost", "", f"{found.unpriced:,}", ""
    if found.rehosted:
        yield "same model, another provider", "", f"{found.rehosted:,}", ""


def _moves(found: Comparison) -> str:
    if not found.moves:
        return ""
    rows = []
    biggest = found.biggest()
    for move, moved in biggest[:TOLD]:
        _, _, change = per_thousand(moved.cost)
        why = counted(moved.why) + (f"; {counted(rules)}" if (rules := ruled(moved)) else "")
        cost = dollars(change.value) if change else ""
        rows.append((_code(move.task), _code(move.old), _code(move.new), f"{moved.requests:,}", cost, _code(why)))
    table = _table(("task", "from", "to", "requests", "$ per 1,000", "why"), "lllrrl", rows)
    left = f"\n\nand {len(biggest) - TOLD} more ways" if len(biggest) > TOLD else ""
    return "\n".join(table) + left


def _risks(found: Comparison) -> str:
    return _counts(
        (
            ("the floor is lower", found.lowered),
            ("chosen below the old floor", found.below),
            ("nothing serves them any more", found.unserved),
        )
    )


def _refusals(found: Comparison) -> str:
    return _counts((("new", found.refused), ("gone", found.admitted)))


def _counts(groups: Iterable[tuple[str, Mapping[str, int]]]) -> str:
    rows = [(label, _code(name), f"{count:,}") for label, counts in groups for name, count in most_first(counts)]
    return "\n".join(_table(("", "which", "requests"), "llr", rows)) if rows else ""


def _examples(found: Comparison) -> str:
    told = []
    for move, moved in found.biggest()[:SHOWN]:
        one = moved.example
        asked = f"\n  - asked {_code(one.prompt)}" if one.prompt else ""
        shape = _code(f"{move.task}, {one.shape}")
        told.append(f"- request {one.request}, {shape}{asked}\n  - old {_code(one.old)}\n  - new {_code(one.new)}")
    return "\n".join(told)


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>" if body else ""


def _table(head: tuple[str, ...], sides: str, rows: Iterable[tuple[str, ...]]) -> list[str]:
    """``sides`` has an l or an r for each column."""
    rule = tuple({"l": ":--", "r": "--:"}[side] for side in sides)
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _code(text: str) -> str:
    """A code span that holds anything; in a table a bar would end the cell even there."""
    flat = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{flat}`" if flat else ""
