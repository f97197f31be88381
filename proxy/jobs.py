"""Jobs of callers that submit and poll: their sealed ids, and the ones under way in this process.

A job id is sealed with an AEAD and bound to its caller, and holds what any replica with the same key needs to answer a
poll: the deployment, the provider's own handle, the wire. ``exchange`` creates, polls and cancels through here. Keeps
finished jobs for a while, bounded by number and bytes; must not do IO.
"""

import asyncio
import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from adapters.ir import Artifact, Failure, Media, MediaResult

KEEP_SECONDS = 3600.0
KEEP_JOBS = 2000
_NONCE = 12
SHORTEST = 80  # characters; no id of ours is shorter, nor is any of a provider's own as long


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a job id says. ``handle`` is empty where the upstream answers in one call: then only the replica that runs
    the job can tell of it."""

    key: str  # names the job in the process that runs it
    wire: str  # of the caller
    model: str  # as the caller named it
    created: float  # seconds since the epoch
    deployment: str = ""
    handle: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, Any] = field(
        default_factory=dict
    )  # what the pictures are brought to: size, format, delivery, exact
    trace: str = ""  # traceparent of the request that created it


class Sealer:
    """Turns a ``Sealed`` into an id and back."""

    def __init__(self, key: bytes) -> None:
        """``key`` is 32 bytes, the same in every replica."""
        self._key = key
        self._aead = ChaCha20Poly1305(key)

    def secret(self, caller: str) -> bytes:
        """32 bytes that only this caller and every replica know: what its webhooks are signed with."""
        return self.key_of("webhooks of " + caller)

    def key_of(self, purpose: str) -> bytes:
        """32 bytes that every replica knows, another key for each purpose."""
        return hmac.digest(self._key, purpose.encode(), "sha256")

    def seal(self, job: Sealed, caller: str) -> str:
        fields = [
            job.key,
            job.wire,
            job.model,
            job.created,
            job.deployment,
            dict(job.handle),
            dict(job.form),
            job.trace,
        ]
        nonce = secrets.token_bytes(_NONCE)
        box = self._aead.encrypt(nonce, orjson.dumps(fields), caller.encode())
        return base64.urlsafe_b64encode(nonce + box).decode().rstrip("=")

    def open(self, name: str, caller: str) -> Sealed | None:
        """None for an id that is not ours, was altered, or belongs to another caller."""
        try:
            box = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4))
            fields = orjson.loads(self._aead.decrypt(box[:_NONCE], box[_NONCE:], caller.encode()))
        except (InvalidTag, ValueError, binascii.Error):
            return None
        return Sealed(*fields)


def caller_digest(credential: str) -> str:
    """Who calls, without the secret that says so."""
    return blake2b(credential.encode(), digest_size=8).hexdigest() if credential else ""


@dataclass(slots=True)
class Running:
    """A job of this process. ``accepted`` is set once the upstream has taken it, or it has ended."""

    task: asyncio.Task[None] | None = None
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    deployment: str = ""
    handle: Mapping[str, Any] = field(default_factory=dict)  # empty unless one upstream job is the whole of it
    input: Mapping[str, Any] = field(default_factory=dict)
    outcome: MediaResult | Failure | None = None
    finished: float = 0.0  # seconds since the epoch
    picture_bytes: int = 0  # in the outcome
    told: Mapping[str, str] = field(default_factory=dict)  # headers: what was chosen, its cost, what was dropped


class JobBook:
    """The jobs of this process by key. Ended ones are kept while they are young, few, and their pictures within
    ``budget`` bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._jobs: OrderedDict[str, Running] = OrderedDict()

    def add(self, now: float) -> tuple[str, Running]:
        self._forget(now)
        key = secrets.token_urlsafe(9)
        job = self._jobs[key] = Running()
        return key, job

    def get(self, key: str, now: float) -> Running | None:
        self._forget(now)
        return self._jobs.get(key)

    def end(self, job: Running, outcome: MediaResult | Failure, now: float) -> None:
        """The job is over. A picture that is hosted for the caller is not held here as well."""
        if isinstance(outcome, MediaResult):
            outcome = replace(outcome, artifacts=tuple(map(_without_hosted_bytes, outcome.artifacts)))
            job.picture_bytes = sum(len(artifact.media.data) for artifact in outcome.artifacts)
            self._held += job.picture_bytes
        job.outcome, job.finished = outcome, now
        job.accepted.set()
        job.ended.set()
        self._forget(now)

    async def drain(self, seconds: float) -> None:
        """Waits for the jobs under way, and stops those that take longer."""
        tasks = [job.task for job in self._jobs.values() if job.task and not job.task.done()]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _forget(self, now: float) -> None:
        """Drops ended jobs that are old, and the oldest ended ones when there are too many or they hold too much."""
        for key in list(self._jobs):
            job = self._jobs[key]
            if job.outcome is None:
                continue
            if job.finished + KEEP_SECONDS > now and len(self._jobs) <= KEEP_JOBS and self._held <= self._budget:
                break
            self._held -= job.picture_bytes
            del self._jobs[key]


def _without_hosted_bytes(artifact: Artifact) -> Artifact:
    media = artifact.media
    return replace(artifact, media=Media(url=media.url, mime=media.mime)) if media.url else artifact
