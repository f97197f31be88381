"""The explicit table of wires: which files there are and which faces each one has.

The proxy mounts client faces and sends through provider faces from here; ``muxel wires`` prints it. A new wire is one
file and one line in ``WIRES``. The protocols below are what mypy holds each line to; a wire has only the faces named.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from adapters import bfl, gemini, openai_images, replicate
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
)


class ClientFace(Protocol):
    """What we serve to a caller."""

    PREFIX: str  # the wire's own path prefix on our port: "/openai"
    VERSIONS: tuple[str, ...]  # what SDKs put between prefix and route, each served: ("/v1", "")
    ALIASES: tuple[str, ...]  # further mounts, from the root: ("/v1",)
    ROUTES: tuple[Route, ...]
    CLIENT_OPERATIONS: frozenset[Operation]

    def read_request(self, call: ClientCall) -> MediaRequest:
        """Raises InvalidRequest, and nothing else, for bytes that are not a request of this wire."""

    def write_reply(self, result: MediaResult, request: MediaRequest) -> ClientReply: ...
    def write_error(self, failure: Failure, request: MediaRequest | None) -> ClientReply: ...


class JobFace(Protocol):
    """A client face whose callers submit and poll."""

    def read_id(self, call: ClientCall) -> str: ...
    def write_job(self, job: Job) -> ClientReply:
        """The answer to the submit, to a poll and to a cancel, whatever state the job is in."""


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
    events: EventFace | None = None
    files: FileFace | None = None
    described: DescribeFace | None = None
    provider: ProviderFace | None = None
    polling: PollFace | None = None
    stream: StreamFace | None = None
    uploads: UploadFace | None = None

    @property
    def operations(self) -> frozenset[Operation]:
        """Everything either face can do."""
        served = self.client.CLIENT_OPERATIONS if self.client else frozenset()
        return served | (self.provider.PROVIDER_OPERATIONS if self.provider else frozenset())


def _by_name(wires: Iterable[Wire]) -> Mapping[str, Wire]:
    return {wire.name: wire for wire in wires}


WIRES: Mapping[str, Wire] = _by_name(
    (
        Wire("bfl", client=bfl, jobs=bfl, provider=bfl, polling=bfl),
        Wire("gemini", client=gemini, events=gemini, provider=gemini),
        Wire("openai_images", client=openai_images, events=openai_images, provider=openai_images, stream=openai_images),
        Wire(
            "replicate",
            client=replicate,
            jobs=replicate,
            files=replicate,
            described=replicate,
            provider=replicate,
            polling=replicate,
            uploads=replicate,
        ),
    )
)
