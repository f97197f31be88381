"""Models -> the YAML of a ModelCatalog, as people would write it, and a ConfigMap manifest around it.

The verb ``catalog refresh`` calls this. What is written reads back as the same models: a text that our own reader or
another YAML reader would take for a number or a boolean stands in quotes. The order is that of the schema and of the
models given, so that the same models are the same bytes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from policies import supply
from policies.document import API_VERSION

NAME = "refreshed"  # of the document: no shipped one is called so
KEY = "catalog.yaml"  # of the text in a ConfigMap
MOST_BYTES = 1024 * 1024  # what the data of a ConfigMap may add up to (Kubernetes validation)

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_HEAD = "# Written by muxel catalog refresh: a change here is lost with the next one.\n"


class TooLarge(Exception):
    """More than a ConfigMap holds. The message says by how much."""


def catalog_text(models: Sequence[supply.Model]) -> str:
    """A ModelCatalog of these models; a comment alone where there are none, since a catalog of none is not valid."""
    if not models:
        return _HEAD + "# Nothing differs from the catalog it was made from.\n"
    document = {
        "apiVersion": API_VERSION,
        "kind": "ModelCatalog",
        "metadata": _Line({"name": NAME}),
        "spec": {"models": [_laid_out(model) for model in models]},
    }
    return _HEAD + _dump(document)


def config_map(name: str, text: str) -> dict[str, Any]:
    """The ConfigMap with this catalog. Raises TooLarge."""
    size = len(KEY) + len(text.encode())
    if size > MOST_BYTES:
        raise TooLarge(f"the catalog is {size} bytes, and a ConfigMap holds {MOST_BYTES}: write it with --out instead")
    labels = {"app.kubernetes.io/name": "muxel", "app.kubernetes.io/component": "catalog"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {KEY: text},
    }


def manifest_text(manifest: Mapping[str, Any]) -> str:
    return _dump(manifest)


class _Line(dict[str, Any]):
    """A mapping that is written on one line."""


def _laid_out(model: supply.Model) -> dict[str, Any]:
    """The model as it would be written: what is unsaid stays unsaid, and a figure with its source is one line."""
    data: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if "limits" in data:
        data["limits"] = _Line(data["limits"])
    if "quality" in data:
        data["quality"] = {task: _Line(score) for task, score in data["quality"].items()}
    for host in data["deployments"]:
        for key in ("latency", "limits", "options"):
            if key in host:
                host[key] = _Line(host[key])
        for key in ("price", "editPrice"):
            if host.get(key):
                host[key]["formula"] = _Line(host[key]["formula"])
    return data


class _Dumper(yaml.SafeDumper):
    """Indented lists, no aliases, and quotes where a reader might see something else than text."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    if _DAY.fullmatch(text):
        return dumper.represent_scalar("tag:yaml.org,2002:timestamp", text)
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    style = '"' if text[:1] in "+-.0123456789" else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _line(dumper: _Dumper, data: _Line) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True)


def _list(dumper: _Dumper, data: Sequence[Any]) -> yaml.SequenceNode:
    """A list of plain values stands on one line."""
    plain = not any(isinstance(value, dict | list) for value in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=plain)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Line, _line)
_Dumper.add_representer(list, _list)


def _dump(data: Mapping[str, Any]) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf")))
