"""The verb replay: what recorded or made-up traffic would have cost, and whether every choice cleared its floor."""

import argparse
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from policies.catalog import Catalog, Deployment
from policies.classify import load_lexicon
from policies.load import Config, ConfigError, load_documents
from policies.parse import parse
from policies.problems import did_you_mean
from proxy.configuration import WIRE_FACTS
from proxy.replay.measure import Baseline, Replay, Sums, Tally, as_asked, largest_first, of_model, per_picture
from proxy.replay.plot import percent, plot
from proxy.snapshot import snapshot
from proxy.traffic import TrafficError
from proxy.verbs.output import OK, PROBLEM, USAGE, fail, print_json, refuse, table
from proxy.verbs.traffic import Source, Unusable, content, credentials, source, watched


@dataclass(frozen=True, slots=True)
class _Told:
    """What stands above the figures."""

    about: str
    prices: str
    baseline: str
    hash: str
    seconds: float


def replay(arguments: argparse.Namespace) -> int:
    """1 where a chosen model is below the floor it was to clear, or nothing could be served at all."""
    try:
        config = _config(arguments.policy or [], arguments.prices, load_lexicon().tasks())
        asked = source(arguments.traffic)
        before, baseline = _baseline(arguments.baseline, asked, config)
        run = Replay(config, baseline, time.time(), credentials(arguments.providers, config))
        begun = time.perf_counter()
        tally = run.run(watched(asked.traffic))
        prices = f"price book {arguments.prices}" if arguments.prices else "catalog"
        told = _Told(asked.about, prices, before, config.hash, time.perf_counter() - begun)
        if arguments.plot:
            arguments.plot.write_text(plot(tally, asked.about), "utf-8")
    except ConfigError as error:
        return refuse(error.problems)
    except TrafficError as error:
        return fail(f"{arguments.traffic}: {error}", PROBLEM)
    except Unusable as error:
        return fail(str(error), USAGE)
    except BrokenPipeError:
        raise  # that was the output
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", USAGE)
    if arguments.json:
        print_json(_as_dict(tally, told))
    else:
        _print(tally, told)
    return PROBLEM if tally.violations or not tally.served.requests else OK


# ----------------------------------------------------------------------------------------------------- what is replayed


def _config(paths: list[Path], prices: str | None, tasks: frozenset[str]) -> Config:
    """The configuration in force; with a price book, the same with no other models than that book's."""
    files: Mapping[str, str | bytes] = snapshot(paths)
    if prices is None:
        return load_documents(files, WIRE_FACTS, tasks=tasks)
    name, book = content(prices, "traffic/prices", "--prices")
    config = load_documents({**files, name: book}, WIRE_FACTS, tasks=tasks)
    models = {
        model["id"]
        for document in parse(name, book).documents
        if document.data.get("kind") == "ModelCatalog"
        for model in document.data["spec"]["models"]
    }
    return replace(config, catalog=_only(models, config.catalog))


def _only(models: set[str], catalog: Catalog) -> Catalog:
    """The catalog of these models alone."""

    def keep(deployments: Iterable[Deployment]) -> tuple[Deployment, ...]:
        return tuple(deployment for deployment in deployments if deployment.model.id in models)

    return Catalog(
        deployments=keep(catalog.deployments),
        models={name: model for name, model in catalog.models.items() if name in models},
        providers=catalog.providers,
        by_operation={operation: keep(able) for operation, able in catalog.by_operation.items()},
        by_name={name: kept for name, meant in catalog.by_name.items() if (kept := keep(meant))},
    )


def _baseline(given: str | None, source: Source, config: Config) -> tuple[str, Baseline]:
    """What is compared with, in words and as a function: what the caller says, else the traffic, else each request."""
    if given is None and source.baseline is None:
        return "the model each request names", as_asked(config.catalog)
    usd = source.baseline if given is None else _dollars(given)
    if usd is not None:
        return f"${usd:g} a picture", per_picture(usd)
    name = given or ""
    if name not in config.catalog.by_name:
        raise Unusable(f"--baseline {name}: the catalog has no such model{did_you_mean(name, config.catalog.models)}")
    return f"{name} for every picture", of_model(config.catalog, name)


def _dollars(text: str) -> float | None:
    try:
        usd = float(text.removeprefix("$"))
    except ValueError:
        return None
    if not 0 <= usd < float("inf"):
        raise Unusable(f"--baseline {text}: must be dollars a picture, or a model")
    return usd


# --------------------------------------------------------------------------------------------------------- what is told


def _print(tally: Tally, told: _Told) -> None:
    served, latency = tally.served, tally.latency()
    waived = f"; {tally.waived:,} chosen by name, without a floor" if tally.waived else ""
    compared = f"; {served.requests - served.compared:,} not compared" if served.compared < served.requests else ""
    unknown = f"; {served.unknown_cost:,} of unknown price" if served.unknown_cost else ""
    forecast = (
        "nothing served" if latency is None else f"half within {latency[0]:.1f} s, 95 of 100 within {latency[1]:.1f} s"
    )
    lines = {
        "traffic": f"{told.about}: {tally.requests:,} requests, {served.pictures:,} pictures",
        "decided": f"with {told.prices}, hash {told.hash}, at {tally.lines / told.seconds:,.0f} a second",
        "baseline": f"{told.baseline}: ${served.baseline_usd:,.2f}{compared}",
        "cost": f"${served.cost_usd:,.2f}{unknown}; {percent(served.saved)} saved",
        "one model": _one_model(tally),
        "floors": f"{tally.violations.total():,} violations{waived}",
        "latency": f"{forecast}, as the catalog expects",
        "unserved": f"{tally.unserved.total():,}",
    }
    for name, text in lines.items():
        print(f"{name:<10} {text}")
    for reason, count in tally.unserved.most_common():
        print(f"{'':<10} {count:,}: {reason}")
    for name, groups in _groups(tally).items():
        if not any(groups):
            continue  # nothing was served, or no line names an app
        print()
        table(
            (name, "requests", "pictures", "a picture", "cost", "saved"),
            (_cells(label, sums) for label, sums in largest_first(groups)),
        )


def _one_model(tally: Tally) -> str:
    """What buying one model for everything costs, if it is to clear the same floors."""
    if (found := tally.one_model()) is None:
        return "none"
    name, sums = found
    served = (
        "all" if sums.compared == tally.served.requests else f"{sums.compared:,} requests, more than any other could,"
    )
    return f"{name} for {served} ${sums.baseline_usd:,.2f}; {percent(sums.saved)} saved against it"


def _groups(tally: Tally) -> Mapping[str, Mapping[str, Sums]]:
    return {"tier": tally.tiers, "app": tally.apps, "task": tally.tasks, "model": tally.models}


def _cells(label: str, sums: Sums) -> tuple[str, ...]:
    each = "unknown" if sums.each_usd is None else f"${sums.each_usd:.4f}"
    return label or "-", f"{sums.requests:,}", f"{sums.pictures:,}", each, f"${sums.cost_usd:,.2f}", percent(sums.saved)


def _as_dict(tally: Tally, told: _Told) -> dict[str, Any]:
    """The stable JSON shape of ``muxel replay --json``; keys are only ever added."""
    latency, alone = tally.latency(), tally.one_model()
    return {
        "traffic": told.about,
        "prices": told.prices,
        "baseline": told.baseline,
        "policy_hash": told.hash,
        "asked": tally.requests,
        "decisions_per_second": tally.lines / told.seconds,
        "floor_violations": dict(tally.violations),
        "without_floor": tally.waived,
        "unserved": dict(tally.unserved),
        "latency": {"p50": latency[0], "p95": latency[1]} if latency else None,
        "one_model": {"model": alone[0], **_sums(alone[1])} if alone else None,
        **_sums(tally.served),
        **{
            f"by_{name}": {label: _sums(sums) for label, sums in largest_first(groups)}
            for name, groups in _groups(tally).items()
        },
    }


def _sums(sums: Sums) -> dict[str, Any]:
    return {**asdict(sums), "saved": sums.saved}
