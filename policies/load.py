"""YAML texts -> one ``Config``: the shipped documents overlaid by the users', checked as a whole, compiled.

Called by ``muxel check`` and the other verbs, and by the proxy at start and at every reload. Either everything is right
and there is a ``Config``, or ``ConfigError`` carries every problem with its file, line and column. Of files it reads
the shipped ones alone: who watches files or the API hands their bytes to ``load_documents``.

Tests (the kind PolicyTest, and ``tests`` inside a policy) are validated like everything else, and are no part of what
is in force: not of its hash, and of the ``Config`` only for who asks for them.

How documents compose, whichever files, directories and ConfigMaps they came in:

- A user's document takes the place of the shipped one with the same kind and name, whole. A user's model also takes
  the place of the shipped model with the same id, whatever its document is called.
- Two users' documents of the same kind and name are refused, as are two models of one id; the problem has both places.
  Nobody overrides a colleague by the name of a file.
- So order decides nothing: not what is in force, and not its hash. It decides which of two places is told to be the
  second; callers hand files in an order that stays the same.
- Documents of other kinds are none of our business and are passed over; a ConfigMap manifest is looked into.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from importlib.resources import files as resources
from itertools import islice
from typing import Any

import orjson

from policies import schema, supply
from policies.cases import PolicyTest
from policies.catalog import Catalog
from policies.check import (
    DEFAULT,
    Entry,
    WireFacts,
    check_lexicon,
    check_models,
    check_policy,
    check_provider,
    check_rollout,
    check_selectors,
    names_of,
)
from policies.compile import compile_catalog
from policies.document import API_VERSION
from policies.lexicon import Addition, Lexicon, load_lexicon, shipped_document
from policies.match import Policy, compile_policy
from policies.parse import Document, Origin, Parsed, parse
from policies.problems import ConfigError, Problem, did_you_mean, excerpt
from policies.suites import Placed, check_cases, placed
from policies.validate import validate

__all__ = ["Config", "ConfigError", "Problem", "WireFacts", "load_documents", "load_entries", "read_models"]

GROUP = "muxel.dev/"
SUFFIXES = (".yaml", ".yml")
TESTS = (".test.yaml", ".test.yml")  # files of tests alone
CONFIG_MAP = "ConfigMap"

Spec = schema.RoutingPolicy | supply.ModelCatalog | supply.Provider | schema.TaskLexicon | PolicyTest
Files = Mapping[str, str | bytes]  # by the name to show in problems


@dataclass(frozen=True, slots=True)
class Config:
    """What is in force. ``policies`` has at least ``default``; ``sources`` are the files that brought a document."""

    catalog: Catalog
    policies: Mapping[str, Policy]
    hash: str  # 12 hex digits of the content: the same for the same documents in any files, order or layout
    sources: tuple[str, ...]
    tests: tuple[Placed, ...] = ()  # in the order of the files; none unless they were asked for
    # What prompts are classified by. The first call takes tenths of a second, all others nothing.
    lexicon: Callable[[], Lexicon] = field(default=load_lexicon, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Source:
    """One document of ours, named by its place where it has no name. ``spec`` is None when it is not valid."""

    document: Document
    kind: str
    name: str
    spec: Spec | None
    shipped: bool


@dataclass(slots=True)
class _Reading:
    """What was read so far. ``complete`` is False once a text could not be read to its end."""

    sources: list[_Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True


# --------------------------------------------------------------------------------------------------------- the entries


def load_documents(
    files: Files,
    wires: Mapping[str, WireFacts],
    *,
    shipped: bool = True,
    tasks: frozenset[str] | None = None,
    tests: bool = False,
    unread: Sequence[Problem] = (),
) -> Config:
    """The configuration of these texts, by the name each is to have in problems, over what is shipped.

    ``wires`` are the wires with a provider face; ``tasks`` the task names there are, None: any. ``tests``: the users'
    tests are wanted, and the names in them are checked. ``unread`` are the problems of what could not be read: told
    with the rest, of which nothing is held against what may be defined there. Raises ConfigError.
    """
    return load_entries(files, wires, shipped=shipped, tasks=tasks, tests=tests, unread=unread)[0]


def load_entries(
    files: Files,
    wires: Mapping[str, WireFacts],
    *,
    shipped: bool = True,
    tasks: frozenset[str] | None = None,
    tests: bool = False,
    unread: Sequence[Problem] = (),
) -> tuple[Config, Sequence[Entry]]:
    """As ``load_documents``, and beside it the models in force as they are written: for who writes them again."""
    reading = _Reading(problems=list(unread), complete=not unread)
    own: Files = _shipped_files() if shipped else {}
    for name, content in own.items():
        _read(reading, name, content, shipped=True)
    for name, content in files.items():
        _read(reading, name, content, shipped=False)
    sources = _overlay(reading)
    entries = _models(reading, sources)
    tasks = _check(reading, sources, entries, wires, tasks)
    wanted = _tests(reading, sources, tasks) if tests else ()
    if reading.problems:
        raise ConfigError(reading.problems)
    specs = [source.spec for source in sources]
    config = Config(
        catalog=compile_catalog(
            (entry.model for entry in entries),
            (spec for spec in specs if isinstance(spec, supply.Provider)),
            {name: facts.operations for name, facts in wires.items()},
        ),
        policies={spec.metadata.name: compile_policy(spec) for spec in specs if isinstance(spec, schema.RoutingPolicy)},
        hash=_hash(sources, entries),
        sources=tuple(sorted({source.document.file for source in sources})),
        lexicon=_lexicon(specs),
        tests=wanted,
    )
    return config, entries


def read_models(files: Files) -> tuple[supply.Model, ...]:
    """The models of these texts as they are written, each checked by itself alone: what an older version wrote may name
    providers and options that are gone. Raises ConfigError."""
    reading = _Reading()
    for name, content in files.items():
        _read(reading, name, content, shipped=False)
    if reading.problems:
        raise ConfigError(reading.problems)
    catalogs = (source.spec for source in reading.sources if isinstance(source.spec, supply.ModelCatalog))
    return tuple(model for catalog in catalogs for model in catalog.spec.models)


def _lexicon(specs: Iterable[Spec | None]) -> Callable[[], Lexicon]:
    """Kept by the configuration it belongs to: no request has to look it up by all that operators added."""
    added: tuple[Addition, ...] = tuple(
        (task, more.group or "", tuple(more.phrases.items()))
        for spec in specs
        if isinstance(spec, schema.TaskLexicon)
        for task, more in spec.spec.tasks.items()
    )
    return cache(partial(load_lexicon, added))


def _shipped_files() -> dict[str, bytes]:
    root = resources("policies")
    return {
        f"shipped/{folder}/{file.name}": file.read_bytes()
        for folder in ("defaults", "models")
        for file in sorted(root.joinpath(folder).iterdir(), key=lambda file: file.name)
        if file.name.endswith(SUFFIXES) and not file.name.endswith(TESTS)
    }


# ------------------------------------------------------------------------------------------------------- the documents


def _read(reading: _Reading, name: str, content: str | bytes, shipped: bool) -> None:
    """Adds every document of ours in one file, also those inside a ConfigMap manifest."""
    parsed = _parse_once(name, content) if shipped else parse(name, content)
    _note(reading, parsed)
    for document in parsed.documents:
        if _take(reading, document, shipped) == CONFIG_MAP:
            for text, origin in _entries(document, content):
                _read_entry(reading, name, text, origin)


_parse_once = lru_cache(maxsize=64)(parse)  # what is shipped is most of what is read, and never changes


def _read_entry(reading: _Reading, name: str, text: str, origin: Origin) -> None:
    """An entry of a ConfigMap may be another program's file, of whatever form: only what is ours is looked into."""
    parsed = parse(name, text, origin)
    if GROUP in text:
        _note(reading, parsed)
    for document in parsed.documents:
        if isinstance(document.data, dict) and {"apiVersion", "kind"} <= document.data.keys():
            _take(reading, document, shipped=False)


def _note(reading: _Reading, parsed: Parsed) -> None:
    reading.problems.extend(parsed.problems)
    reading.complete &= parsed.complete


def _take(reading: _Reading, document: Document, shipped: bool) -> str:
    """Adds the document if it is one of ours. Returns its kind, "" for what is none of our business."""
    kind = _kind(document)
    if isinstance(kind, Problem):
        reading.problems.append(kind)
        return ""
    if kind in schema.KINDS:
        reading.sources.append(_source(reading, document, kind, shipped))
    return kind


def _kind(document: Document) -> str | Problem:
    """The kind, for ours and for a ConfigMap; "" for other Kubernetes kinds."""
    data = document.data
    if not isinstance(data, dict):
        return document.problem((), "a document must be a mapping with apiVersion and kind")
    for key in ("apiVersion", "kind"):
        if not isinstance(data.get(key), str):
            return document.problem((key,), f"{key} is required, and must be text")
    version, kind = data["apiVersion"], data["kind"]
    if version == API_VERSION:
        if kind in schema.KINDS:
            return str(kind)
        hint = did_you_mean(kind, schema.KINDS) or f"; there are {', '.join(schema.KINDS)}"
        return document.problem(("kind",), f'kind has the unknown value "{excerpt(kind)}"{hint}')
    if _nearly_ours(version, kind):
        message = f'apiVersion has the unknown value "{excerpt(version)}"; did you mean "{API_VERSION}"?'
        return document.problem(("apiVersion",), message)
    return CONFIG_MAP if (version, kind) == ("v1", CONFIG_MAP) else ""


def _nearly_ours(version: str, kind: str) -> bool:
    """Whether a slip keeps this from being ours. A Provider of another group is another program's."""
    if version.startswith(GROUP):
        return True
    group, slash, _ = version.partition("/")
    return bool(did_you_mean(group + "/", [GROUP]) and did_you_mean(kind, schema.KINDS)) or (
        not slash and kind in schema.KINDS
    )


def _source(reading: _Reading, document: Document, kind: str, shipped: bool) -> _Source:
    result = validate(document, schema.KINDS[kind])
    spec = None
    if isinstance(result, list):
        reading.problems.extend(result)
    else:
        spec = result
    metadata = document.data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return _Source(document, kind, name if isinstance(name, str) else _place(document, ()), spec, shipped)


def _entries(document: Document, content: str | bytes) -> Iterable[tuple[str, Origin]]:
    """The YAML files inside a ConfigMap, each with where it starts in the manifest."""
    data = document.data.get("data")
    source = content if isinstance(content, str) else content.decode("utf-8-sig")
    lines = source.split("\n")
    for key, text in data.items() if isinstance(data, dict) else ():
        if key.endswith(SUFFIXES) and isinstance(text, str):
            yield text, _origin(*document.locate(("data", key)), lines, text)


def _origin(line: int, column: int, lines: Sequence[str], text: str) -> Origin:
    """Where a scalar's text is in the file. Only a literal block keeps its lines; all else is at the scalar's start."""
    if not "".join(lines[line - 1 : line])[column - 1 :].startswith("|"):
        return Origin(line, column, 0)
    written = next((row for row in islice(lines, line, None) if row.strip()), "")
    first = next((row for row in text.split("\n") if row.strip()), "")
    return Origin(line + 1, 1 + _indent(written) - _indent(first))


def _indent(row: str) -> int:
    return len(row) - len(row.lstrip(" "))


# ----------------------------------------------------------------------------------------------------------- the whole


def _overlay(reading: _Reading) -> list[_Source]:
    """The documents in force, in a fixed order. Two of one kind and name from the same side are a problem."""
    chosen: dict[tuple[str, str], _Source] = {}
    for source in reading.sources:  # the shipped ones come first
        first = chosen.get((source.kind, source.name))
        if first and first.shipped == source.shipped:
            place = _place(first.document, ("metadata", "name"))
            message = f'{source.kind} "{excerpt(source.name)}" is already defined at {place}'
            reading.problems.append(source.document.problem(("metadata", "name"), message))
        else:
            chosen[source.kind, source.name] = source
    if ("RoutingPolicy", DEFAULT) not in chosen and reading.complete:
        file = reading.sources[0].document.file if reading.sources else "configuration"
        reading.problems.append(Problem(file, 1, 1, f'there is no RoutingPolicy named "{DEFAULT}"'))
    return [chosen[key] for key in sorted(chosen)]


def _place(document: Document, path: tuple[str | int, ...]) -> str:
    line, column = document.locate(path)
    return f"{document.file}:{line}:{column}"


def _models(reading: _Reading, sources: Iterable[_Source]) -> list[Entry]:
    """The models in force. A user's comes before a shipped one of the same id; two of one side are a problem."""
    chosen: dict[str, tuple[Entry, bool]] = {}
    for source in sorted(sources, key=lambda source: source.shipped):
        if not isinstance(source.spec, supply.ModelCatalog):
            continue
        for index, model in enumerate(source.spec.spec.models):
            entry = Entry(source.document, ("spec", "models", index), model, source.shipped)
            first, shipped = chosen.setdefault(model.id, (entry, source.shipped))
            if first is not entry and shipped == source.shipped:
                place = _place(first.document, (*first.path, "id"))
                message = f'model "{model.id}" is already defined at {place}'
                reading.problems.append(source.document.problem((*entry.path, "id"), message))
    return [chosen[name][0] for name in sorted(chosen)]


def _check(
    reading: _Reading,
    sources: Sequence[_Source],
    entries: Sequence[Entry],
    wires: Mapping[str, WireFacts],
    tasks: frozenset[str] | None,
) -> frozenset[str] | None:
    """The tasks there are, with those that operators add."""
    names = names_of(source.document for source in sources)
    added = _added_tasks(reading, sources)
    tasks = None if tasks is None else tasks | added
    providers: dict[str, supply.Provider] = {}
    policies = {source.name: source.spec for source in sources if isinstance(source.spec, schema.RoutingPolicy)}
    for source in sources:
        match source.spec:
            case supply.Provider() as provider:
                providers[source.name] = provider
                reading.problems.extend(check_provider(source.document, provider, wires))
            case schema.TaskLexicon() as lexicon:
                reading.problems.extend(check_lexicon(source.document, lexicon, shipped_document()))
            case schema.RoutingPolicy() as policy:
                reading.problems.extend(check_policy(source.document, policy, tasks))
                named = frozenset(one.name for one in sources if one.kind == source.kind) if reading.complete else None
                reading.problems.extend(check_rollout(source.document, policy, policies, named))
                # A user may well replace the models a shipped rule names; and what was not read may be what is meant.
                if reading.complete and not source.shipped:
                    reading.problems.extend(check_selectors(source.document, policy, names))
    known = names.providers if reading.complete else None
    reading.problems.extend(check_models(entries, providers, known, wires, tasks))
    return tasks


def _added_tasks(reading: _Reading, sources: Iterable[_Source]) -> frozenset[str]:
    """The tasks that operators say something of. Two documents that do are a problem: which one counts?"""
    places: dict[str, str] = {}
    for source in sources:
        for task in source.spec.spec.tasks if isinstance(source.spec, schema.TaskLexicon) else ():
            path = ("spec", "tasks", task)
            first = places.setdefault(task, _place(source.document, path))
            if first != _place(source.document, path):
                reading.problems.append(source.document.problem(path, f'task "{task}" is already at {first}', key=True))
    return frozenset(places)


def _tests(reading: _Reading, sources: Iterable[_Source], tasks: frozenset[str] | None) -> tuple[Placed, ...]:
    """The users' tests, in the order of their files. What they name is looked up in all that is in force."""
    sources = sorted(sources, key=lambda source: (source.document.file, source.document.locate(())))
    names = names_of(source.document for source in sources)
    rules = {
        source.name: frozenset(rule.name for rule in source.spec.spec.rules)
        if isinstance(source.spec, schema.RoutingPolicy)
        else None
        for source in sources
        if source.kind == "RoutingPolicy"
    }
    found: list[Placed] = []
    for source in sources:
        if isinstance(source.spec, PolicyTest | schema.RoutingPolicy) and not source.shipped:
            found += placed(source.document, source.spec)
            if reading.complete:
                reading.problems.extend(check_cases(source.document, source.spec, names, rules, tasks))
    return tuple(found)


def _hash(sources: Iterable[_Source], entries: Iterable[Entry]) -> str:
    """Over what is in force: the documents without their tests, and of a catalog the models that no other replaced."""
    # By identity: two documents may be equal, and a document is not hashable.
    kept = {(id(entry.document), entry.path[-1]) for entry in entries}
    content: list[Any] = []
    for source in sources:
        data = source.document.data
        if source.kind == "PolicyTest":
            continue
        if source.kind == "RoutingPolicy" and "tests" in data.get("spec", {}):
            data = {**data, "spec": {key: value for key, value in data["spec"].items() if key != "tests"}}
        if source.kind == "ModelCatalog":
            models = [
                model for index, model in enumerate(data["spec"]["models"]) if (id(source.document), index) in kept
            ]
            data = {**data, "spec": {"models": models}}
        content.append(data)
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
