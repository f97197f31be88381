"""Label and field selectors, as the API server reads them. Called by ``api_server``."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.kube.store import Object, Refused

_TERM = re.compile(
    r"\s*(?:(?P<not>!)\s*(?P<absent>[^\s,()=!]+)"
    r"|(?P<set>[^\s,()=!]+)\s+(?P<in>in|notin)\s*\((?P<values>[^)]*)\)"
    r"|(?P<key>[^\s,()=!]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s,()=!]*)"
    r"|(?P<present>[^\s,()=!]+))\s*(?:,|$)"
)
_FIELD = re.compile(r"([^=!,]+)(==|=|!=)([^,]*)")
_FIELDS: Mapping[str, tuple[str, ...]] = {  # others than name and namespace, by kind
    "Event": (
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "reason",
        "type",
    ),
}

Matches = Callable[[Object], bool]


def matcher(labels: str, fields: str, kind: str) -> Matches:
    """Whether an object is selected. Raises Refused for what cannot be read."""
    tests = [*_label_tests(labels), *_field_tests(fields, kind)]
    return lambda one: all(test(one) for test in tests)


def pinned_name(fields: str) -> str:
    """The one name a field selector asks for: what RBAC compares with ``resourceNames`` of a list or watch."""
    names = [value for key, op, value in _FIELD.findall(fields) if key == "metadata.name" and op != "!="]
    return names[0] if len(names) == 1 else ""


def _label_tests(text: str) -> list[Matches]:
    tests: list[Matches] = []
    at = 0
    while at < len(text):
        term = _TERM.match(text, at)
        if not term:
            raise Refused(400, "BadRequest", f"unable to parse requirement: found '{text[at:]}'")
        at = term.end()
        tests.append(_label_test(term))
    return tests


def _label_test(term: re.Match[str]) -> Matches:
    if name := term["absent"]:
        return lambda one: name not in _labels(one)
    if name := term["present"]:
        return lambda one: name in _labels(one)
    if name := term["set"]:
        wanted, inside = {value.strip() for value in term["values"].split(",")}, term["in"] == "in"
        return lambda one: (_labels(one).get(name) in wanted) is inside
    name, value, same = term["key"], term["value"], term["op"] != "!="
    return lambda one: (_labels(one).get(name) == value) is same


def _labels(one: Object) -> Mapping[str, str]:
    return one["metadata"].get("labels") or {}


def _field_tests(text: str, kind: str) -> list[Matches]:
    return [_field_test(*term, kind) for part in text.split(",") if part for term in [_field(part)]]


def _field(part: str) -> tuple[str, str, str]:
    found = _FIELD.fullmatch(part)
    if not found:
        raise Refused(400, "BadRequest", f"invalid selector: '{part}'; can't understand '{part}'")
    return found[1], found[2], found[3]


def _field_test(path: str, op: str, value: str, kind: str) -> Matches:
    if path not in ("metadata.name", "metadata.namespace", *_FIELDS.get(kind, ())):
        raise Refused(400, "BadRequest", f"field label not supported: {path}")

    def test(one: Object) -> bool:
        found: Any = one
        for key in path.split("."):
            found = (found or {}).get(key, "")
        return (found == value) is (op != "!=")

    return test
