"""What there is to choose from, as users write it: the documents ModelCatalog and Provider, as pydantic models.

Field descriptions are the user documentation. ``schema`` has them beside all other kinds; what reads or writes catalogs
(``check``, ``compile``, ``refresh`` and what these call) builds on them. Nothing on the hot path may depend on this
module.
"""

from datetime import date
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from adapters.ir import Operation
from policies.catalog import Cloud, PassThrough
from policies.document import URL, Document, Dollars, Glob, Metadata, Name, Seconds, Share, Size, VideoResolution

# -------------------------------------------------------------------------------------------------------- ModelCatalog


class PerImage(Document):
    """One price a picture."""

    unit: Literal["image"]
    usd: Dollars


class PerMegapixel(Document):
    """``first`` for the first started megapixel, ``extra`` for each further one; ``reference`` a megapixel of input."""

    unit: Literal["megapixel"]
    first: Dollars
    extra: Dollars
    reference: Dollars = 0.0


class PerSize(Document):
    """A price for each size in the provider's table; a size between two is priced as the next larger one."""

    unit: Literal["size"]
    usd: dict[Size, Dollars] = Field(min_length=1)


class PerResolution(Document):
    """A price for each resolution class; without one asked for, ``default`` is charged."""

    unit: Literal["resolution"]
    usd: dict[Literal["512", "1K", "2K", "4K"], Dollars] = Field(min_length=1)
    default: Literal["512", "1K", "2K", "4K"] = "1K"


class PerSecond(Document):
    """A price for each second of video; without a length asked for, ``default`` seconds are charged."""

    unit: Literal["second"]
    usd: Dollars
    default: Seconds = 5.0


class PerResolutionSecond(Document):
    """A price for each second of video by its resolution; without one asked for, ``default`` is charged, and without a
    length ``seconds``."""

    unit: Literal["resolutionSecond"]
    usd: dict[VideoResolution, Dollars] = Field(min_length=1)
    default: VideoResolution = "720p"
    seconds: Seconds = 5.0


class Price(Document):
    """What one call costs. No price block at all means unknown, which is never taken for free."""

    formula: PerImage | PerMegapixel | PerSize | PerResolution | PerSecond | PerResolutionSecond = Field(
        discriminator="unit"
    )
    per_reference: Dollars = Field(default=0.0, description="added for each reference picture")
    priority: dict[Literal["low", "high"], Dollars] = Field(
        default={}, description="times the price for a request of that priority, where this host sells one: {low: 0.5}"
    )
    estimated: bool = Field(default=False, description="sources disagree, or a figure had to be derived")
    source: str = Field(min_length=1)
    as_of: date


class Latency(Document):
    """Seconds from request to picture, until live measurements take over."""

    p50: Seconds
    p95: Seconds
    source: str = ""
    as_of: date | None = None


class Score(Document):
    """Quality for one task, 0..1: the chance to win against the fixed reference; ``p25`` is its lower quartile."""

    score: Share
    p25: Share
    source: str = Field(min_length=1)
    as_of: date
    votes: int | None = Field(default=None, ge=0)
    estimated: bool = Field(default=False, description="derived from related categories")


class Limits(Document):
    """What a model or a deployment can take. A request beyond a limit makes it ineligible, never silently altered."""

    max_images: int = Field(default=1, ge=1, description="pictures one upstream call can make; more are fanned out")
    min_references: int = Field(default=0, ge=0, description="pictures without which there is nothing to work on")
    max_references: int = Field(default=0, ge=0)
    max_style_references: int = Field(default=0, ge=0, description="pictures of which only the look is taken")
    max_loras: int = Field(default=0, ge=0)
    mask: bool = False
    vector: bool = Field(default=False, description="makes SVG, and nothing else")
    transparent: bool = False
    max_prompt: int | None = Field(default=None, ge=1, description="characters")
    min_edge: int = Field(default=1, ge=1)
    max_edge: int = Field(default=16_384, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)
    max_aspect: float = Field(default=100.0, ge=1, description="longest edge over shortest")
    min_seconds: float = Field(default=0.0, ge=0, description="of video")
    max_seconds: Seconds | None = None


class Lora(Document):
    """A fine-tune: where its weights are, and how strongly they are laid over the model."""

    path: str = Field(min_length=1, description="a URL, or an id the host knows")
    scale: float = 1.0


class Deployment(Document):
    """One model at one provider."""

    provider: Name
    remote: str = Field(min_length=1, description="the model's id at that provider")
    operations: tuple[Operation, ...] | None = Field(
        None, description="fewer than the model's, where this host has fewer"
    )
    price: Price | None = None
    edit_price: Price | None = Field(default=None, description="where work on given pictures is priced apart")
    latency: Latency | None = None
    limits: Limits | None = Field(default=None, description="replaces the model's limits whole")
    options: dict[str, Any] = Field(default={}, description="how this deployment is spoken to; the keys are its wire's")
    loras: tuple[Lora, ...] = Field(
        default=(),
        description="laid over the model in every call: a house style. Give it a model entry of its own and a rule that"
        " sends it what is the brand's: {match: {caller: [acme-*]}, use: {models: [acme-style]}}. While that entry has"
        " no quality nothing else goes there: what has no score clears no floor",
    )
    region: str = ""


class Model(Document):
    """What makes the picture: what it can do and how well, wherever it is hosted."""

    id: Name
    vendor: str = Field(min_length=1)
    aliases: tuple[str, ...] = Field(default=(), description="other names callers know it by")
    operations: tuple[Operation, ...] = Field(
        min_length=1, description="one that no wire can send yet is listed, and asked for once a wire can"
    )
    limits: Limits = Limits()
    quality: dict[str, Score] = Field(
        default={}, description="by task; 'general' stands in for a task that is not listed"
    )
    released: date | None = None
    retires: date | None = Field(default=None, description="not eligible from this date on")
    deployments: tuple[Deployment, ...] = Field(min_length=1)


class CatalogSpec(Document):
    models: tuple[Model, ...] = Field(min_length=1)


class ModelCatalog(Document):
    api_version: Literal["muxel.dev/v1alpha1"]
    kind: Literal["ModelCatalog"]
    metadata: Metadata
    spec: CatalogSpec


# ------------------------------------------------------------------------------------------------------------ Provider


def _or_none(schema: dict[str, Any]) -> None:
    form = {**schema, "minProperties": 1}
    description = form.pop("description")
    schema.clear()
    schema.update(description=description, anyOf=[{"const": "none"}, form])


class KeyRef(Document):
    """Where the key is found, never the key: ``file``, ``env`` or ``cloud``, of which the first that is there wins.
    ``none``: no key."""

    model_config = ConfigDict(json_schema_extra=_or_none)

    file: str = Field(default="", min_length=1, description="in the credentials directory, re-read when it changes")
    env: str = Field(default="", min_length=1, description="a variable of the environment, read at start")
    cloud: Cloud | None = Field(
        default=None, description="as the cloud's own libraries find it: workload identity, ..."
    )
    region: str = Field(default="", min_length=1, description="AWS: the region that is signed for")
    service: str = Field(default="", min_length=1, description="AWS: the service that is signed for; bedrock if unsaid")

    @model_validator(mode="before")
    @classmethod
    def _one_of_its_forms(cls, value: object) -> object:
        """Refuses everything else with one message that does not repeat it: it may be a key."""
        match value:
            case "none":
                return {}
            case {"cloud": "aws", **rest} if "region" not in rest:
                raise PydanticCustomError("credential", "cloud aws needs a region")
            case {"file": _} | {"env": _} | {"cloud": _}:
                return value
            case _:
                raise PydanticCustomError(
                    "credential",
                    "must be {file: name}, {env: NAME}, {cloud: aws, region: NAME}, {cloud: google}, "
                    "several of them in one, or none; a key itself never stands here",
                )


class AuthHeader(Document):
    """Where the key goes, if it is not where the wire has it."""

    header: str = Field(min_length=1)
    scheme: str = ""


class Timeouts(Document):
    connect_seconds: Seconds = 5.0
    attempt_seconds: Seconds = 180.0


class ProviderSpec(Document):
    wire: str = Field(min_length=1)
    base_url: str = Field(pattern=URL)
    credential: KeyRef
    auth: AuthHeader | None = None
    concurrency: int | None = Field(default=None, ge=1, description="calls in flight at once")
    trusted_hosts: tuple[Glob, ...] = Field(
        (), description="other hosts of this provider that may see the key: poll URLs"
    )
    pass_through: PassThrough = Field(
        PassThrough.NONE,
        description="calls of the wire that ask for no media work are handed on here, with the caller's key or ours",
    )
    timeouts: Timeouts = Timeouts()


class Provider(Document):
    api_version: Literal["muxel.dev/v1alpha1"]
    kind: Literal["Provider"]
    metadata: Metadata
    spec: ProviderSpec
