"""How validated documents become the catalog's values."""

from dataclasses import replace
from datetime import date

import pytest

from adapters.ir import Auth, Lora, Operation
from policies.catalog import Catalog, Credential, Limits, Price, Score
from policies.compile import Host, deployment_ids
from policies.load import WireFacts, load_documents

POLICY = "apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {name: default}\n"
HEAD = "apiVersion: muxel.dev/v1alpha1\nkind: ModelCatalog\nmetadata: {name: models}\nspec:\n  models:\n"
PROVIDERS = """
apiVersion: muxel.dev/v1alpha1
kind: Provider
metadata: {name: acme}
spec:
  wire: acme
  baseUrl: https://api.acme.example/v1
  credential: {file: acme-key, env: ACME_KEY}
  auth: {header: x-key, scheme: Token}
  concurrency: 4
  trustedHosts: ["*.acme.example"]
  timeouts: {connectSeconds: 2}
---
apiVersion: muxel.dev/v1alpha1
kind: Provider
metadata: {name: local}
spec: {wire: acme, baseUrl: http://vllm:8000, credential: none}
"""


def catalog(models: str, sendable: frozenset[Operation] = frozenset(Operation)) -> Catalog:
    facts = {"acme": WireFacts(sendable, frozenset({"steps"}))}
    files = {"a.yaml": HEAD + models, "b.yaml": PROVIDERS, "c.yaml": POLICY}
    return load_documents(files, facts, shipped=False).catalog


FULL = """
    - id: pixel-1
      vendor: Acme
      aliases: [pixel]
      operations: [image.generate, image.edit]
      limits: {maxImages: 4, maxReferences: 2, maxLoras: 1, mask: true, maxPixels: 4000000}
      quality:
        portrait: {score: 0.6, p25: 0.5, source: arena, asOf: 2026-07-10, votes: 321, estimated: true}
      released: 2026-01-02
      retires: 2027-01-02
      deployments:
        - provider: acme
          remote: acme/pixel-1
          region: eu
          price:
            formula: {unit: image, usd: 0.04}
            perReference: 0.01
            priority: {low: 0.5}
            estimated: true
            source: page
            asOf: 2026-07-01
          latency: {p50: 4, p95: 9}
          options: {steps: {fast: [1, 2]}}
          loras: [{path: "https://weights.test/acme", scale: 0.8}]
        - provider: local
          remote: pixel-1-dev
          operations: [image.generate]
          limits: {maxImages: 1}
"""


def test_a_model_carries_everything_that_was_written() -> None:
    hosted, local = catalog(FULL).deployments
    model = hosted.model
    assert hosted.id == "pixel-1@acme"
    assert local.model is model
    assert (model.vendor, model.aliases) == ("Acme", frozenset({"pixel"}))
    assert model.quality == {"portrait": Score(0.6, 0.5, "arena", date(2026, 7, 10), 321, True)}
    assert (model.released, model.retires) == (date(2026, 1, 2), date(2027, 1, 2))
    assert hosted.operations == {Operation.GENERATE, Operation.EDIT}
    assert hosted.limits == Limits(max_images=4, max_references=2, max_loras=1, mask=True, max_pixels=4_000_000)
    assert hosted.loras == (Lora("https://weights.test/acme", 0.8),)
    assert hosted.options == {"steps": {"fast": [1, 2]}}
    assert (hosted.p50, hosted.p95, hosted.region) == (4.0, 9.0, "eu")


def test_a_deployment_without_its_own_terms_has_the_models_and_a_slow_prior() -> None:
    hosted, local = catalog(FULL).deployments
    assert local.operations == {Operation.GENERATE}
    assert local.limits == Limits(max_images=1)
    assert (local.price, local.edit_price) == (None, None)
    assert (local.p50, local.p95) == (15.0, 45.0)
    assert hosted.price == Price(
        "image", (("image", 0, 0.04),), per_reference=0.01, priority={"low": 0.5}, estimated=True, source="page",
        as_of=date(2026, 7, 1),
    )  # fmt: skip
    assert hosted.edit_price is None


def test_what_no_wire_can_send_yet_is_kept_apart_and_lights_up_with_the_wire() -> None:
    both = FULL.replace("[image.generate, image.edit]", "[image.generate, image.edit, video.generate]")
    hosted, local = catalog(both, frozenset({Operation.GENERATE, Operation.EDIT})).deployments
    assert hosted.model.operations == {Operation.GENERATE, Operation.EDIT, Operation.VIDEO_GENERATE}
    assert (hosted.operations, hosted.unsendable) == (
        {Operation.GENERATE, Operation.EDIT}, {Operation.VIDEO_GENERATE}
    )  # fmt: skip
    assert (local.operations, local.unsendable) == ({Operation.GENERATE}, frozenset())
    assert Operation.VIDEO_GENERATE not in catalog(both, frozenset({Operation.GENERATE, Operation.EDIT})).by_operation
    lit = catalog(both)
    assert [one.id for one in lit.by_operation[Operation.VIDEO_GENERATE]] == [hosted.id]
    assert not any(one.unsendable for one in lit.deployments)


def test_a_provider_names_its_key_and_never_holds_it() -> None:
    providers = catalog(FULL).providers
    acme, local = providers["acme"], providers["local"]
    assert (acme.credential, acme.auth) == (Credential("acme-key", "ACME_KEY"), Auth("x-key", "Token"))
    assert (acme.concurrency, acme.trusted_hosts) == (4, ("*.acme.example",))
    assert (acme.connect_seconds, acme.attempt_seconds) == (2.0, 180.0)
    assert (local.credential, local.auth, local.base_url) == (Credential(), None, "http://vllm:8000")


@pytest.mark.parametrize(
    ("formula", "price"),
    [
        ("{unit: image, usd: 1}", Price("image", (("image", 0, 1.0),))),
        (
            "{unit: megapixel, first: 3, extra: 2, reference: 1}",
            Price("megapixel", (("first", 0, 3.0), ("extra", 0, 2.0)), reference_megapixel=1.0),
        ),
        (
            "{unit: size, usd: {2048x2048: 2, 9x9: 1, 1024x1024: 3}}",
            Price("size", (("9x9", 81, 1.0), ("1024x1024", 1024**2, 3.0), ("2048x2048", 2048**2, 2.0))),
        ),
        (
            '{unit: resolution, usd: {4K: 3, 512: 1}, default: "512"}',
            Price("resolution", (("512", 512**2, 1.0), ("4K", 4096**2, 3.0)), default="512"),
        ),
        ("{unit: second, usd: 2, default: 8}", Price("second", (("second", 0, 2.0),), seconds=8.0)),
        (
            "{unit: resolutionSecond, usd: {1080p: 2, 720p: 1}, default: 1080p, seconds: 8}",
            Price(
                "resolutionSecond",
                (("720p", 1280 * 720, 1.0), ("1080p", 1920 * 1080, 2.0)),
                default="1080p",
                seconds=8.0,
            ),
        ),
    ],
)
def test_a_price_table_is_sorted_by_pixels(formula: str, price: Price) -> None:
    model = f"""
    - id: m
      vendor: V
      operations: [image.edit]
      deployments:
        - {{provider: acme, remote: m, editPrice: {{formula: {formula}, source: page, asOf: 0001-01-01}}}}
"""
    (deployment,) = catalog(model).deployments
    assert deployment.price is None
    assert deployment.edit_price == replace(price, source="page")


@pytest.mark.parametrize(
    ("hosts", "ids"),
    [
        ([("p", "a", ""), ("q", "a", "")], ("m@p", "m@q")),
        ([("p", "a", "eu"), ("p", "a", "us"), ("q", "a", "eu")], ("m@p#eu", "m@p#us", "m@q")),
        ([("p", "a", "eu"), ("p", "b", "eu")], ("m@p#a", "m@p#b")),
        ([("p", "a", "eu"), ("p", "b", "")], ("m@p#a", "m@p#b")),
        ([("p", "a", "eu"), ("p", "b", "eu"), ("p", "a", "us")], ("m@p#eu/a", "m@p#eu/b", "m@p#us/a")),
    ],
)
def test_an_id_tells_what_a_deployment_is_and_not_where_it_stands(hosts: list[Host], ids: tuple[str, ...]) -> None:
    assert deployment_ids("m", hosts) == ids
    assert deployment_ids("m", hosts[::-1]) == ids[::-1]


TWO = """
    - id: pixel
      vendor: Acme
      operations: [image.generate]
      deployments: [{provider: acme, remote: shared, region: eu}, {provider: acme, remote: shared, region: us}]
    - id: other
      vendor: Acme
      aliases: [pixel, spot]
      operations: [image.generate, image.edit]
      deployments: [{provider: local, remote: pixel}, {provider: acme, remote: shared}]
"""


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("pixel@acme#us", ["pixel@acme#us"]),
        ("pixel@acme", ["pixel@acme#eu", "pixel@acme#us"]),
        ("pixel", ["pixel@acme#eu", "pixel@acme#us"]),
        ("spot", ["other@acme", "other@local"]),
        ("shared", ["other@acme", "pixel@acme#eu", "pixel@acme#us"]),
    ],
)
def test_a_name_means_the_nearest_thing_that_bears_it(name: str, ids: list[str]) -> None:
    assert [deployment.id for deployment in catalog(TWO).by_name[name]] == ids


def test_an_operation_lists_those_that_can_do_it() -> None:
    listed = catalog(TWO).by_operation
    assert [deployment.id for deployment in listed[Operation.EDIT]] == ["other@acme", "other@local"]
    assert len(listed[Operation.GENERATE]) == 4
    assert Operation.UPSCALE not in listed


def test_the_order_of_models_changes_nothing() -> None:
    first, second = TWO.split("    - id: other")
    turned = "    - id: other" + second + first
    assert catalog(turned) == catalog(TWO)
