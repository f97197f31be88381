"""What is right today and soon will not be: models that users' documents name and that their vendors take away.

Called by admission, which tells it beside its answer. The documents were found right before; time is an argument.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from policies.catalog import Catalog
from policies.decide import ENDS_SOON
from policies.parse import Document, Path, parse
from policies.problems import Problem
from policies.validate import spell

_ACTIONS = ("use", "require", "prefer")  # to avoid or deny what is going away is right for ever


def retiring(files: Mapping[str, str | bytes], catalog: Catalog, today: date) -> Iterator[Problem]:
    """Every name in these files of a model that is gone ``ENDS_SOON`` days from ``today``, in reading order."""
    for file, content in files.items():
        for document in parse(file, content).documents:
            for path, name in _named(document):
                if (ends := _ends(catalog, name)) and ends <= today + timedelta(days=ENDS_SOON):
                    retires = "retired" if ends <= today else "retires"
                    yield document.problem(path, f"{spell(path)} names {name}, which {retires} on {ends}")


def _named(document: Document) -> Iterator[tuple[Path, str]]:
    """The models that a document wants, each with its place. Globs go on meaning what is left."""
    data: Any = document.data
    match data:
        case {"kind": "RoutingPolicy", "spec": spec}:
            yield from _selected(("spec", "allow"), spec.get("allow"))
            for index, rule in enumerate(spec.get("rules") or ()):
                for action in _ACTIONS:
                    yield from _selected(("spec", "rules", index, action), rule.get(action))
        case {"kind": "ModelCatalog", "spec": {"models": [*models]}}:
            for index, model in enumerate(models):
                yield ("spec", "models", index, "id"), model["id"]


def _selected(path: Path, selector: Any) -> Iterator[tuple[Path, str]]:
    for index, name in enumerate((selector or {}).get("models") or ()):
        if "*" not in name:
            yield (*path, "models", index), name


def _ends(catalog: Catalog, name: str) -> date | None:
    """When the last model of this name is gone; None: never, as far as is known."""
    dates = [deployment.model.retires for deployment in catalog.by_name.get(name, ())]
    known = [day for day in dates if day]
    return max(known) if known and len(known) == len(dates) else None
