"""A catalog and what feeds say of it -> the models that change, and all that was not taken, each with its reason.

``muxel catalog refresh`` calls ``refresh``; ``reprice`` and ``rescore`` do the two halves. A figure is taken or the one
in force stays: nothing is ever taken in part. Figures that moved further than is likely are refused until somebody who
has looked at them forces them. Pure: the day is an argument.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeVar

from policies import supply
from policies.catalog import Deployment
from policies.decide import ENDS_SOON
from policies.feeds import PriceRow, ScoreRow
from policies.reprice import PriceChange, reprice
from policies.rescore import Anchor, ScoreChange, rescore
from policies.scores import Standard
from policies.verdicts import Bounds, Refusal, Unmatched, Verdicts

Dated = TypeVar("Dated", supply.Price, supply.Score)


@dataclass(frozen=True, slots=True)
class Refresh:
    """What came of it. ``models`` are those that differ from the catalog they are to overlay, by id; ``ending`` the
    models the feeds are about that retire within a month or have, with the day."""

    models: tuple[supply.Model, ...]
    prices: tuple[PriceChange, ...]
    scores: tuple[ScoreChange, ...]
    anchors: tuple[Anchor, ...]
    refused: tuple[Refusal, ...]
    unmatched: tuple[Unmatched, ...]
    ending: tuple[tuple[str, date], ...]
    confirmed: int
    superseded: int


def refresh(
    models: Sequence[supply.Model],
    deployments: Iterable[Deployment],
    prices: Iterable[PriceRow],
    scores: Iterable[ScoreRow],
    *,
    standard: Standard,
    bounds: Bounds,
    unread: Iterable[Refusal] = (),
    previous: Iterable[supply.Model] = (),
    own: Mapping[str, str] | None = None,
) -> Refresh:
    """``models`` and ``deployments`` are the catalog without what an earlier refresh wrote, which is ``previous``.

    Of that the figures are in force where they are no older, and nothing else is: so no model stays behind when the
    catalog moves on. ``unread`` are rows that could not be read; ``own``, with their place, models of an operator's
    own, which are left alone.
    """
    own = own or {}
    earlier = {model.id: model for model in previous}
    in_force = [carry(model, earlier.get(model.id)) for model in models if model.id not in own]
    compiled = {deployment.id: deployment for deployment in deployments}
    verdicts = Verdicts(refused=list(unread))
    everything = [*in_force, *(model for model in models if model.id in own)]
    repriced = reprice(prices, everything, compiled, standard.names, own, bounds, verdicts)
    rescored, anchors = rescore(scores, everything, standard, own, bounds, verdicts)
    after = {model.id: model for model in in_force}
    for price in repriced:
        after[price.model] = _priced(after[price.model], price)
    for score in rescored:
        model = after[score.model]
        after[score.model] = model.model_copy(update={"quality": {**model.quality, score.task: score.new}})
    before = {model.id: model for model in models}
    soon = bounds.today + timedelta(days=ENDS_SOON)
    return Refresh(
        models=tuple(model for name, model in sorted(after.items()) if model != before[name]),
        prices=tuple(repriced),
        scores=tuple(rescored),
        anchors=tuple(anchors),
        refused=tuple(sorted(verdicts.refused, key=lambda one: (one.place.file, one.place.line, one.subject))),
        unmatched=verdicts.unmatched(),
        ending=tuple(
            (name, day) for name in sorted(verdicts.named) if (day := before[name].retires) is not None and day <= soon
        ),
        confirmed=verdicts.confirmed,
        superseded=verdicts.superseded,
    )


def carry(model: supply.Model, earlier: supply.Model | None) -> supply.Model:
    """The model with the figures of an earlier refresh where they are no older than its own."""
    if earlier is None:
        return model
    quality = {
        task: score
        for task in (*model.quality, *(task for task in earlier.quality if task not in model.quality))
        if (score := _newer(model.quality.get(task), earlier.quality.get(task)))
    }
    hosts = {(host.provider, host.remote, host.region): host for host in earlier.deployments}
    return model.model_copy(
        update=({"quality": quality} if quality else {})
        | {
            "deployments": tuple(
                _carry_prices(host, hosts.get((host.provider, host.remote, host.region))) for host in model.deployments
            )
        }
    )


def _carry_prices(host: supply.Deployment, earlier: supply.Deployment | None) -> supply.Deployment:
    if earlier is None:
        return host
    blocks = {
        "price": _newer(host.price, earlier.price),
        "edit_price": _newer(host.edit_price, earlier.edit_price),
    }
    return host.model_copy(update={name: block for name, block in blocks.items() if block})


def _newer(ours: Dated | None, earlier: Dated | None) -> Dated | None:
    if ours is None or earlier is None:
        return ours or earlier
    return earlier if earlier.as_of >= ours.as_of else ours


def _priced(model: supply.Model, change: PriceChange) -> supply.Model:
    hosts = list(model.deployments)
    hosts[change.index] = hosts[change.index].model_copy(update={change.block: change.new})
    return model.model_copy(update={"deployments": tuple(hosts)})
