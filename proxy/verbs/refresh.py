"""The verb catalog refresh: the catalog's prices and scores by the feeds of today, as a ModelCatalog to overlay.

Reads feeds and documents, and writes what ``policies.refresh`` makes of them: to standard output, a file or the API of
a cluster. What changed and what was refused is told beside it. Exit status 1: a row was refused; the others are taken.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from policies import supply
from policies.check import Entry
from policies.feeds import read_prices, read_scores
from policies.lexicon import load_lexicon
from policies.load import Config, ConfigError, load_entries, read_models
from policies.problems import did_you_mean
from policies.refresh import Refresh, refresh
from policies.reprice import BLOCKS, PriceChange, show
from policies.rescore import ScoreChange
from policies.scores import load_standard
from policies.verdicts import Bounds, Refusal
from policies.write import NAME, TooLarge, catalog_text, config_map, manifest_text
from proxy.configuration import WIRE_FACTS
from proxy.snapshot import snapshot
from proxy.state import unreadable
from proxy.verbs.output import OK, PROBLEM, USAGE, fail, print_json, refuse, table

Row = TypeVar("Row")


class _Stop(Exception):
    """The verb ends here with this status; why is on standard error already."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def refresh_catalog(arguments: argparse.Namespace) -> int:
    """The models that change, written; 1 if a row was refused, 2 if a feed or a document cannot be read at all."""
    try:
        return _refresh(arguments)
    except _Stop as stop:
        return stop.status
    except ConfigError as error:
        return refuse(error.problems)
    except OSError as error:
        return refuse((unreadable(error),))


def _refresh(arguments: argparse.Namespace) -> int:
    if not (arguments.prices or arguments.scores):
        return fail("give a feed: --prices FILE, --scores FILE", USAGE)
    if missing := [path for path in arguments.policy or () if not path.exists()]:
        return fail(f"--policy {missing[0]}: no such file or directory", USAGE)
    prices, unread = _rows(arguments.prices, read_prices)
    scores, unread_too = _rows(arguments.scores, read_scores)
    policy = snapshot(arguments.policy or [])
    config, entries = _load(policy)
    outcome = refresh(
        [entry.model for entry in entries],
        config.catalog.deployments,
        prices,
        scores,
        standard=load_standard(),
        bounds=_bounds(arguments, config),
        unread=(*unread, *unread_too),
        previous=_previous(arguments.previous),
        own={entry.model.id: _place(entry) for entry in entries if not entry.shipped},
    )
    text = catalog_text(outcome.models)
    _load({**policy, "the catalog to be written": text})  # what does not load never is
    status = _write(text, arguments)
    if arguments.json:
        print_json(_as_dict(outcome))
    else:
        # The document has standard output where it goes nowhere else.
        _tell(outcome, sys.stdout if arguments.out or arguments.apply else sys.stderr)
    return status or (PROBLEM if outcome.refused else OK)


# --------------------------------------------------------------------------------------------------------------- input


def _rows(
    paths: Iterable[Path] | None, read: Callable[[str, str], tuple[tuple[Row, ...], tuple[Refusal, ...]]]
) -> tuple[list[Row], list[Refusal]]:
    rows: list[Row] = []
    unread: list[Refusal] = []
    for path in paths or ():
        try:
            text = path.read_text("utf-8-sig")
        except OSError as error:
            raise _Stop(fail(f"{path}: {error.strerror}", USAGE)) from None
        except UnicodeDecodeError:
            raise _Stop(fail(f"{path}: not UTF-8 text", USAGE)) from None
        found, refused = read(str(path), text)
        rows.extend(found)
        unread.extend(refused)
    return rows, unread


def _load(files: Mapping[str, str | bytes]) -> tuple[Config, Sequence[Entry]]:
    return load_entries(files, WIRE_FACTS, tasks=load_lexicon().tasks())


def _previous(path: Path | None) -> Sequence[supply.Model]:
    """What the last refresh wrote: nothing before the first."""
    if path is None:
        return ()
    with suppress(FileNotFoundError):
        return read_models(snapshot([path]))
    return ()


def _place(entry: Entry) -> str:
    line, column = entry.document.locate((*entry.path, "id"))
    return f"{entry.document.file}:{line}:{column}"


def _bounds(arguments: argparse.Namespace, config: Config) -> Bounds:
    catalog = config.catalog
    names = {*catalog.models, *(one.id for one in catalog.deployments)}
    for name in arguments.force or ():
        model, _, task = name.partition("/")
        if name not in names and not (model in catalog.models and task in load_standard().tasks):
            raise _Stop(fail(f"--force {name} is no model, deployment or score{did_you_mean(name, names)}", USAGE))
    return Bounds(
        today=datetime.fromtimestamp(time.time(), UTC).date(),
        price_factor=arguments.max_price_change,
        score_difference=arguments.max_score_change,
        forced=frozenset(arguments.force or ()),
    )


# -------------------------------------------------------------------------------------------------------------- output


def _write(text: str, arguments: argparse.Namespace) -> int:
    """The document or its ConfigMap to where it is wanted, which is nowhere for --json alone; the exit status."""
    namespace, _, name = (arguments.apply or "").partition("/")
    wrapped = arguments.config_map or name
    try:
        manifest = config_map(wrapped, text) if wrapped else {}
    except TooLarge as error:
        return fail(str(error), PROBLEM)
    if arguments.apply:
        from proxy.verbs.apply import apply_config_map

        return apply_config_map(namespace, manifest)
    written = manifest_text(manifest) if manifest else text
    if arguments.out:
        file: Path = arguments.out / f"{NAME}.yaml" if arguments.out.is_dir() else arguments.out
        try:
            _replace(file, written)
        except OSError as error:
            return fail(f"--out {file}: {error.strerror}", USAGE)
    elif not arguments.json:
        sys.stdout.write(written)
        sys.stdout.flush()
    return OK


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: whoever reads the file meanwhile reads the old one."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _tell(outcome: Refresh, to: IO[str]) -> None:
    prices = [
        (one.deployment, BLOCKS[one.block], show(one.old), show(one.new), _percent(one)) for one in outcome.prices
    ]
    scores = [(one.model, one.task, _pair(one.old), _pair(one.new), _difference(one)) for one in outcome.scores]
    if prices:
        table(("deployment", "block", "old", "new", "change"), prices, to)
    if scores:
        table(("model", "task", "old score p25", "new score p25", "change"), scores, to)
    for anchor in outcome.anchors:
        categories = " and ".join(anchor.categories)
        print(f"reference of {anchor.board}, {categories}: {anchor.old} -> {anchor.new}, with its panel", file=to)
    for name, day in outcome.ending:
        print(f"ending: {name} retires on {day}", file=to)
    for unmatched in outcome.unmatched:
        count = f"{unmatched.rows} row{'s' * (unmatched.rows != 1)}"
        print(f"unmatched: {unmatched.what}: {count}, from {unmatched.place}", file=to)
    print(_summary(outcome), file=to, flush=True)
    for refusal in outcome.refused:
        print(refusal, file=sys.stderr)


def _summary(outcome: Refresh) -> str:
    return (
        f"{len(outcome.prices)} prices and {len(outcome.scores)} scores changed, {outcome.confirmed} as before,"
        f" {outcome.superseded} rows superseded, {len(outcome.refused)} refused;"
        f" {len(outcome.models)} models differ from the catalog"
    )


def _percent(change: PriceChange) -> str:
    return "" if change.factor is None else f"{(change.factor - 1) * 100:+.1f} %"


def _pair(score: supply.Score | None) -> str:
    return f"{score.score:.3f} {score.p25:.3f}" if score else "unknown"


def _difference(change: ScoreChange) -> str:
    if change.old is None or not change.old.score:
        return ""
    return f"{(change.new.score / change.old.score - 1) * 100:+.1f} %"


def _as_dict(outcome: Refresh) -> dict[str, Any]:
    return {
        "prices": [
            {
                "deployment": one.deployment,
                "block": BLOCKS[one.block],
                "old": _block(one.old),
                "new": _block(one.new),
                "percent": None if one.factor is None else round((one.factor - 1) * 100, 2),
            }
            for one in outcome.prices
        ],
        "scores": [
            {
                "model": one.model,
                "task": one.task,
                "old": _block(one.old),
                "new": _block(one.new),
                "percent": round((one.new.score / one.old.score - 1) * 100, 2) if one.old and one.old.score else None,
            }
            for one in outcome.scores
        ],
        "references": [asdict(one) for one in outcome.anchors],
        "refused": [
            {
                "file": one.place.file,
                "line": one.place.line,
                "subject": one.subject,
                "reason": one.reason,
                "force": one.force,
            }
            for one in outcome.refused
        ],
        "unmatched": [
            {"what": one.what, "rows": one.rows, "file": one.place.file, "line": one.place.line}
            for one in outcome.unmatched
        ],
        "ending": [{"model": name, "retires": day} for name, day in outcome.ending],
        "confirmed": outcome.confirmed,
        "superseded": outcome.superseded,
        "models": [model.id for model in outcome.models],
    }


def _block(block: supply.Price | supply.Score | None) -> dict[str, Any] | None:
    return block.model_dump(mode="json", by_alias=True, exclude_unset=True) if block else None
