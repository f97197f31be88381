"""Validated documents -> the catalog's plain values.

Called by ``load`` when nothing is wrong any more, so nothing here can fail. The one place that knows both the pydantic
models and the values of ``catalog``.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from adapters.ir import EDGES, Auth, Lora, Operation
from policies import supply
from policies.catalog import (
    Catalog,
    Credential,
    Deployment,
    Limits,
    Model,
    Price,
    Provider,
    Score,
)

PRIOR = (15.0, 45.0)  # seconds, p50 and p95 where the catalog says nothing: a slow picture model

Host = tuple[str, str, str]  # provider, remote id, region


def compile_catalog(
    models: Iterable[supply.Model],
    providers: Iterable[supply.Provider],
    sendable: Mapping[str, frozenset[Operation]],
) -> Catalog:
    """The catalog of these models; every provider a deployment names is among ``providers``. Order does not matter.

    ``sendable`` is what each wire can send. What a deployment does beyond that is kept apart, so that it is known and
    never chosen.
    """
    hosts = {provider.metadata.name: _provider(provider) for provider in providers}
    deployments = sorted(
        (deployment for model in models for deployment in _deployments(model, hosts, sendable)),
        key=lambda deployment: deployment.id,
    )
    by_operation = defaultdict(list)
    for deployment in deployments:
        for operation in deployment.operations:
            by_operation[operation].append(deployment)
    return Catalog(
        deployments=tuple(deployments),
        models={deployment.model.id: deployment.model for deployment in deployments},
        providers=hosts,
        by_operation={operation: tuple(able) for operation, able in by_operation.items()},
        by_name=_by_name(deployments),
    )


def deployment_ids(model: str, hosts: Sequence[Host]) -> tuple[str, ...]:
    """The ids of one model's deployments, in their order.

    ``model@provider``; where a provider has the model more than once, its deployments add ``#`` and the region, or the
    remote id where regions do not tell them apart, or both. So an id depends on what a deployment is, not on its place
    in the file.
    """
    beside: dict[str, list[Host]] = defaultdict(list)
    for host in hosts:
        beside[host[0]].append(host)
    suffix = {provider: _suffix(group) for provider, group in beside.items()}
    return tuple(f"{model}@{host[0]}{suffix[host[0]](host)}" for host in hosts)


def _suffix(group: Sequence[Host]) -> Callable[[Host], str]:
    regions, remotes = {host[2] for host in group}, {host[1] for host in group}
    if len(group) == 1:
        return lambda host: ""
    if len(regions) == len(group) and "" not in regions:
        return lambda host: f"#{host[2]}"
    if len(remotes) == len(group):
        return lambda host: f"#{host[1]}"
    return lambda host: f"#{host[2]}/{host[1]}"


def _provider(document: supply.Provider) -> Provider:
    spec = document.spec
    return Provider(
        name=document.metadata.name,
        wire=spec.wire,
        base_url=spec.base_url,
        credential=Credential(**spec.credential.model_dump()),
        auth=Auth(spec.auth.header, spec.auth.scheme) if spec.auth else None,
        concurrency=spec.concurrency,
        trusted_hosts=spec.trusted_hosts,
        connect_seconds=spec.timeouts.connect_seconds,
        attempt_seconds=spec.timeouts.attempt_seconds,
        pass_through=spec.pass_through,
    )


def _deployments(
    spec: supply.Model, providers: Mapping[str, Provider], sendable: Mapping[str, frozenset[Operation]]
) -> Iterable[Deployment]:
    model = Model(
        id=spec.id,
        vendor=spec.vendor,
        aliases=frozenset(spec.aliases),
        operations=frozenset(spec.operations),
        quality={task: Score(**score.model_dump()) for task, score in spec.quality.items()},
        released=spec.released,
        retires=spec.retires,
    )
    ids = deployment_ids(spec.id, [(host.provider, host.remote, host.region) for host in spec.deployments])
    for name, host in zip(ids, spec.deployments, strict=True):
        does = model.operations if host.operations is None else frozenset(host.operations)
        operations = does & sendable[providers[host.provider].wire]
        yield Deployment(
            id=name,
            model=model,
            provider=providers[host.provider],
            remote=host.remote,
            operations=operations,
            price=compile_price(host.price) if host.price else None,
            edit_price=compile_price(host.edit_price) if host.edit_price else None,
            p50=host.latency.p50 if host.latency else PRIOR[0],
            p95=host.latency.p95 if host.latency else PRIOR[1],
            limits=Limits(**(host.limits or spec.limits).model_dump()),
            options=host.options,
            loras=tuple(Lora(lora.path, lora.scale) for lora in host.loras),
            region=host.region,
            unsendable=does - operations,
        )


def compile_price(spec: supply.Price) -> Price:
    formula = spec.formula
    reference_megapixel, default, seconds = 0.0, "", 0.0
    table: list[tuple[str, int, float]]
    match formula:
        case supply.PerImage():
            table = [("image", 0, formula.usd)]
        case supply.PerMegapixel():
            table = [("first", 0, formula.first), ("extra", 0, formula.extra)]
            reference_megapixel = formula.reference
        case supply.PerSize():
            table = [(size, _pixels(size), usd) for size, usd in formula.usd.items()]
        case supply.PerResolution():
            table = [(name, EDGES[name] ** 2, usd) for name, usd in formula.usd.items()]
            default = formula.default
        case supply.PerSecond():
            table = [("second", 0, formula.usd)]
            seconds = formula.default
        case supply.PerResolutionSecond():
            table = [(name, EDGES[name] ** 2, usd) for name, usd in formula.usd.items()]
            default, seconds = formula.default, formula.seconds
    if isinstance(formula, supply.PerSize | supply.PerResolution | supply.PerResolutionSecond):
        table.sort(key=lambda row: (row[1], row[0]))
    return Price(
        unit=formula.unit,
        table=tuple(table),
        reference_megapixel=reference_megapixel,
        per_reference=spec.per_reference,
        default=default,
        seconds=seconds,
        priority={name: factor for name, factor in spec.priority.items()},
        estimated=spec.estimated,
        source=spec.source,
        as_of=spec.as_of,
    )


def _pixels(size: str) -> int:
    width, _, height = size.partition("x")
    return int(width) * int(height)


_NAMES: tuple[Callable[[Deployment], Iterable[str]], ...] = (
    lambda deployment: {deployment.id, f"{deployment.model.id}@{deployment.provider.name}"},
    lambda deployment: (deployment.model.id,),
    lambda deployment: deployment.model.aliases,
    lambda deployment: (deployment.remote,),
)


def _by_name(deployments: Iterable[Deployment]) -> Mapping[str, tuple[Deployment, ...]]:
    found: dict[str, tuple[Deployment, ...]] = {}
    for names in _NAMES:
        meant: dict[str, list[Deployment]] = defaultdict(list)
        for deployment in deployments:
            for name in names(deployment):
                if name not in found:
                    meant[name].append(deployment)
        found.update((name, tuple(bearers)) for name, bearers in meant.items())
    return found
