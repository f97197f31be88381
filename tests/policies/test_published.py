"""The published JSON Schema: what it says is what the loader takes, and every shipped document names it."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator

from policies.document import API_VERSION
from policies.load import SUFFIXES
from policies.parse import Document, Origin, parse
from policies.published import published
from policies.schema import KINDS
from policies.validate import validate
from proxy.cli import main

ROOT = Path(__file__).parents[2]
COPY = ROOT / "policies" / "muxel.schema.json"
MODELINE = "# yaml-language-server: $schema="
SHIPPED = ("policies", "proxy", "deploy", "charts")
VALIDATOR = Draft7Validator(published())


def yaml_files() -> list[Path]:
    files = chain.from_iterable((ROOT / folder).rglob(f"*{suffix}") for folder in SHIPPED for suffix in SUFFIXES)
    return sorted(files)


def documents(file: Path) -> tuple[Document, ...]:
    """Those of Kubernetes kinds, ours among them; none of a chart's templates, which are no YAML yet."""
    if "{{" in (text := file.read_text()):
        return ()
    return tuple(one for one in parse(str(file), text).documents if isinstance(one.data, dict) and "kind" in one.data)


def is_ours(document: Document) -> bool:
    return bool(document.data.get("apiVersion") == API_VERSION)


def ours() -> Iterator[Document]:
    """Every shipped document of ours, also those inside ConfigMaps."""
    for document in chain.from_iterable(map(documents, yaml_files())):
        if is_ours(document):
            yield document
        elif document.data["kind"] == "ConfigMap":
            for name, text in document.data.get("data", {}).items():
                inner = parse(f"{document.file}/{name}", text, Origin()).documents
                yield from (one for one in inner if isinstance(one.data, dict) and is_ours(one))


def test_the_committed_copy_is_what_the_verb_prints(
    capsysbinary: pytest.CaptureFixture[bytes], request: pytest.FixtureRequest
) -> None:
    assert main(["schema"]) == 0
    printed = capsysbinary.readouterr().out
    if request.config.getoption("--regold"):
        COPY.write_bytes(printed)
    assert printed == COPY.read_bytes()


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_it_is_a_json_schema_for_all_kinds_and_for_each(kind: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["schema", kind] if kind else ["schema"]) == 0
    printed = orjson.loads(capsysbinary.readouterr().out)
    Draft7Validator.check_schema(printed)
    assert printed == published(kind)


def test_an_unknown_kind_is_bad_usage_and_the_nearest_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "RoutingPolcy"]) == 2
    assert 'did you mean "RoutingPolicy"?' in capsys.readouterr().err


@pytest.mark.parametrize("document", list(ours()), ids=lambda one: f"{Path(one.file).name}:{one.data['kind']}")
def test_every_shipped_document_keeps_to_it(document: Document) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(document.data)] == []


def test_shipped_documents_of_every_place_are_among_those_looked_at() -> None:
    places = {Path(document.file).relative_to(ROOT).parts[:2] for document in ours()}
    assert places >= {("policies", "defaults"), ("policies", "models"), ("deploy", "sidecar")}


@pytest.mark.parametrize("file", yaml_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_shipped_file_names_the_schema_in_its_first_line_where_all_of_it_is_ours(file: Path) -> None:
    """A ConfigMap around our documents is not ours: an editor would hold it against the wrong schema."""
    found = documents(file)
    first, _, _ = file.read_text().partition("\n")
    if found and all(map(is_ours, found)):
        assert first.startswith(MODELINE)
        assert (file.parent / first.removeprefix(MODELINE)).resolve() == COPY
    else:
        assert MODELINE not in first


GOOD: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "RoutingPolicy",
    "metadata": {"name": "default"},
    "spec": {"rules": [{"name": "night", "match": {"during": [{"from": "22:00", "to": "06:00"}]}}]},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kind",), "RoutingPolcy"),
        (("apiVersion",), "muxel.dev/v1"),
        (("metadata",), {}),
        (("spec", "rulez"), []),
        (("spec", "objective"), "cheepest"),
        (("spec", "rules", 0, "match", "during", 0, "from"), "22"),
        (("spec", "rules", 0, "match", "aspect"), ["16x9"]),
        (("spec", "rules", 0, "when"), 3),
        (("spec", "rules", 0, "rewrite"), {"format": "gif"}),
    ],
)
def test_it_refuses_what_is_misspelt(path: tuple[str | int, ...], value: object) -> None:
    assert VALIDATOR.is_valid(GOOD)
    wrong = orjson.loads(orjson.dumps(GOOD))
    place: Any = wrong
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert not VALIDATOR.is_valid(wrong)


@pytest.mark.parametrize(
    ("credential", "expected"),
    [("none", True), ({"env": "KEY"}, True), ({}, False), ("sk-123", False), ({"key": "sk-123"}, False)],
)
def test_a_credential_is_a_reference_or_none(credential: object, expected: bool) -> None:
    provider = {
        "apiVersion": API_VERSION, "kind": "Provider", "metadata": {"name": "acme"},
        "spec": {"wire": "bfl", "baseUrl": "https://acme.test", "credential": credential},
    }  # fmt: skip
    assert VALIDATOR.is_valid(provider) is expected


@pytest.mark.parametrize("case", sorted((ROOT / "tests/policies/errors").glob("*.yaml")), ids=lambda case: case.stem)
def test_it_refuses_what_the_loader_refuses_for_its_shape(case: Path) -> None:
    for document in parse(case.name, case.read_bytes()).documents:
        if not isinstance(document.data, dict) or not is_ours(document) or document.data.get("kind") not in list(KINDS):
            continue
        refused = isinstance(validate(document, KINDS[document.data["kind"]]), list)
        assert VALIDATOR.is_valid(document.data) is not refused, document.data["metadata"]
