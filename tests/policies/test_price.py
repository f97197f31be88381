"""What a request costs, by each formula a catalog can hold."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ir import Ask, Media, MediaRequest, Operation
from policies.catalog import Credential, Deployment, Limits, Model, Price, Provider
from policies.price import formula_for, price

IMAGE = Price("image", (("image", 0, 0.04),))
FLUX = Price("megapixel", (("first", 0, 0.03), ("extra", 0, 0.015)), reference_megapixel=0.015)
SIZES = Price("size", (("1024x1024", 1_048_576, 0.04), ("1024x1536", 1_572_864, 0.05), ("1536x1024", 1_572_864, 0.06)))
CLASSES = Price("resolution", (("1K", 1024**2, 0.1), ("2K", 2048**2, 0.13), ("4K", 4096**2, 0.24)), default="2K")
REFERENCED = Price("image", (("image", 0, 0.04),), per_reference=0.01)
SECONDS = Price("second", (("second", 0, 0.1),), seconds=5.0)
SHARPNESS = Price(
    "resolutionSecond",
    (("480p", 640**2, 0.05), ("720p", 960**2, 0.1), ("1080p", 1440**2, 0.2)),
    default="720p",
    seconds=8.0,
)
FREE = Price("image", (("image", 0, 0.0),))

PICTURE = Media(url="https://example.com/a.png")


def deployment(formula: Price | None, edit: Price | None = None, max_images: int = 1) -> Deployment:
    operations = frozenset({Operation.GENERATE, Operation.EDIT})
    return Deployment(
        id="m@p",
        model=Model("m", "v", frozenset(), operations, {}, None, None),
        provider=Provider("p", "w", "https://p.example", Credential(), None, None, (), 5.0, 180.0),
        remote="m",
        operations=operations,
        price=formula,
        edit_price=edit,
        p50=1.0,
        p95=2.0,
        limits=Limits(max_images=max_images),
        options={},
    )


def ask(operation: Operation = Operation.GENERATE, references: int = 0, **fields: object) -> MediaRequest:
    return replace(MediaRequest(operation, references=(PICTURE,) * references), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("formula", "request_", "usd"),
    [
        (IMAGE, ask(), 0.04),
        (IMAGE, ask(n=3, size=(4096, 4096)), 0.12),
        (FREE, ask(n=3), 0.0),
        (FLUX, ask(), 0.03),
        (FLUX, ask(size=(256, 256)), 0.03),
        (FLUX, ask(size=(1024, 1024)), 0.03),
        (FLUX, ask(size=(1024, 1025)), 0.045),
        (FLUX, ask(size=(2048, 2048)), 0.075),
        (FLUX, ask(resolution="2K"), 0.075),
        (FLUX, ask(aspect=(16, 9)), 0.03),
        (FLUX, ask(aspect=(16, 9), resolution="4K"), 0.255),
        (FLUX, ask(n=2, size=(2048, 1024)), 0.09),
        (FLUX, ask(references=2), 0.06),
        (FLUX, ask(references=2, n=2), 0.12),
        (SIZES, ask(), 0.04),
        (SIZES, ask(size=(1024, 1536)), 0.05),
        (SIZES, ask(size=(1536, 1024)), 0.06),
        (SIZES, ask(size=(1200, 1200)), 0.05),
        (SIZES, ask(size=(512, 512), n=4), 0.16),
        (SIZES, ask(size=(4096, 4096)), 0.06),
        (SIZES, ask(aspect=(3, 2)), 0.04),
        (CLASSES, ask(), 0.13),
        (CLASSES, ask(aspect=(3, 2)), 0.13),
        (CLASSES, ask(resolution="1K"), 0.1),
        (CLASSES, ask(resolution="512"), 0.1),
        (CLASSES, ask(resolution="4K", n=2), 0.48),
        (CLASSES, ask(size=(1024, 1024)), 0.1),
        (CLASSES, ask(size=(1344, 768)), 0.1),
        (CLASSES, ask(size=(1152, 1024)), 0.1),
        (CLASSES, ask(size=(1536, 1024)), 0.13),
        (CLASSES, ask(size=(8192, 8192)), 0.24),
        (REFERENCED, ask(references=3), 0.07),
        (SECONDS, ask(Operation.VIDEO_GENERATE), 0.5),
        (SECONDS, ask(Operation.VIDEO_GENERATE, duration=8.0, n=2), 1.6),
        (SECONDS, ask(Operation.VIDEO_GENERATE, resolution="1080p"), 0.5),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE), 0.8),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, duration=4.0), 0.4),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, resolution="1080p", duration=5.0, n=2), 2.0),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, resolution="480p"), 0.4),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, resolution="360p"), 0.4),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, resolution="540p"), 0.8),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, resolution="2160p"), 1.6),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, size=(1280, 720)), 0.8),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, size=(720, 1280)), 0.8),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, size=(1920, 1080)), 1.6),
        (SHARPNESS, ask(Operation.VIDEO_GENERATE, aspect=(9, 16)), 0.8),
    ],
)
def test_a_formula_gives_what_the_provider_charges(formula: Price, request_: MediaRequest, usd: float) -> None:
    assert price(request_, deployment(formula)) == pytest.approx(usd)


@pytest.mark.parametrize(("priority", "usd"), [("", 0.14), ("normal", 0.14), ("low", 0.07), ("high", 0.14)])
def test_a_priority_has_its_price_where_the_host_sells_one(priority: str, usd: float) -> None:
    formula = replace(REFERENCED, priority={"low": 0.5})
    asked = ask(references=2, n=3, ask=Ask(priority=priority))
    assert price(asked, deployment(formula, max_images=4)) == pytest.approx(usd)


def test_an_unknown_price_is_never_free() -> None:
    assert price(ask(), deployment(None)) is None
    assert price(ask(), deployment(None, edit=IMAGE)) is None


@pytest.mark.parametrize(
    ("request_", "edits"),
    [
        (ask(), False),
        (ask(Operation.VIDEO_GENERATE), False),
        (ask(references=1), True),
        (ask(Operation.EDIT, references=1), True),
        (ask(Operation.UPSCALE), True),
        (ask(Operation.VIDEO_FROM_IMAGE), True),
    ],
)
def test_work_on_given_pictures_has_its_own_price_where_there_is_one(request_: MediaRequest, edits: bool) -> None:
    both = deployment(IMAGE, edit=FREE)
    assert formula_for(request_, both) is (FREE if edits else IMAGE)
    assert formula_for(request_, deployment(IMAGE)) is IMAGE


@pytest.mark.parametrize(("max_images", "usd"), [(1, 0.04 * 4 + 0.01 * 8), (3, 0.04 * 4 + 0.01 * 4), (4, 0.16 + 0.02)])
def test_references_are_paid_again_by_every_call_that_is_needed(max_images: int, usd: float) -> None:
    made = price(ask(n=4, references=2), deployment(REFERENCED, max_images=max_images))
    assert made == pytest.approx(usd)


costs = st.floats(0.001, 1.0)
edges = st.integers(64, 8192)


@st.composite
def formulas(draw: st.DrawFn) -> Price:
    """Any formula whose larger pictures cost no less."""
    rising = sorted(draw(st.lists(costs, min_size=3, max_size=3)))
    reference = draw(costs)
    match draw(st.sampled_from(["image", "megapixel", "size", "resolution"])):
        case "image":
            return Price("image", (("image", 0, rising[0]),), per_reference=reference)
        case "megapixel":
            table = (("first", 0, rising[1]), ("extra", 0, rising[0]))
            return Price("megapixel", table, reference_megapixel=reference)
        case "size":
            sides = sorted(draw(st.lists(edges, min_size=3, max_size=3, unique=True)))
            return Price("size", tuple((f"{x}x{x}", x * x, usd) for x, usd in zip(sides, rising, strict=True)))
        case _:
            names = (("1K", 1024), ("2K", 2048), ("4K", 4096))
            return Price(
                "resolution", tuple((n, x * x, usd) for (n, x), usd in zip(names, rising, strict=True)), default="1K"
            )


@settings(deadline=None)
@given(formulas(), st.tuples(edges, edges), st.tuples(edges, edges), st.integers(1, 10), st.integers(0, 4))
def test_more_pixels_never_cost_less(
    formula: Price, one: tuple[int, int], other: tuple[int, int], n: int, references: int
) -> None:
    smaller, larger = sorted((one, other), key=math.prod)
    asked = [price(ask(size=size, n=n, references=references), deployment(formula)) for size in (smaller, larger)]
    assert asked[0] is not None
    assert asked[1] is not None
    assert asked[0] <= asked[1]


@settings(deadline=None)
@given(formulas(), st.tuples(edges, edges), st.integers(1, 9), st.integers(0, 4), st.integers(1, 4))
def test_more_pictures_cost_more(formula: Price, size: tuple[int, int], n: int, references: int, most: int) -> None:
    asked = [
        price(ask(size=size, n=count, references=references), deployment(formula, max_images=most))
        for count in (n, n + 1)
    ]
    assert asked[0] is not None
    assert asked[1] is not None
    assert asked[0] < asked[1]
