"""The verb wires: the registry, and what each face of it can do. README's table is its ``--markdown``."""

import argparse
from collections.abc import Sequence

from adapters.ir import Action, Operation
from adapters.registry import WIRES, Wire
from proxy.verbs.output import OK, print_json, table

_FEATURES = {  # field of Wire -> what it means to a caller
    "events": "streams to the caller",
    "jobs": "jobs are polled",
    "watched": "jobs are watched",
    "webhooks": "webhooks",
    "files": "takes files",
    "stream": "streams from the provider",
    "uploads": "uploads to the provider",
}


def wires(arguments: argparse.Namespace) -> int:
    """Every wire with its faces, and per operation whether callers may ask for it and providers be sent it."""
    if arguments.json:
        print_json({"wires": [_row(wire) for wire in WIRES.values()]})
    elif arguments.markdown:
        print(markdown())
    else:
        table(("wire", *_heads()), ((wire.name, *_cells(wire)) for wire in WIRES.values()))
        print("\nC callers may ask for it, P providers can be sent it; * passes on what it does not translate")
    return OK


def markdown() -> str:
    """The matrix as a table of Markdown."""
    heads = ("wire", *_heads())
    lines = [heads, ("---",) * len(heads), *((f"`{wire.name}`", *_cells(wire)) for wire in WIRES.values())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _heads() -> tuple[str, ...]:
    return ("", *(_short(operation) for operation in _operations()))


def _cells(wire: Wire) -> Sequence[str]:
    client = wire.client.CLIENT_OPERATIONS if wire.client else frozenset()
    provider = wire.provider.PROVIDER_OPERATIONS if wire.provider else frozenset()
    marks = ("C" * (operation in client) + "P" * (operation in provider) for operation in _operations())
    return ("*" if _passes(wire) else "", *marks)


def _operations() -> list[Operation]:
    """Those that any wire knows, in the order of the canonical model."""
    return [operation for operation in Operation if any(operation in wire.operations for wire in WIRES.values())]


def _short(operation: Operation) -> str:
    """ "image.remove_background" -> "remove background"."""
    return operation.partition(".")[2].replace("_", " ")


def _passes(wire: Wire) -> bool:
    return wire.client is not None and any(route.action is Action.PASS for route in wire.client.ROUTES)


def _row(wire: Wire) -> dict[str, object]:
    client, provider = wire.client, wire.provider
    return {
        "name": wire.name,
        "client": sorted(client.CLIENT_OPERATIONS) if client else None,
        "provider": sorted(provider.PROVIDER_OPERATIONS) if provider else None,
        "mounts": [f"{client.PREFIX}{version}" for version in client.VERSIONS] + list(client.ALIASES) if client else [],
        "options": sorted(provider.OPTIONS) if provider else [],
        "passes": _passes(wire),
        "features": [told for name, told in _FEATURES.items() if getattr(wire, name)],
    }
