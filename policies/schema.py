"""Everything a user may write: the documents of ``apiVersion: muxel.dev/v1alpha1``, as pydantic models.

Field descriptions are the user documentation. ``load`` validates YAML against these and ``catalog``/``match`` compile
them; nothing else may depend on this module, so that the hot path never touches pydantic.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from adapters.ir import Operation, Tier
from policies.cases import Case, PolicyTest
from policies.document import (
    ASPECT,
    RATIO,
    TASK,
    Document,
    Dollars,
    Glob,
    Metadata,
    Name,
    Seconds,
    Share,
    Size,
    TimeOfDay,
)
from policies.supply import ModelCatalog, Provider

Phrase = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Objective = Literal["cheapest", "hybrid", "fastest", "best"]


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


class Window(Document):
    """A time of the week by the clocks of one zone, summer time and all: ``{days: [mon, fri], from: "08:00", to:
    "18:00", timeZone: Europe/Berlin}``. One that ends before it begins runs past midnight into the next day."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] | None = Field(
        default=None, min_length=1, description="the days on which it begins; every day if unsaid"
    )
    begins: TimeOfDay = Field(default="00:00", alias="from", description="the first minute of it")
    ends: TimeOfDay = Field(default="24:00", alias="to", description="the first minute after it")
    time_zone: str = Field(default="UTC", min_length=1, description="a name of the tz database, such as Europe/Berlin")


class Match(Document):
    """Every key given must hold; within a list one is enough. No key at all matches every request.

    Size and aspect are those of the picture asked for, be it in pixels or as aspect and resolution. A request that asks
    for neither matches no ``size``, no ``aspect`` and no bound on pixels."""

    operation: tuple[Operation, ...] | None = Field(default=None, description="what is to be done: image.edit, ...")
    task: tuple[str, ...] | None = Field(default=None, description="what the prompt is about, as the classifier has it")
    tier: tuple[Tier, ...] | None = Field(
        default=None,
        description="the tier known before any rule: the caller's, else that of the prompt's words, else the policy's",
    )
    caller: tuple[Glob, ...] | None = Field(
        default=None,
        description="names that may hold *: the x-muxel-caller header, which anybody can write, or else"
        " a digest of the caller's own key",
    )
    app: tuple[Glob, ...] | None = Field(
        default=None, description="names that may hold *: MUXEL_APP of a sidecar, else the x-muxel-app header"
    )
    namespace: tuple[Glob, ...] | None = Field(
        default=None,
        description="names that may hold *: MUXEL_NAMESPACE of a sidecar, which no header overrides, else"
        " the x-muxel-namespace header",
    )
    headers: dict[str, Glob] | None = Field(
        default=None, description="header name to a pattern for its value, which may hold *"
    )
    language: tuple[str, ...] | None = Field(
        default=None, description="of the prompt, as the classifier has it: en, de"
    )
    prompt: str | None = Field(
        default=None,
        description="a regular expression searched for in the first 32,000 characters of the prompt, case ignored. The"
        " syntax is RE2's, which takes no longer than the prompt is long: no lookaround and no backreference, and \\b,"
        " \\d and \\w know ASCII alone (\\pL is any letter)",
    )
    min_confidence: Share | None = Field(default=None, description="of the classifier in the task")
    max_confidence: Share | None = Field(default=None, description="of the classifier in the task")
    min_references: int | None = Field(default=None, ge=0, description="pictures given to work on or from")
    max_references: int | None = Field(default=None, ge=0, description="pictures given to work on or from")
    size: tuple[Size, ...] | None = Field(default=None, description="exactly this one: 1024x1536")
    aspect: tuple[Annotated[str, StringConstraints(pattern=ASPECT)], ...] | None = Field(
        default=None, description="a ratio such as 16:9, within two in a hundred; or wide, tall or square"
    )
    min_pixels: int | None = Field(default=None, ge=1, description="width times height")
    max_pixels: int | None = Field(default=None, ge=1, description="width times height")
    during: tuple[Window, ...] | None = Field(default=None, description="times of the week")


class Rewrite(Document):
    """What is done to the request before anything is chosen for it, so that prices and limits are those of what is
    sent. All but prefix and suffix are defaults: they apply where the caller, and its session, said nothing."""

    prompt_prefix: str = Field(default="", description="stands before every prompt, with the blank after it")
    prompt_suffix: str = Field(default="", description="stands after every prompt, with what parts it from it")
    negative_prompt: str = Field(default="", description="what is not wanted in the picture")
    size: Size | None = Field(default=None, description="where the caller named no size, no aspect and no resolution")
    aspect: Annotated[str, StringConstraints(pattern=RATIO)] | None = Field(
        default=None, description="such as 16:9, where the caller named no size and no aspect"
    )
    resolution: Literal["512", "1K", "2K", "4K"] | None = Field(
        default=None, description="where the caller named no size and no resolution"
    )
    duration: Seconds | None = Field(default=None, description="seconds of video; of no account for pictures")
    quality: Literal["low", "medium", "high"] | None = Field(
        default=None,
        description="what the provider is told, where its wire has such a field; which models are good"
        " enough is for the rule's tier to say",
    )
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1, description="the same one gives the same picture again")
    steps: int | None = Field(default=None, ge=1, le=1000, description="of the model's sampler, where it has one")
    guidance: float | None = Field(default=None, ge=0, le=100, description="how closely the model keeps to the prompt")
    format: Literal["png", "jpeg", "webp", "svg"] | None = Field(
        default=None, description="that the caller gets; svg leaves only the models that draw vectors"
    )
    compression: int | None = Field(default=None, ge=0, le=100, description="of JPEG and WebP: 100 is the best picture")
    background: Literal["transparent", "opaque"] | None = Field(
        default=None, description="transparent leaves only the deployments that can do it"
    )


class Rule(Document):
    """The first rule whose ``match`` and ``when`` both hold applies; its actions override the policy's."""

    name: Name = Field(description="that traces, answers and explanations call it by; one rule of a policy has it")
    match: Match = Field(default=Match(), description="which requests; all of them if unsaid")
    when: str | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="a condition in CEL, the Common Expression Language, for what match cannot say: true or false, made"
        " of request.operation, request.model, request.prompt (32,000 characters of it), request.prompt_length,"
        " request.width and request.height (0 where no size was asked for), request.n, request.references,"
        " request.masked, request.language, request.headers (a map; names in lower case), request.caller, request.app,"
        " request.namespace, traits.task, traits.confidence, traits.runner_up, traits.tasks (a map of shares), tier and"
        " now (a timestamp: now.getHours('Europe/Berlin')). It is checked when read and bounded when it runs. One that"
        " fails then, say for a header that is not there (ask first: 'x-a' in request.headers), does not hold, and"
        " the decision's notes and the metric muxel_rule_faults tell of it. Needs the extra cel, which the image has",
    )
    use: Selector | None = Field(
        default=None, description="only these, and without the quality floor: the operator knows"
    )
    require: Selector | None = Field(default=None, description="only these, floor and all")
    prefer: Selector | None = Field(default=None, description="these before all others where eligible")
    avoid: Selector | None = Field(default=None, description="none of these")
    tier: Tier | None = Field(default=None, description="where the caller named none")
    objective: Objective | None = Field(default=None, description="in place of the tier's and the policy's")
    ceilings: Ceilings | None = Field(
        default=None, description="beside the caller's and the policy's: the lowest holds"
    )
    session: Session | None = Field(default=None, description="in place of the policy's, whole")
    rewrite: Rewrite | None = Field(default=None, description="what is added to the request")
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


class Hold(Document):
    """When a canary is held: the candidate then gets nothing more until either policy changes. Outcomes are compared
    over the last ``windowSeconds``, in each replica by itself; a bound is broken only when chance does not explain it.
    null takes a bound away."""

    window_seconds: Seconds = 1800.0
    min_requests: int = Field(default=20, ge=1, description="nothing is judged on fewer, in either arm")
    max_error_rate: Share | None = Field(
        default=0.05, description="failures that are not the caller's; says nothing while the live policy is beyond it"
    )
    max_error_rate_rise: Share | None = Field(default=0.02, description="above the error rate of the live policy")
    max_refusal_rise: Share | None = Field(default=0.05, description="the same of refusals, by a rule or on content")
    max_cost_rise: float | None = Field(
        default=0.25,
        ge=0,
        description="share by which it costs more than the live policy would have for the same requests",
    )
    max_unknown_cost_rise: Share | None = Field(
        default=0.1,
        description="share of pictures whose cost is not known, above the live policy's: unknown is not free",
    )
    max_latency_rise: float | None = Field(
        default=0.5, ge=0, description="share by which it takes longer, measured against what the live policy would try"
    )


class Rollout(Document):
    """How another policy takes this one's place. ``shadow``: decided beside it and compared, nothing is bought.
    ``canary``: the candidate decides for some of the requests, and is held once it does worse."""

    candidate: Name = Field(description="a RoutingPolicy without a rollout of its own")
    mode: Literal["shadow", "canary"] = "shadow"
    percent: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="of the requests; without it all are shadowed, or those of ``callers`` alone. 0 pauses the rollout"
        " for all but these",
    )
    callers: tuple[Glob, ...] = Field(default=(), description="who takes part whatever the percent")
    sticky: Literal["caller", "session", "request"] = Field(
        default="caller",
        description="what stays on one side: all requests of a caller, or of a session, or each by itself. Who has no"
        " session goes by the caller, who has no name by the request",
    )
    named: bool = Field(
        default=False,
        description="requests that name this policy by x-muxel-policy take part too; otherwise they get what they name",
    )
    hold: Hold = Hold()


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
    rollout: Rollout | None = Field(default=None, description="another policy that is to take this one's place")
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
