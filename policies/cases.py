"""What a user may write to test policies: the document ``PolicyTest``, and the ``tests`` inside a RoutingPolicy.

A test is a request, what the world is to look like, and what is to come of it. Field descriptions are the user
documentation. ``load`` validates against these, ``suites`` checks the names, ``verify`` compares with a decision.

The keys of ``request`` are those of a line of recorded traffic (``proxy.traffic``), in camelCase as in every document:
the field names here are the keys there, and a test holds them to it.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from adapters.ir import Operation, Tier
from policies.decision import Code
from policies.document import ASPECT, SIZE, Document, Dollars, Glob, Metadata, Name, Seconds, Share, VideoResolution
from policies.price import FROM_WORDS

Few = Annotated[int, Field(ge=0, le=1_000)]
Text = Annotated[str, StringConstraints(min_length=1)]


def _listed(value: object) -> object:
    """One name stands for a list of one."""
    match value:
        case str():
            return (value,)
        case [*names] if names and all(isinstance(name, str) for name in names):
            return tuple(names)
        case _:
            raise PydanticCustomError("names", "must be a name or a list of names")


def _moment(value: object) -> datetime:
    """A date is its first moment, and what names no zone is UTC."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise PydanticCustomError("moment", "must be a date or a time such as 2026-12-01T09:30:00Z")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _refusal(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise PydanticCustomError("refusal", "must be true, false, or the message of the refusal")


def _outcome(value: object) -> object:
    if isinstance(value, bool):
        return value
    try:
        return _listed(value)
    except PydanticCustomError:
        message = "must be true or false, or the names that must not be among the candidates"
        raise PydanticCustomError("not_routed", message) from None


Names = Annotated[tuple[Glob, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])]


# ------------------------------------------------------------------------------------------------------------ a request


class Seen(Document):
    """What the classifier is taken to say, in place of a prompt."""

    task: Text
    confidence: Share
    runner_up: str = ""
    tasks: dict[str, Share] = Field(default={}, description="the plausible ones with their probability")
    language: str = ""
    tier: Tier | None = None


class Request(Document):
    """What is asked. An operation that makes pictures of words needs ``prompt``, or ``traits`` in its place."""

    operation: Operation = Operation.GENERATE
    prompt: str = ""
    negative_prompt: str = ""
    prompt_hash: str = Field(default="", description="of a recorded line: says nothing here")
    prompt_length: int = Field(default=0, ge=0, le=10_000_000, description="characters, beside traits")
    traits: Seen | None = None
    model: str = Field(default="", description="as the caller writes it")
    n: int = Field(default=1, ge=1, le=1_000)
    size: str | None = Field(default=None, pattern=SIZE)
    aspect: str | None = Field(default=None, pattern=ASPECT)
    resolution: Literal["512", "1K", "2K", "4K"] | VideoResolution | None = None
    duration: Seconds | None = None
    quality: Literal["low", "medium", "high"] | None = None
    format: Literal["png", "jpeg", "webp", "svg"] | None = None
    background: Literal["transparent", "opaque"] | None = None
    references: Few = 0
    style_references: Few = 0
    loras: Few = 0
    mask: bool = False
    tier: Tier | None = None
    max_cost: Dollars | None = None
    max_latency: Annotated[float, Field(ge=0)] | None = None
    pin: str = Field(default="", description="the x-muxel-model header")
    policy: str = ""
    session: str = ""
    session_model: str = Field(default="", description="that the session has settled on")
    priority: Literal["low", "normal", "high"] | None = None
    caller: str = ""
    headers: dict[str, str] = Field(default={})
    app: str = Field(default="", description="of a recorded line: says nothing here")
    weight: int = Field(default=1, ge=1, description="of a recorded line: says nothing here")

    @model_validator(mode="after")
    def _has_words(self) -> Self:
        if self.prompt and self.traits:
            raise PydanticCustomError("words", "has both a prompt and traits: they stand in each other's place")
        if not self.prompt and not self.traits and (self.operation in FROM_WORDS or self.prompt_hash):
            raise PydanticCustomError("words", "needs a prompt, or traits in its place")
        return self


# --------------------------------------------------------------------------------------------------------------- a test


class Live(Document):
    """What live traffic is taken to say of deployments."""

    available: bool = True
    p50: Seconds | None = None
    p95: Seconds | None = None
    success: Share | None = None


class Expect(Document):
    """What is to come of it; every key given must hold. A name may hold ``*`` and means a model by its id or an alias,
    or a deployment by ``model@provider``."""

    task: Names | None = None
    model: Names | None = Field(default=None, description="of the deployment that is tried first: one of these")
    provider: Names | None = Field(default=None, description="of the deployment that is tried first: one of these")
    tier: Tier | None = None
    rule: str | None = Field(default=None, description='the rule that applies, "" for none')
    max_cost_usd: Dollars | None = Field(default=None, description="for the whole request, at the first choice")
    min_cost_usd: Dollars | None = None
    refused: Annotated[bool | str, BeforeValidator(_refusal, json_schema_input_type=bool | str)] | None = Field(
        default=None, description="by a rule: whether, or with which message"
    )
    rejected: dict[Glob, Code] | None = Field(
        default=None, description="every deployment of that name that does the operation, with that code"
    )
    candidates: tuple[Glob, ...] | None = Field(
        default=None, min_length=1, description="the first ones in the order in which they are tried"
    )
    not_routed: (
        Annotated[
            bool | tuple[Glob, ...], BeforeValidator(_outcome, json_schema_input_type=bool | str | tuple[str, ...])
        ]
        | None
    ) = Field(
        default=None, description="true: nothing is eligible; or names, none of which is a candidate, however late"
    )

    @model_validator(mode="after")
    def _expects(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("nothing", "expects nothing: no policy could fail this test")
        return self


class Case(Document):
    """One test. Nothing is measured and every breaker is shut, but for what ``health`` and ``unavailable`` say."""

    name: Text
    request: Request
    policy: Name | None = Field(default=None, description="instead of the default one")
    at: Annotated[datetime, BeforeValidator(_moment, json_schema_input_type=str)] | None = Field(
        default=None, description="when it is; the time of the run where nothing is said"
    )
    health: dict[Glob, Live] = Field(default={}, description="by deployment")
    unavailable: tuple[Glob, ...] = Field(
        default=(), description="deployments whose breaker is open, to see what is next"
    )
    expect: Expect


class PolicyTestSpec(Document):
    tests: tuple[Case, ...] = Field(min_length=1)


class PolicyTest(Document):
    """Tests in a document of their own, of any policy. ``*.test.yaml`` is left alone by whoever only serves."""

    api_version: Literal["muxel.dev/v1alpha1"]
    kind: Literal["PolicyTest"]
    metadata: Metadata
    spec: PolicyTestSpec
