"""Small catalogs and policies built by hand, for the tests of the choice."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from adapters.ir import Operation, Tier
from policies.catalog import Catalog, Credential, Deployment, Limits, Model, Price, Provider, Score
from policies.classify import Traits
from policies.match import Policy, compile_policy
from policies.schema import RoutingPolicy

SEEN = date(2026, 11, 1)
PICTURES = frozenset({Operation.GENERATE, Operation.EDIT})


def policy(name: str = "test", **spec: Any) -> Policy:
    """A compiled policy; ``spec`` in the spelling of the YAML."""
    document = {
        "apiVersion": "muxel.dev/v1alpha1",
        "kind": "RoutingPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }
    return compile_policy(RoutingPolicy.model_validate(document))


def traits(task: str = "portrait", confidence: float = 0.9, *others: str, tier: Tier | None = None) -> Traits:
    """Traits with further plausible tasks."""
    rest = tuple((other, (1 - confidence) / len(others)) for other in others)
    return Traits(task, confidence, next(iter(others), ""), ((task, confidence), *rest), tier=tier)


def model(
    name: str,
    quality: Mapping[str, float] | None = None,
    *,
    vendor: str = "acme",
    aliases: Iterable[str] = (),
    operations: Iterable[Operation] = PICTURES,
    retires: date | None = None,
) -> Model:
    """``quality`` gives the lower quartiles; the score is 0.08 above each."""
    scores = {task: Score(min(1.0, p25 + 0.08), p25, "arena", SEEN) for task, p25 in (quality or {}).items()}
    return Model(name, vendor, frozenset(aliases), frozenset(operations), scores, None, retires)


def provider(name: str) -> Provider:
    """A provider that needs a key, but for the one called ``self``."""
    credential = Credential() if name == "self" else Credential(env=f"{name.upper()}_KEY")
    return Provider(name, "openai_images", f"https://{name}.test", credential, None, None, (), 5.0, 180.0)


def deployment(
    one: Model,
    host: str,
    usd: float | None,
    p50: float = 5.0,
    p95: float | None = None,
    *,
    limits: Limits = Limits(max_images=4, max_references=1),  # noqa: B008 - frozen
    region: str = "",
    estimated: bool = False,
) -> Deployment:
    """One picture costs ``usd``, whatever its size; None: unknown."""
    price = None if usd is None else Price("image", (("image", 0, usd),), estimated=estimated, source="test")
    return Deployment(
        id=f"{one.id}@{host}" + (f"#{region}" if region else ""),
        model=one,
        provider=provider(host),
        remote=f"{host}/{one.id}",
        operations=one.operations,
        price=price,
        edit_price=None,
        p50=p50,
        p95=p50 * 2 if p95 is None else p95,
        limits=limits,
        options={},
        region=region,
    )


def catalog(*deployments: Deployment) -> Catalog:
    by_operation: dict[Operation, list[Deployment]] = defaultdict(list)
    by_name: dict[str, list[Deployment]] = defaultdict(list)
    for one in deployments:
        for operation in one.operations:
            by_operation[operation].append(one)
        for name in {one.id, one.model.id, one.remote, *one.model.aliases}:
            by_name[name].append(one)
    return Catalog(
        deployments=deployments,
        models={one.model.id: one.model for one in deployments},
        providers={one.provider.name: one.provider for one in deployments},
        by_operation={operation: tuple(able) for operation, able in by_operation.items()},
        by_name={name: tuple(meant) for name, meant in by_name.items()},
    )


def studio() -> Catalog:
    """A dozen deployments with a reason each to be chosen or not; what the cases in ``decisions`` choose from."""
    swift = model("swift-1", {"general": 0.24, "portrait": 0.21, "text_in_image": 0.12})
    canvas = model("canvas-2", {"general": 0.44, "portrait": 0.41, "text_in_image": 0.27}, aliases=("canvas",))
    canvas_pro = model("canvas-2-pro", {"general": 0.58, "portrait": 0.61, "text_in_image": 0.51})
    glyph = model("glyph-3", {"general": 0.47, "portrait": 0.33, "text_in_image": 0.70}, vendor="letters")
    vision = model("vision-x", {"general": 0.65, "portrait": 0.64, "text_in_image": 0.66}, vendor="omni")
    sketch = model("sketch-0", vendor="omni")
    old = model("canvas-1", {"general": 0.36}, retires=date(2026, 9, 1))
    cutter = model("cut-1", {"general": 0.50}, operations=(Operation.REMOVE_BACKGROUND,))
    able = Limits(max_images=1, max_references=8, mask=True, transparent=True, max_edge=4096, max_prompt=32_000)
    small = Limits(max_images=4, max_references=0, max_prompt=1_000, max_edge=1440, min_edge=256, max_aspect=2.0)
    return catalog(
        deployment(swift, "alpha", 0.004, 1.5, 3.0, limits=small),
        deployment(swift, "beta", 0.005, 1.0, 2.0, limits=small),
        deployment(canvas, "alpha", 0.030, 5.0, 9.0),
        deployment(canvas, "beta", 0.031, 3.0, 6.0),
        deployment(canvas, "gamma", 0.028, 8.0, 30.0, region="eu"),
        deployment(canvas_pro, "alpha", 0.060, 9.0, 16.0),
        deployment(glyph, "gamma", 0.045, 6.0, 12.0),
        deployment(vision, "delta", 0.130, 14.0, 30.0, limits=able, estimated=True),
        deployment(sketch, "beta", 0.020, 4.0),
        deployment(canvas, "self", None, 20.0, 40.0),
        deployment(old, "alpha", 0.010, 4.0),
        deployment(cutter, "beta", 0.010, 2.0),
    )
