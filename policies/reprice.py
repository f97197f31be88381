"""Price rows of a feed against the deployments of a catalog: which price blocks change, by how much, and which not.

``refresh`` calls ``reprice``. Everything a feed says of one deployment is taken together or not at all. How far a price
moved is measured by what requests would cost, not by figures: so a change of formula is bounded like any other.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from adapters.ir import Ask, Media, MediaRequest, Operation
from policies import supply
from policies.catalog import Deployment, Price
from policies.compile import compile_price, deployment_ids
from policies.feeds import PriceRow
from policies.price import FROM_WORDS, price
from policies.verdicts import Bounds, Verdicts

_ROUNDING = 1e-9  # three times 0.1 is a little more than 0.3

BLOCKS = {"price": "price", "edit_price": "editPrice"}  # as in the schema, and as users write it


@dataclass(frozen=True, slots=True)
class PriceChange:
    """``old`` is the block in force, None where the price was unknown; ``factor`` how often dearer the request is that
    moves most, None where there is nothing to compare."""

    deployment: str
    model: str
    index: int  # of the deployment in its model
    block: str  # a key of BLOCKS
    old: supply.Price | None
    new: supply.Price
    factor: float | None


@dataclass(frozen=True, slots=True)
class _Host:
    """One deployment as it is written and as it is compiled."""

    model: supply.Model
    index: int
    compiled: Deployment

    @property
    def written(self) -> supply.Deployment:
        return self.model.deployments[self.index]

    @property
    def names(self) -> frozenset[str]:
        """What a row may call the model."""
        return frozenset(name.lower() for name in (self.model.id, *self.model.aliases))


def reprice(
    rows: Iterable[PriceRow],
    models: Iterable[supply.Model],
    deployments: Mapping[str, Deployment],
    names: Mapping[str, str],
    own: Mapping[str, str],
    bounds: Bounds,
    verdicts: Verdicts,
) -> list[PriceChange]:
    """The changes, in the order of ids. ``deployments`` are the compiled ones by id, ``names`` other names of models,
    ``own`` models that are not to be touched and where they are defined."""
    hosts = [host for model in models for host in _hosts(model, deployments)]
    rows_of: dict[str, list[PriceRow]] = defaultdict(list)
    by_id = {host.compiled.id: host for host in hosts}
    for row in rows:
        meant = [host.compiled.id for host in hosts if _means(row, host, names)]
        if not meant:
            verdicts.miss(row.place, f"deployment {_called(row)}")
        elif len(meant) > 1:
            verdicts.refuse(row.place, _called(row), f"means several deployments, name one: {', '.join(meant)}")
        elif place := own.get(by_id[meant[0]].model.id):
            verdicts.miss(row.place, f"deployment {meant[0]}, which is yours at {place}: change it there")
        else:
            verdicts.named.add(by_id[meant[0]].model.id)
            rows_of[meant[0]].append(row)
    return [change for name in sorted(rows_of) for change in _judge(by_id[name], rows_of[name], bounds, verdicts)]


# ------------------------------------------------------------------------------------------------------ whose it is


def _hosts(model: supply.Model, deployments: Mapping[str, Deployment]) -> Iterator[_Host]:
    ids = deployment_ids(model.id, [(host.provider, host.remote, host.region) for host in model.deployments])
    for index, name in enumerate(ids):
        yield _Host(model, index, deployments[name])


def _means(row: PriceRow, host: _Host, names: Mapping[str, str]) -> bool:
    """Whether all that the row says of its deployment holds for this one."""
    one = host.compiled
    if row.deployment and row.deployment not in (one.id, f"{one.model.id}@{one.provider.name}"):
        return False
    if row.model and names.get(row.model, row.model).lower() not in host.names:
        return False
    if row.provider and row.provider.lower() != one.provider.name:
        return False
    return row.remote in ("", one.remote) and row.region in ("", one.region)


def _called(row: PriceRow) -> str:
    said = (row.deployment, row.model, row.remote, f"at {row.provider}" if row.provider else "", row.region)
    return " ".join(filter(None, said))


# ------------------------------------------------------------------------------------------------- whether it is taken


def _judge(host: _Host, rows: Sequence[PriceRow], bounds: Bounds, verdicts: Verdicts) -> list[PriceChange]:
    """What changes at one deployment: everything its rows say, or nothing."""
    name = host.compiled.id
    faults = [(row, row.fault, False) for row in rows if row.price is None]
    blocks: dict[str, list[PriceRow]] = defaultdict(list)
    for row in rows:
        if row.price is not None:
            blocks[_block(row, host)].append(row)
    changes: list[tuple[PriceRow, PriceChange]] = []
    for block, said in sorted(blocks.items()):
        newest = _newest(said)
        verdicts.superseded += len(said) - len(newest)
        first = newest[0]
        if any(_figures(one.price) != _figures(first.price) for one in newest):
            lines = ", ".join(f"line {one.place.line}" for one in newest)
            faults.extend((one, f"{lines} of one day say different prices", False) for one in newest)
            continue
        verdicts.superseded += len(newest) - 1
        change = _change(host, block, first)
        if change is None:
            verdicts.confirmed += 1
            continue
        changes.append((first, change))
        faults.extend((first, reason, forcible) for reason, forcible in _doubts(change, host, bounds))
    if not faults:
        return [change for _, change in changes]
    for row, reason, forcible in faults:
        verdicts.refuse(row.place, name, reason, name if forcible else "")
    doubted = {row.place for row, _, _ in faults}
    for row, _ in changes:
        if row.place not in doubted:
            verdicts.refuse(row.place, name, "not taken without the other price of this deployment, which is refused")
    return []


def _block(row: PriceRow, host: _Host) -> str:
    """A deployment that only works on pictures has one price, and it is the price of that."""
    makes = (host.compiled.operations | host.compiled.unsendable) & FROM_WORDS
    return "edit_price" if row.edit and (makes or host.written.edit_price) else "price"


def _newest(rows: Sequence[PriceRow]) -> list[PriceRow]:
    day = max(row.price.as_of for row in rows if row.price)
    return [row for row in rows if row.price and row.price.as_of == day]


def _figures(block: supply.Price | None) -> object:
    """What a price block says, apart from who says so and when."""
    return block and block.model_dump(exclude={"source", "as_of"})


def _change(host: _Host, block: str, row: PriceRow) -> PriceChange | None:
    """None where the row says what is in force."""
    written = host.written
    old = written.price if block == "price" else written.edit_price or written.price
    new = row.price
    if new is None or _figures(old) == _figures(new):
        return None
    factor = _factor(compile_price(old), compile_price(new), host.compiled) if old else None
    return PriceChange(host.compiled.id, host.model.id, host.index, block, old, new, factor)


def _doubts(change: PriceChange, host: _Host, bounds: Bounds) -> Iterator[tuple[str, bool]]:
    """Why the change is not to be taken, and whether who has looked may take it all the same."""
    old, new = change.old, change.new
    if new.as_of > bounds.today:
        yield f"date {new.as_of} is in the future", False
        return
    if bounds.takes(change.deployment, change.model):
        return
    if not all(_main_figures(new)):
        yield "a price of zero", True
        return
    if old is None:
        return
    if new.as_of < old.as_of:
        yield f"date {new.as_of} is before {old.as_of}, that of the price in force", True
    if new.formula.unit != old.formula.unit:
        yield f"unit {new.formula.unit} is not the {old.formula.unit} it was sold by", True
    factor, most = change.factor, bounds.price_factor * (1 + _ROUNDING)
    if factor is not None and not 1 / most <= factor <= most:
        yield f"{show(old)} -> {show(new)} moves by x{factor:.3g}, beyond x{bounds.price_factor:g} either way", True


def _main_figures(block: supply.Price) -> Iterable[float]:
    """What may not be free: further megapixels and references may."""
    match block.formula:
        case supply.PerMegapixel(first=first):
            return [first]
        case table_or_figure:
            return _figures_of(table_or_figure.usd).values()


def _figures_of(usd: float | Mapping[Any, float]) -> Mapping[str, float]:
    """The table of a formula; one figure is a table without names."""
    return {str(name): figure for name, figure in usd.items()} if isinstance(usd, Mapping) else {"": usd}


# -------------------------------------------------------------------------------------------------- how far it moves

_SQUARES = (512, 1024, 1536, 2048, 4096)
_PICTURE = Media(data=b"picture", mime="image/png")


def _factor(old: Price, new: Price, deployment: Deployment) -> float | None:
    """How often dearer the request is whose price moves most; None where none has a price above zero before."""
    before, after = (replace(deployment, price=block, edit_price=None) for block in (old, new))
    factors = []
    for request in _requests(old, new):
        was, will_be = price(request, before), price(request, after)
        if was and will_be is not None:
            factors.append(will_be / was)
    return max(factors, key=lambda factor: max(factor, 1 / factor) if factor else float("inf"), default=None)


def _requests(*blocks: Price) -> Iterator[MediaRequest]:
    """One request for everything that the formulas tell apart."""
    named = [name.split("x") for block in blocks if block.unit == "size" for name, _, _ in block.table]
    sizes = [None, *((edge, edge) for edge in _SQUARES), *((int(width), int(height)) for width, height in named)]
    priorities = {"", *(name for block in blocks for name in block.priority)}
    for size, references, priority, duration in product(sizes, ((), (_PICTURE,)), sorted(priorities), (None, 10.0)):
        yield MediaRequest(
            Operation.EDIT, size=size, references=references, duration=duration, ask=Ask(priority=priority)
        )


def show(block: supply.Price | None) -> str:
    """A price block in a few characters: ``$0.03``, ``$0.03+0.015/MP``, ``1K $0.04, 2K $0.06``."""
    if block is None:
        return "unknown"
    match block.formula:
        case supply.PerMegapixel(first=first, extra=extra, reference=reference):
            text = f"${first:g}+{extra:g}/MP" + (f", {reference:g}/MP of input" if reference else "")
        case table_or_figure:
            text = ", ".join(f"{name} ${usd:g}".strip() for name, usd in _figures_of(table_or_figure.usd).items())
            text += "/s" * block.formula.unit.lower().endswith("second")
    if block.per_reference:
        text += f", {block.per_reference:g}/reference"
    text += "".join(f", {name} x{factor:g}" for name, factor in block.priority.items())
    return text + (" (estimated)" if block.estimated else "")
