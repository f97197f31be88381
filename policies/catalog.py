"""The compiled catalog: models, their deployments and providers as plain values for the hot path.

``compile`` builds it from validated documents; ``decide``, ``rank`` and the proxy read it. Knows no YAML or pydantic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from adapters.ir import Auth, Lora, Operation


@dataclass(frozen=True, slots=True)
class Score:
    """Quality for one task, 0..1: the chance to win against the fixed reference."""

    score: float
    p25: float
    source: str
    as_of: date
    votes: int | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    max_images: int = 1
    min_references: int = 0
    max_references: int = 0
    max_style_references: int = 0
    max_loras: int = 0
    mask: bool = False
    vector: bool = False
    transparent: bool = False
    max_prompt: int | None = None
    min_edge: int = 1
    max_edge: int = 16_384
    max_pixels: int | None = None
    max_aspect: float = 100.0
    min_seconds: float = 0.0
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """One formula. ``table`` is sorted by pixels for units that know sizes; ``price.price`` reads it."""

    unit: str  # image | megapixel | size | resolution | second | resolutionSecond
    table: tuple[tuple[str, int, float], ...]  # (name, pixels, usd); for megapixel: first and extra
    reference_megapixel: float = 0.0
    per_reference: float = 0.0
    default: str = ""  # the resolution charged where none is asked for
    seconds: float = 0.0  # the length of video charged where none is asked for
    priority: Mapping[str, float] = field(default_factory=dict)  # times the price; what is not listed is once
    estimated: bool = False
    source: str = ""
    as_of: date = date.min


@dataclass(frozen=True, slots=True)
class Model:
    id: str
    vendor: str
    aliases: frozenset[str]
    operations: frozenset[Operation]
    quality: Mapping[str, Score]  # by task
    released: date | None
    retires: date | None

    def quality_for(self, task: str) -> Score | None:
        """The score for a task, or the general one where the task was never measured; None: not known at all."""
        return self.quality.get(task) or self.quality.get("general")


class PassThrough(StrEnum):
    """Whose key a call carries that is handed to a provider as it is."""

    NONE = "none"  # such calls are refused
    CALLERS_KEY = "callersKey"
    OWN_KEY = "ownKey"  # whoever reaches Muxel spends it


class Cloud(StrEnum):
    """Whose own ways a key is found by: environment, files, workload identity, the metadata service."""

    AWS = "aws"
    GOOGLE = "google"


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a key is found; never the key. All empty: none is needed."""

    file: str = ""  # in the credentials directory; wins where it holds a key
    env: str = ""
    cloud: Cloud | None = None  # where neither of the two is there
    region: str = ""  # AWS: what the signature is for
    service: str = ""  # AWS; empty means bedrock

    @property
    def needed(self) -> bool:
        return bool(self.file or self.env or self.cloud)


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    wire: str
    base_url: str
    credential: Credential
    auth: Auth | None  # None: as the wire has it
    concurrency: int | None
    trusted_hosts: tuple[str, ...]
    connect_seconds: float
    attempt_seconds: float
    pass_through: PassThrough = PassThrough.NONE


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model at one provider. ``id`` is unique in a catalog: ``model@provider``, and where a provider has the model
    more than once ``#`` and what tells them apart (``compile.deployment_ids``)."""

    id: str
    model: Model
    provider: Provider
    remote: str
    operations: frozenset[Operation]
    price: Price | None
    edit_price: Price | None
    p50: float  # seconds, prior
    p95: float
    limits: Limits
    options: Mapping[str, Any]
    region: str = ""
    loras: tuple[Lora, ...] = ()  # laid over the model in every call
    unsendable: frozenset[Operation] = frozenset()  # what it does beside its operations, and no wire can ask for yet


@dataclass(frozen=True, slots=True)
class Catalog:
    """``by_name`` holds what a caller may mean by a model name: ``model@provider``, an id, an alias, a remote id. The
    kinds of names go in this order: an alias or remote id that is also a model's id means that model alone."""

    deployments: tuple[Deployment, ...]
    models: Mapping[str, Model]
    providers: Mapping[str, Provider]
    by_operation: Mapping[Operation, tuple[Deployment, ...]]
    by_name: Mapping[str, tuple[Deployment, ...]]
