"""Policy ConfigMaps from several hands -> the one ConfigMap that sidecars mount, or every problem by its source.

Called by ``proxy.controller`` for what is to be in force and for what admission is asked about. All sources are one
configuration, judged by ``load`` as ``muxel check`` judges it: what is not right as a whole is not compiled at all.
Knows nothing of the API and of what was in force before.

Order: by namespace, name and key of the source. It decides nothing that is in force, since no two documents may have
one kind and name; it decides which of two that do is told of the other. ``candidate`` goes last, so that it is the one.

A file of the compiled ConfigMap is the text of its source, byte for byte, under ``NAMESPACE_NAME_KEY``. Neither a
namespace nor the name of a ConfigMap can hold an underscore, so no two sources meet there, and a sidecar that tells of
a file, in a problem or among its sources, tells where it comes from, with the lines and columns of the source.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from policies import document as documents
from policies.load import SUFFIXES, Config, ConfigError, Problem, WireFacts, load_documents
from policies.parse import parse

LABEL = "muxel.dev/policy"
COMPOSED, MOUNTED = "true", "mounted"  # part of the whole; mounted by pods as it is, a configuration of its own

NOWHERE = "sources"  # the place of a problem with no source to it
MOST_BYTES = 1024 * 1024  # of all values of a ConfigMap together (Kubernetes 1.36, MaxSecretSize)
LONGEST_KEY = 253  # of a ConfigMap


@dataclass(frozen=True, slots=True)
class Source:
    """A ConfigMap of policies. ``data`` is text, or bytes where the API had it in ``binaryData``."""

    namespace: str
    name: str
    uid: str
    version: str  # its resourceVersion
    data: Mapping[str, str | bytes]

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Compiled:
    """What sidecars are to mount, and what they make of it. ``hash`` is the one they show, in metrics and on traces."""

    data: Mapping[str, str]
    config: Config
    sources: tuple[str, ...]  # NAMESPACE/NAME, in order

    @property
    def hash(self) -> str:
        return self.config.hash


def compose(
    sources: Iterable[Source],
    wires: Mapping[str, WireFacts],
    tasks: frozenset[str] | None,
    *,
    candidate: Source | None = None,
) -> Compiled:
    """The whole of ``sources``, with ``candidate`` in the place of the one of its name. Raises ConfigError.

    The file of a problem is ``NAMESPACE/NAME/KEY``, begins with ``shipped/``, or is ``NOWHERE``: that there is no
    source at all is no wish for what is shipped, but somebody's slip or a right that was lost.
    """
    chosen = sorted((source for source in sources if candidate is None or source.id != candidate.id), key=_order)
    if candidate is not None:
        chosen.append(candidate)
    if not chosen:
        raise ConfigError([Problem(NOWHERE, 1, 1, f'no ConfigMap has the label {LABEL}: "{COMPOSED}"')])
    files = {f"{source.id}/{key}": text for source in chosen for key, text in files_of(source).items()}
    problems = [*_unnameable(chosen), *_too_large(files)]
    try:
        config = load_documents(files, wires, tasks=tasks)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return Compiled(
        data={_name(source, key): _text(text) for source in chosen for key, text in files_of(source).items()},
        config=config,
        sources=tuple(source.id for source in sorted(chosen, key=_order)),
    )


def files_of(source: Source) -> Mapping[str, str | bytes]:
    """What of a source a sidecar would read if it were mounted, in order."""
    return {key: source.data[key] for key in sorted(source.data) if key.endswith(SUFFIXES) and not key.startswith(".")}


def documents_of(source: Source) -> frozenset[tuple[str, str]]:
    """Kind and name of every document of ours in a source, right or not."""
    found = set()
    for file, content in files_of(source).items():
        for document in parse(file, content).documents:
            match document.data:
                case {"apiVersion": documents.API_VERSION, "kind": str(kind), "metadata": {"name": str(name)}}:
                    found.add((kind, name))
    return frozenset(found)


def _order(source: Source) -> tuple[str, str]:
    return source.namespace, source.name


def _name(source: Source, key: str) -> str:
    return f"{source.namespace}_{source.name}_{key}"


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


def _bytes(content: str | bytes) -> int:
    return len(content.encode()) if isinstance(content, str) else len(content)


def _unnameable(sources: Sequence[Source]) -> Iterable[Problem]:
    for source in sources:
        for key in files_of(source):
            if (length := len(_name(source, key))) > LONGEST_KEY:
                message = (
                    f"namespace, name and key are {length - 2} characters together, more than the {LONGEST_KEY - 2} "
                    "that a file of the compiled ConfigMap can be named by: shorten the key"
                )
                yield Problem(f"{source.id}/{key}", 1, 1, message)


def _too_large(files: Mapping[str, str | bytes]) -> Iterable[Problem]:
    sizes = {file: _bytes(content) for file, content in files.items()}
    if (total := sum(sizes.values())) > MOST_BYTES:
        largest = sorted(sizes, key=lambda file: (-sizes[file], file))[:3]
        told = ", ".join(f"{file} ({sizes[file]})" for file in largest)
        message = (
            f"all sources hold {total} bytes together, more than the {MOST_BYTES} of one ConfigMap; "
            f"the largest are {told}: remove what is not in force"
        )
        yield Problem(largest[0], 1, 1, message)
