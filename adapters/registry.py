"""The explicit table of wires: which files there are and which faces each one has.

The proxy mounts client faces and sends through provider faces from here; ``muxel wires`` prints it. A new wire is one
file and one line in ``WIRES``. The protocols below are what mypy holds each line to; a wire has only the faces named.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from adapters import ark, bedrock, comfyui, recraft, stability, together, xai
from adapters.a1111 import client as a1111_client
from adapters.a1111 import provider as a1111_provider
from adapters.bfl import client as bfl_client
from adapters.bfl import provider as bfl_provider
from adapters.dashscope import client as dashscope_client
from adapters.dashscope import provider as dashscope_provider
from adapters.fal import client as fal_client
from adapters.fal import provider as fal_provider
from adapters.gemini import client as gemini_client
from adapters.gemini import provider as gemini_provider
from adapters.ideogram import client as ideogram_client
from adapters.ideogram import provider as ideogram_provider
from adapters.interactions import client as interactions_client
from adapters.interactions import provider as interactions_provider
from adapters.ir import (
    Auth,
    ClientCall,
    ClientReply,
    Done,
    Failed,
    Failure,
    Job,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Partial,
    Route,
    Step,
    Target,
    Upload,
    UpstreamCall,
    UpstreamReply,
    Webhook,
    WebhookCall,
)
from adapters.openai_images import client as openai_images_client
from adapters.openai_images import provider as openai_images_provider
from adapters.replicate import client as replicate_client
from adapters.replicate import provider as replicate_provider


class ClientFace(Protocol):
    """What we serve to a caller."""

    PREFIX: str  # the wire's own path prefix on our port: "/openai"
    VERSIONS: tuple[str, ...]  # what SDKs put between prefix and route, each served: ("/v1", "")
    ALIASES: tuple[str, ...]  # further mounts, from the root: ("/v1",)
    ROUTES: tuple[Route, ...]
    CLIENT_OPERATIONS: frozenset[Operation]

    def read_request(self, call: ClientCall) -> MediaRequest:
        """Raises InvalidRequest for bytes that are not a request of this wire, PassThrough for one that asks for no
        media work, and nothing else."""

    def write_reply(self, result: MediaResult, request: MediaRequest) -> ClientReply: ...
    def write_error(self, failure: Failure, request: MediaRequest | None) -> ClientReply: ...


class JobFace(Protocol):
    """A client face whose callers submit and poll."""

    def read_id(self, call: ClientCall) -> str:
        """Raises InvalidRequest, and PassThrough for an id that the provider gave to a call handed on to it."""

    def write_job(self, job: Job) -> ClientReply:
        """The answer to the submit, to a poll and to a cancel, whatever state the job is in."""


class WatchFace(Protocol):
    """A client face whose callers can watch a job by an event stream."""

    def write_status(self, job: Job) -> bytes:
        """One complete event. The last one is that of a job that has ended."""


class WebhookFace(Protocol):
    """A client face whose callers can be told of their jobs."""

    def write_webhook(self, job: Job, hook: Webhook, secret: bytes, now: float) -> WebhookCall | None:
        """The signed message; None: of this state the caller is not to be told. ``secret`` is 32 bytes of Muxel's own
        for this caller."""


class SecretFace(Protocol):
    """A client face whose callers can ask for the key to verify webhooks with."""

    def write_secret(self, secret: bytes) -> ClientReply: ...


class EventFace(Protocol):
    """A client face whose callers can ask for an event stream."""

    def write_event(self, event: Partial | MediaResult | Failure, request: MediaRequest) -> bytes: ...


class FileFace(Protocol):
    """A client face whose callers store files with us first."""

    def read_upload(self, call: ClientCall) -> tuple[Media, str]:
        """The file and its name. Raises InvalidRequest."""

    def write_upload_reply(self, upload: Upload) -> ClientReply: ...


class DescribeFace(Protocol):
    """A client face whose SDK asks about models before or after it uses them."""

    def describe(self, call: ClientCall) -> ClientReply: ...


class ProxiedFace(Protocol):
    """A client face whose SDK cannot change its base URL, and reaches us by the name of the real host or as a proxy."""

    PROXY_HEADER: str  # names the real URL, where we are called as a proxy

    def proxy_path(self, url: str) -> str | None:
        """Our path, with the query, for a URL of the real API; None: it is none."""

    def pass_url(self, base_url: str, path: str) -> str:
        """The URL of the real API for a path below our mount, where a provider has this base URL."""


class ProviderFace(Protocol):
    """What we send to an upstream."""

    AUTH: Auth
    PROVIDER_OPERATIONS: frozenset[Operation]
    OPTIONS: frozenset[str]  # the keys a deployment of this wire may set in the catalog
    TAKES_URLS: bool  # input pictures may be named by a URL the provider fetches; else the proxy fetches them first

    def write_request(self, request: MediaRequest, target: Target) -> UpstreamCall: ...
    def read_reply(self, reply: UpstreamReply) -> Step:
        """Total: whatever the provider sent is a step, never an exception."""


class PollFace(Protocol):
    """A provider face whose jobs are polled."""

    def poll(self, handle: Mapping[str, Any], target: Target) -> UpstreamCall: ...
    def cancel(self, handle: Mapping[str, Any], target: Target) -> UpstreamCall | None:
        """None: this job cannot be cancelled."""


class StreamFace(Protocol):
    """A provider face that can send its pictures as events."""

    def read_event(self, event: bytes) -> Partial | Done | Failed | None:
        """One server-sent event, without its blank line; None: nothing of interest."""


class UploadFace(Protocol):
    """A provider face that takes large inputs by reference."""

    UPLOAD_ABOVE: int  # bytes; smaller inputs go inline

    def write_upload(self, media: Media, target: Target) -> UpstreamCall: ...
    def read_upload_reply(self, reply: UpstreamReply) -> str | Failed:
        """The URL to name the file by."""


@dataclass(frozen=True, slots=True)
class Wire:
    name: str
    client: ClientFace | None = None
    jobs: JobFace | None = None
    watched: WatchFace | None = None
    webhooks: WebhookFace | None = None
    secrets: SecretFace | None = None
    events: EventFace | None = None
    files: FileFace | None = None
    described: DescribeFace | None = None
    proxied: ProxiedFace | None = None
    provider: ProviderFace | None = None
    polling: PollFace | None = None
    stream: StreamFace | None = None
    uploads: UploadFace | None = None
    needs_seed: bool = False  # the provider answers the same request with the same picture unless the seed is another
    signs_publicly: bool = False  # its webhooks, with a key pair that is the same for all callers

    @property
    def operations(self) -> frozenset[Operation]:
        """Everything either face can do."""
        served = self.client.CLIENT_OPERATIONS if self.client else frozenset()
        return served | (self.provider.PROVIDER_OPERATIONS if self.provider else frozenset())


def _by_name(wires: Iterable[Wire]) -> Mapping[str, Wire]:
    return {wire.name: wire for wire in wires}


WIRES: Mapping[str, Wire] = _by_name(
    (
        Wire("a1111", client=a1111_client, provider=a1111_provider),
        Wire("ark", client=ark, events=ark, provider=ark),
        Wire("bedrock", client=bedrock, provider=bedrock),
        Wire(
            "bfl",
            client=bfl_client,
            jobs=bfl_client,
            webhooks=bfl_client,
            provider=bfl_provider,
            polling=bfl_provider,
        ),
        Wire("comfyui", provider=comfyui, polling=comfyui, uploads=comfyui, needs_seed=True),
        Wire(
            "dashscope",
            client=dashscope_client,
            jobs=dashscope_client,
            provider=dashscope_provider,
            polling=dashscope_provider,
        ),
        Wire(
            "fal",
            client=fal_client,
            jobs=fal_client,
            watched=fal_client,
            webhooks=fal_client,
            secrets=fal_client,
            signs_publicly=True,
            events=fal_client,
            proxied=fal_client,
            provider=fal_provider,
            polling=fal_provider,
        ),
        Wire("gemini", client=gemini_client, events=gemini_client, provider=gemini_provider),
        Wire(
            "interactions",
            client=interactions_client,
            events=interactions_client,
            described=interactions_client,
            provider=interactions_provider,
        ),
        Wire(
            "ideogram",
            client=ideogram_client,
            jobs=ideogram_client,
            webhooks=ideogram_client,
            secrets=ideogram_client,
            signs_publicly=True,
            provider=ideogram_provider,
        ),
        Wire(
            "openai_images",
            client=openai_images_client,
            events=openai_images_client,
            provider=openai_images_provider,
            stream=openai_images_provider,
        ),
        Wire("recraft", client=recraft, provider=recraft),
        Wire(
            "replicate",
            client=replicate_client,
            jobs=replicate_client,
            webhooks=replicate_client,
            secrets=replicate_client,
            files=replicate_client,
            described=replicate_client,
            provider=replicate_provider,
            polling=replicate_provider,
            uploads=replicate_provider,
        ),
        Wire("stability", client=stability, jobs=stability, provider=stability, polling=stability),
        Wire("together", client=together, provider=together),
        Wire("xai", client=xai, provider=xai),
    )
)
