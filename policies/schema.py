"""Everything a user may write: the documents of ``apiVersion: muxel.dev/v1alpha1``, as pydantic models.

Field descriptions are the user documentation. ``load`` validates YAML against these and ``catalog``/``match`` compile
them; nothing else may depend on this module, so that the hot path never touches pydantic.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from adapters.ir import Operation, Tier
from policies.cases import Case, PolicyTest
from policies.catalog import Cloud, PassThrough
from policies.document import SIZE, TASK, URL, Document, Dollars, Glob, Metadata, Name, Seconds, Share, VideoResolution

Phrase = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Objective = Literal["cheapest", "hybrid", "fastest", "best"]


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
    usd: dict[Annotated[str, StringConstraints(pattern=SIZE)], Dollars] = Field(min_length=1)


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


class KeyRef(Document):
    """Where the key is found, never the key: ``file``, ``env`` or ``cloud``, of which the first that is there wins.
    ``none``: no key."""

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


# ------------------------------------------------------------------------------------------------------- RoutingPolicy


class TierSpec(Document):
    """``floor`` is compared with the lower quartile of a model's score for the task."""

    floor: Share
    objective: Objective | None = None


class Tiers(Document):
    draft: TierSpec = TierSpec(floor=0.2)
    standard: TierSpec = TierSpec(floor=0.35)
    premium: TierSpec = TierSpec(floor=0.5)


class Weights(Document):
    """What ``hybrid`` weighs; the shares need not add up to one."""

    quality: float = Field(default=0.4, ge=0)
    cost: float = Field(default=0.35, ge=0)
    latency: float = Field(default=0.15, ge=0)
    reliability: float = Field(default=0.1, ge=0)


class SpeedPremium(Document):
    """``cheapest`` may pay this share more for a candidate that meets the latency asked for."""

    max_extra: float = Field(default=0.25, ge=0)


class Ceilings(Document):
    cost_usd: Dollars | None = None
    latency_seconds: Seconds | None = None


class Doubt(Document):
    """Below ``minConfidence`` a candidate must clear the floor of every plausible task, or that of the next tier up;
    or the likeliest task is taken for certain."""

    min_confidence: Share = 0.6
    action: Literal["everyPlausibleTask", "saferTier", "ignore"] = "everyPlausibleTask"


class Session(Document):
    """What keeps the frames of a storyboard alike: requests with the same ``x-muxel-session``, which is a name of the
    caller's or the token it was given. A name alone keeps its model as long as that is about as good as the best."""

    consistency: Literal["model", "reference", "none"] = Field(
        default="model",
        description="the model of the first frame while it is eligible, and then another one (model), or another one"
        " that takes reference pictures (reference); none: sessions are ignored",
    )
    tolerance: float = Field(
        default=0.1, ge=0, description="share by which a model may be worse than the best and still be a name's choice"
    )
    token: bool = Field(
        default=False,
        description="answer with a sealed x-muxel-session for the caller to send next: it holds the model whatever the"
        " prices, and brings back seed, rewrite and style references where a request has none of its own",
    )


class Selector(Document):
    """Which deployments; empty lists select nothing. A name may hold ``*``; one of any list is enough."""

    models: tuple[Glob, ...] = ()
    providers: tuple[Glob, ...] = ()
    vendors: tuple[Glob, ...] = ()
    regions: tuple[Glob, ...] = ()


class Match(Document):
    """Every key given must hold; within a list one is enough. No key at all matches every request."""

    operation: tuple[Operation, ...] | None = None
    task: tuple[str, ...] | None = None
    tier: tuple[Tier, ...] | None = None
    caller: tuple[Glob, ...] | None = None
    headers: dict[str, Glob] | None = Field(default=None, description="header name to a pattern for its value")
    language: tuple[str, ...] | None = None
    prompt: str | None = Field(
        default=None, description="a regular expression searched for in the prompt, case ignored"
    )
    min_confidence: Share | None = None
    max_confidence: Share | None = None
    min_references: int | None = Field(default=None, ge=0)
    min_pixels: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)


class Rewrite(Document):
    """What is added to the prompt before it is sent."""

    prompt_prefix: str = ""
    prompt_suffix: str = ""
    negative_prompt: str = Field(default="", description="where the caller gave none")


class Rule(Document):
    """The first rule whose ``match`` holds applies; its actions override the policy's."""

    name: Name
    match: Match = Match()
    use: Selector | None = Field(
        default=None, description="only these, and without the quality floor: the operator knows"
    )
    require: Selector | None = Field(default=None, description="only these, floor and all")
    prefer: Selector | None = Field(default=None, description="these before all others where eligible")
    avoid: Selector | None = Field(default=None, description="none of these")
    tier: Tier | None = None
    objective: Objective | None = None
    ceilings: Ceilings | None = None
    session: Session | None = Field(default=None, description="in place of the policy's, whole")
    rewrite: Rewrite | None = None
    refuse: str | None = Field(default=None, description="answer the caller with this message and spend nothing")
    mark: str | None = Field(default=None, description="a label for trace and audit")


class Attempts(Document):
    """One budget over the whole chain of retries and fallbacks."""

    max: int = Field(default=4, ge=1, le=20)
    per_deployment: int = Field(default=2, ge=1, le=10)
    deadline_seconds: Seconds = 300.0
    backoff_seconds: Seconds = 0.5
    max_retry_after_seconds: float = Field(default=20.0, ge=0)


class FallBackSpec(Document):
    """After which failures another deployment may be tried where money or policy is at stake."""

    refused: bool = Field(
        default=False, description="a refusal on content: off, or an outage rule becomes a way around safety"
    )
    ambiguous: bool = Field(default=False, description="sent and not answered: the first purchase may be billed")
    failed_job: bool = Field(default=True, description="an accepted job that failed: another one is a new purchase")


class Breaker(Document):
    failure_rate: Share = 0.5
    min_calls: int = Field(default=5, ge=1)
    window_seconds: Seconds = 60.0
    open_seconds: Seconds = 30.0
    half_open_trials: int = Field(default=2, ge=1)
    slow_seconds: Seconds | None = Field(default=None, description="a slower success votes as a failure")


class Resilience(Document):
    attempts: Attempts = Attempts()
    fall_back: FallBackSpec = FallBackSpec()
    breaker: Breaker = Breaker()


class Output(Document):
    """``exact`` brings the picture to the size the caller named; ``asIs`` hands on what the provider made."""

    fit: Literal["exact", "asIs"] = "exact"


class PolicySpec(Document):
    model_field: Literal["pin", "prefer", "ignore"] = Field(
        default="ignore", description="what the caller's model name means; 'auto' is always routed"
    )
    objective: Objective = "cheapest"
    weights: Weights = Weights()
    speed_premium: SpeedPremium = SpeedPremium()
    tiers: Tiers = Tiers()
    default_tier: Tier = Tier.STANDARD
    ceilings: Ceilings = Ceilings()
    on_doubt: Doubt = Doubt()
    session: Session = Session()
    allow: Selector | None = None
    deny: Selector | None = None
    rules: tuple[Rule, ...] = ()
    resilience: Resilience = Resilience()
    output: Output = Output()
    tests: tuple[Case, ...] = Field(default=(), description="of this policy, for `muxel test`; nothing at run time")


class RoutingPolicy(Document):
    api_version: Literal["muxel.dev/v1alpha1"]
    kind: Literal["RoutingPolicy"]
    metadata: Metadata
    spec: PolicySpec = PolicySpec()


# --------------------------------------------------------------------------------------------------------- TaskLexicon


class TaskPhrases(Document):
    """A task of one's own, or more phrases for one that is shipped. Policies and the ``quality`` of models may name it
    like any other; where a model has no quality for it, its ``general`` one counts."""

    group: Literal["image", "edit", "video"] | None = Field(
        default=None, description="among which operations' tasks it is; required for a task of one's own"
    )
    phrases: dict[Annotated[float, Field(ge=-5, le=5)], tuple[Phrase, ...]] = Field(
        min_length=1,
        description="what speaks for it, by weight: 5 names the task outright, 3 says it plainly, 1 hints, below 0 is"
        " against it. Case, accents and a final s do not matter; the longest phrase at a place wins; each counts once",
    )


class TaskLexiconSpec(Document):
    tasks: dict[Annotated[str, StringConstraints(pattern=TASK, max_length=63)], TaskPhrases] = Field(min_length=1)


class TaskLexicon(Document):
    """Adds to what the classifier listens for. Several may be in force; each task may stand in one of them."""

    api_version: Literal["muxel.dev/v1alpha1"]
    kind: Literal["TaskLexicon"]
    metadata: Metadata
    spec: TaskLexiconSpec


KINDS: dict[str, type[RoutingPolicy] | type[ModelCatalog] | type[Provider] | type[TaskLexicon] | type[PolicyTest]] = {
    "RoutingPolicy": RoutingPolicy,
    "ModelCatalog": ModelCatalog,
    "Provider": Provider,
    "TaskLexicon": TaskLexicon,
    "PolicyTest": PolicyTest,
}
