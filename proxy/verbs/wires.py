"""The verb wires: the registry."""

import argparse
from typing import Any

from adapters.registry import WIRES
from proxy.verbs.output import OK, print_json, table


def wires(arguments: argparse.Namespace) -> int:
    """The registry."""
    rows: list[dict[str, Any]] = [
        {
            "name": wire.name,
            "client": wire.client is not None,
            "provider": wire.provider is not None,
            "operations": sorted(wire.operations),
        }
        for wire in WIRES.values()
    ]
    if arguments.json:
        print_json({"wires": rows})
        return OK
    table(
        ("wire", "client", "provider", "operations"),
        ((row["name"], _mark(row["client"]), _mark(row["provider"]), " ".join(row["operations"])) for row in rows),
    )
    return OK


def _mark(value: bool) -> str:
    return "yes" if value else "no"
