"""The configuration of this process: which files are read, with which wires, and against which providers.

``serve`` loads through here at start and on every change; the CLI's verbs do the same without a server.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adapters.registry import WIRES
from policies.catalog import Catalog, Credential, Deployment, Provider
from policies.load import Config, WireFacts, load_documents
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


def loader(paths: Sequence[Path], tasks: frozenset[str] | None = None) -> Callable[[], Config]:
    """``load_config`` for one who asks again and again: where no byte has changed since the last good load, the answer
    is that same ``Config``, and nothing is parsed. For one caller at a time."""
    known: tuple[Mapping[str, bytes], Config] | None = None

    def load() -> Config:
        nonlocal known
        files = snapshot(paths)
        if known is None or known[0] != files:
            config = load_documents(files, WIRE_FACTS, tasks=tasks)
            config.lexicon()  # compiled here, and not by the first request
            known = files, config
        return known[1]

    return load


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
