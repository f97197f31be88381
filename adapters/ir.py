"""The canonical model: what every wire is translated to and from.

Knows the shape of a request, a result, an upstream call and the causes of failure. Used by every wire, by the policies
(the only module of this package they may import) and by the proxy. Must not know any provider, and does no IO.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from math import sqrt
from typing import Any, Self


class Operation(StrEnum):
    """What is to be done. A deployment declares which of these it can do."""

    GENERATE = "image.generate"
    EDIT = "image.edit"
    INPAINT = "image.inpaint"
    OUTPAINT = "image.outpaint"
    ERASE = "image.erase"
    REMOVE_BACKGROUND = "image.remove_background"
    REPLACE_BACKGROUND = "image.replace_background"
    UPSCALE = "image.upscale"
    RESTORE = "image.restore"
    RELIGHT = "image.relight"
    FACE_SWAP = "image.face_swap"
    VECTORIZE = "image.vectorize"
    VIDEO_GENERATE = "video.generate"
    VIDEO_FROM_IMAGE = "video.from_image"
    VIDEO_EDIT = "video.edit"
    VIDEO_EXTEND = "video.extend"
    VIDEO_UPSCALE = "video.upscale"
    MODEL3D_GENERATE = "model3d.generate"


class Tier(StrEnum):
    """How good the picture must be; a policy maps each tier to a quality floor."""

    DRAFT = "draft"
    STANDARD = "standard"
    PREMIUM = "premium"


class Delivery(StrEnum):
    """How the caller wants its pictures back."""

    B64 = "b64"
    URL = "url"
    DATA_URI = "data_uri"
    BYTES = "bytes"


# ------------------------------------------------------------------------------------------------- causes of failure


class Retry(Enum):
    NEVER = "never"
    AFTER = "after"  # once the time the upstream named has passed, if it fits the deadline
    BUDGETED = "budgeted"  # while the attempt budget lasts


class FallBack(Enum):
    NEVER = "never"
    ALWAYS = "always"
    OPT_IN = "opt_in"  # only where policy says so


class Vote(Enum):
    """What a failure tells the breaker of its deployment."""

    NEUTRAL = "neutral"
    FAILURE = "failure"
    CREDENTIAL = "credential"  # opens everything behind that credential
    COOL_DOWN = "cool_down"  # closed until the later of the deadlines seen


class Cause(Enum):
    """Why an attempt failed. The members carry the behaviour, so that no caller branches on which one it is.

    ``status`` is the HTTP status of the answer when this cause ends the request; a wire may have its own shape for it.
    """

    #            name           retry the same    fall back          breaker          may be billed  status
    INVALID = ("invalid", Retry.NEVER, FallBack.NEVER, Vote.NEUTRAL, False, 400)
    UNSUPPORTED = ("unsupported", Retry.NEVER, FallBack.ALWAYS, Vote.NEUTRAL, False, 400)
    REFUSED = ("refused", Retry.NEVER, FallBack.OPT_IN, Vote.NEUTRAL, True, 400)
    DENIED = ("denied", Retry.NEVER, FallBack.ALWAYS, Vote.CREDENTIAL, False, 502)
    THROTTLED = ("throttled", Retry.AFTER, FallBack.ALWAYS, Vote.COOL_DOWN, False, 429)
    UNAVAILABLE = ("unavailable", Retry.BUDGETED, FallBack.ALWAYS, Vote.FAILURE, True, 503)
    AMBIGUOUS = ("ambiguous", Retry.NEVER, FallBack.OPT_IN, Vote.FAILURE, True, 504)
    MALFORMED = ("malformed", Retry.NEVER, FallBack.ALWAYS, Vote.FAILURE, True, 502)
    EXPIRED = ("expired", Retry.NEVER, FallBack.NEVER, Vote.NEUTRAL, True, 404)
    CANCELED = ("canceled", Retry.NEVER, FallBack.NEVER, Vote.NEUTRAL, True, 499)

    def __init__(self, label: str, retry: Retry, fall_back: FallBack, vote: Vote, billed: bool, status: int) -> None:
        self.label = label
        self.retry = retry
        self.fall_back = fall_back
        self.vote = vote
        self.may_be_billed = billed
        self.status = status

    @property
    def caller_may_retry(self) -> bool:
        """Whether the caller's SDK may send the same request again without buying a picture twice."""
        return self.retry is not Retry.NEVER


class InvalidRequest(Exception):
    """The only thing ``read_request`` and its kin may raise: the caller's bytes are wrong, and in which field."""

    def __init__(self, field: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.status = status


class PassThrough(Exception):
    """What ``read_request`` may raise instead: a sound call of this wire that asks for no media work, such as a chat.
    It is handed to the wire's own provider as it is."""


# ------------------------------------------------------------------------------------------------------ the request

RESOLUTIONS = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}  # name -> edge of the square of the same area
# The same of video, whose names are the lines of a 16:9 picture.
VIDEO_RESOLUTIONS = {f"{lines}p": lines * 4 // 3 for lines in (360, 480, 540, 720, 768, 1080, 1440, 2160)}
EDGES = RESOLUTIONS | VIDEO_RESOLUTIONS


@dataclass(frozen=True, slots=True)
class Media:
    """One picture: its bytes, or where they are. Exactly one of ``data`` and ``url`` is set; ``mime`` may be empty."""

    data: bytes = field(default=b"", repr=False)
    url: str = field(default="", repr=False)
    mime: str = ""


@dataclass(frozen=True, slots=True)
class Margins:
    """How many pixels an outpaint adds at each side."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


@dataclass(frozen=True, slots=True)
class Lora:
    """A fine-tune laid over a model: where its weights are (a URL, or an id the host knows), and how strongly."""

    path: str = field(repr=False)
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a caller wants to be told of its job. ``events`` are in the words of its wire; empty means all of them."""

    url: str = field(repr=False)
    events: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)  # where the wire lets the caller bring one


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request asks of Muxel itself, from the ``x-muxel-*`` headers; empty or None is "as the policy says"."""

    tier: Tier | None = None
    max_cost: float | None = None  # dollars for the whole request
    max_latency: float | None = None  # seconds
    model: str = ""  # this model or nothing
    policy: str = ""
    session: str = ""
    priority: str = ""  # low | normal | high
    dry_run: bool = False
    caller: str = ""  # who calls, for rules and job ownership
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # lower-case names


@dataclass(frozen=True, slots=True)
class MediaRequest:
    """What the caller wants, whichever wire it came in on. Unset fields are empty or None, never a made-up default."""

    operation: Operation
    prompt: str = field(default="", repr=False)
    negative_prompt: str = field(default="", repr=False)
    model: str = ""  # as the caller wrote it
    n: int = 1
    size: tuple[int, int] | None = None  # width, height in pixels
    aspect: tuple[int, int] | None = None  # width : height, when no size was given
    resolution: str = ""  # a name of RESOLUTIONS, or of VIDEO_RESOLUTIONS, when no size was given
    duration: float | None = None  # seconds of video
    quality: str = ""  # low | medium | high
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None  # 0 keeps the reference, 1 ignores it
    references: tuple[Media, ...] = ()  # what is worked on comes first
    style_references: tuple[Media, ...] = ()  # only their look is wanted
    mask: Media | None = None  # 8-bit grey, white = change
    margins: Margins | None = None  # of an outpaint
    scale: float | None = None  # of an upscale: how many times longer each edge becomes
    loras: tuple[Lora, ...] = ()
    format: str = ""  # png | jpeg | webp | svg
    compression: int | None = None  # 0..100
    background: str = ""  # transparent | opaque
    delivery: Delivery = Delivery.B64
    stream: bool = False
    partials: int = 0  # how many partial pictures a streaming caller wants
    wait: float | None = None  # seconds an asynchronous caller blocks before it starts to poll; None: until done
    webhook: Webhook | None = None
    user: str = field(default="", repr=False)
    route: str = ""  # that it came in on, where its wire answers each in its own way
    extras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)  # by wire: fields only it has
    ask: Ask = field(default_factory=Ask)

    @property
    def pictures(self) -> tuple[Media, ...]:
        """Every picture given: the references, those for style, the mask."""
        return (*self.references, *self.style_references, *((self.mask,) if self.mask else ()))

    def with_pictures(self, pictures: Sequence[Media]) -> Self:
        """The same request with other pictures in the places of ``self.pictures``."""
        styles = len(self.references)
        mask = styles + len(self.style_references)
        return replace(
            self,
            references=tuple(pictures[:styles]),
            style_references=tuple(pictures[styles:mask]),
            mask=pictures[mask] if self.mask else None,
        )

    def dimensions(self) -> tuple[int, int] | None:
        """Width and height: the size asked for, or those of aspect and resolution; None if nothing was asked for.

        An aspect alone is taken to be of one megapixel, of a video 720p.
        """
        if self.size:
            return self.size
        if self.aspect is None and not self.resolution:
            return None
        width, height = self.aspect or (1, 1)
        usual = "720p" if self.operation.startswith("video.") else "1K"
        scale = EDGES.get(self.resolution or usual, 1024) / sqrt(width * height)
        return round(width * scale), round(height * scale)


# ------------------------------------------------------------------------------------------------------- the results


@dataclass(frozen=True, slots=True)
class Artifact:
    """One finished picture. The proxy fills in ``media.data`` and the real size before a wire writes its reply."""

    media: Media
    width: int = 0
    height: int = 0
    seed: int | None = None
    revised_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the upstream said it used. None is "not said", never zero."""

    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class MediaResult:
    """What a client face writes its reply from."""

    artifacts: tuple[Artifact, ...]
    id: str = ""
    model: str = ""  # the catalog's name of the model that made it
    created: float = 0.0  # seconds since the epoch
    usage: Usage = Usage()
    text: str = ""  # words the model said beside its pictures


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the request as a whole failed, for the caller. ``field`` names the caller's field where one is to blame."""

    cause: Cause
    message: str
    field: str = ""
    status: int = 0  # overrides cause.status where it is not 0
    retry_after: float | None = None  # seconds
    code: str = ""  # Muxel's own code where it has one: no_deployment, body_too_large, ...
    id: str = ""

    @property
    def http_status(self) -> int:
        return self.status or self.cause.status


@dataclass(frozen=True, slots=True)
class Partial:
    """A picture on its way, for a streaming caller."""

    artifact: Artifact
    index: int = 0


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work a caller polls. ``id`` is sealed and safe to put in a URL; ``base_url`` is the mount it called.

    ``route`` is the name of the route that is answered: some wires shape the answer to a submit, a look at the status
    and a fetch of the result each in its own way. Empty in a webhook.
    """

    id: str
    state: JobState
    base_url: str
    model: str = ""  # as the caller named it
    created: float = 0.0
    finished: float = 0.0
    input: Mapping[str, Any] = field(default_factory=dict, repr=False)  # echoed where the wire echoes
    result: MediaResult | None = None
    failure: Failure | None = None
    route: str = ""
    params: Mapping[str, str] = field(default_factory=dict)  # of that route
    accept: str = ""  # the Accept header of that call


@dataclass(frozen=True, slots=True)
class Upload:
    """A file a caller stored with us, to be named in a later request."""

    id: str
    url: str
    media: Media
    name: str = ""
    created: float = 0.0


# --------------------------------------------------------------------------------------------- calls, ours and theirs


class Action(Enum):
    """What a client route does; the proxy has one handler for each."""

    CREATE = "create"  # answered with the pictures
    SUBMIT = "submit"  # answered with a job
    POLL = "poll"
    WATCH = "watch"  # a poll that is answered with events until the job ends
    CANCEL = "cancel"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    DESCRIBE = "describe"  # answered by the wire alone, the same every time
    SECRET = "secret"  # the key by which this caller verifies webhooks
    PASS = "pass"  # handed to the wire's own provider as it is


@dataclass(frozen=True, slots=True)
class Route:
    """One client path below a wire's mounts, in aiohttp's pattern syntax."""

    method: str
    path: str
    action: Action
    name: str = ""  # told to read_request in ClientCall.route


@dataclass(frozen=True, slots=True)
class ClientCall:
    """An HTTP request from a caller. Header names are lower case; ``base_url`` is the mount as the caller sees it."""

    method: str
    route: str
    params: Mapping[str, str]  # from the path pattern
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    base_url: str = ""
    ask: Ask = field(default_factory=Ask)  # read_request hands it on
    version: str = ""  # the API version in the mount: "/v1"
    path: str = field(default="", repr=False)  # below the mount, as it was sent, with its query


@dataclass(frozen=True, slots=True)
class ClientReply:
    """What a caller is answered. Content-Length and tracing headers are the proxy's."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """What a caller's webhook is sent by POST, signed."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """The deployment a provider face writes for: base URL without a trailing slash, remote id, the wire's options."""

    base_url: str
    remote: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """An HTTP request to a provider, without credentials: the proxy signs it.

    ``dropped`` names the canonical fields (or ``wire.field`` for another wire's extras) that this provider cannot
    carry; ``media`` counts the pictures carried (``MediaRequest.pictures``), checked by the proxy against the request.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    dropped: tuple[str, ...] = ()
    media: int = 0
    stream: bool = False  # the reply is an event stream, for read_event


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A provider's whole HTTP answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Done:
    artifacts: tuple[Artifact, ...]
    usage: Usage = Usage()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """Accepted, not finished. ``handle`` is JSON and all that ``poll`` needs; ``after`` is seconds until the next poll.

    An empty ``handle`` is the answer to a poll and means: the one we had. ``usage`` is what the acceptance already said
    of the cost; it stands until ``Done.usage`` says more.
    """

    handle: Mapping[str, Any] = field(repr=False)
    after: float = 1.0
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Failed:
    """``over`` says that the job itself has failed, not just this look at it: polling again is of no use."""

    cause: Cause
    message: str
    retry_after: float | None = None  # seconds
    code: str = ""  # the provider's own code
    over: bool = True


Step = Done | Pending | Failed


@dataclass(frozen=True, slots=True)
class Auth:
    """Where a wire's credential goes: a header and what stands before the key in it. The key of the scheme ``Basic`` is
    user:password."""

    header: str
    scheme: str = ""
