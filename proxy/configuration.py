"""The configuration of this process: which files are read, with which wires, and against which providers.

``serve`` loads through here at start and on every change; the CLI's verbs do the same without a server.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adapters.registry import WIRES
from policies.catalog import Catalog, Credential, Deployment, Provider
from policies.load import Config, Problem, WireFacts, load_documents
from proxy.snapshot import snapshot

WIRE_FACTS: Mapping[str, WireFacts] = {
    name: WireFacts(wire.provider.PROVIDER_OPERATIONS, wire.provider.OPTIONS)
    for name, wire in WIRES.items()
    if wire.provider
}


def load_config(paths: Sequence[Path], tasks: frozenset[str] | None = None, *, tests: bool = False) -> Config:
    """One consistent reading of the files at ``paths`` over what Muxel ships. ``tasks`` are the names a rule may match
    on, None: any; ``tests``: those beside the policies are wanted too. Raises ConfigError, OSError."""
    return load_documents(snapshot(paths, tests=tests), WIRE_FACTS, tasks=tasks, tests=tests)


Reading = tuple[Mapping[str, bytes], Sequence[Problem]]  # files by the name to show, and what could not be read


@dataclass(slots=True)
class Loader:
    """``load_config`` for one who asks again and again, of the files at ``paths`` and those that ``watched`` has.

    Where no byte has changed since the last good load, the answer is that same ``Config``, and nothing is parsed. For
    one caller at a time.
    """

    paths: Sequence[Path]
    tasks: frozenset[str] | None = None
    watched: Callable[[], Reading] = lambda: ({}, ())
    good: tuple[Mapping[str, bytes], Config] | None = field(default=None, init=False)  # the last one, and its files

    def __call__(self) -> Config:
        """Every problem at once, missing paths among them. Raises ConfigError, OSError."""
        files, unread = self._read()
        if unread or self.good is None or self.good[0] != files:
            config = load_documents(files, WIRE_FACTS, tasks=self.tasks, unread=unread)
            config.lexicon()  # compiled here, and not by the first request
            self.good = files, config
        return self.good[1]

    def _read(self) -> Reading:
        """Paths in the order they were given, then what is watched."""
        there = [path for path in self.paths if path.exists()]
        missing = [Problem(str(path), 1, 1, "no such file or directory") for path in self.paths if path not in there]
        mounted, (watched, unread) = snapshot(there), self.watched()
        twice = [Problem(name, 1, 1, "is a file and a ConfigMap's key as well") for name in mounted if name in watched]
        return {**mounted, **watched}, (*missing, *twice, *unread)


def rebased(config: Config, base_url: Callable[[str, str], str]) -> Config:
    """The configuration with every provider at ``base_url(name, real URL)``, without credentials: the sandbox."""
    catalog = config.catalog

    def move(provider: Provider) -> Provider:
        url = base_url(provider.name, provider.base_url)
        return replace(provider, base_url=url, credential=Credential(), auth=None, trusted_hosts=())

    providers = {name: move(provider) for name, provider in catalog.providers.items()}
    moved = {
        deployment.id: replace(deployment, provider=providers[deployment.provider.name])
        for deployment in catalog.deployments
    }

    def follow(deployments: Sequence[Deployment]) -> tuple[Deployment, ...]:
        return tuple(moved[deployment.id] for deployment in deployments)

    rebased_catalog = Catalog(
        deployments=follow(catalog.deployments),
        models=catalog.models,
        providers=providers,
        by_operation={operation: follow(able) for operation, able in catalog.by_operation.items()},
        by_name={name: follow(meant) for name, meant in catalog.by_name.items()},
    )
    return replace(config, catalog=rebased_catalog)
