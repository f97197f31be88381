"""Requests written down as they come, for ``muxel replay`` and ``muxel diff``: what a decision is made from, no more.

``exchange`` notes every request it has decided, ``serve`` starts and closes the recorder; the format is
``proxy.traffic``. Noting costs a few microseconds and never waits: lines are made and written by a thread, and what
comes faster than that is dropped and counted. Never writes a picture, a key, or a header that no rule looks at; prompts
only where the operator asks for them, else a keyed digest: equal prompts are equal, and nobody without the key can try
which words make one.
"""

import asyncio
import hmac
import logging
import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from io import BufferedWriter
from pathlib import Path
from typing import NamedTuple

from adapters.ir import MediaRequest
from policies.classify import Traits
from policies.decision import Session
from policies.load import Config
from proxy.ask import CREDENTIALS
from proxy.metrics import Metrics
from proxy.tasks import spawn
from proxy.traffic import Recorded, TrafficError, read_traffic, without_media, write_line

_log = logging.getLogger("muxel.record")
WAITING = 2_048  # requests that may wait to be written
HELD = 16_000_000  # characters of their prompts
GATHER_SECONDS = 0.25  # lines of so long are written together
SECRET = frozenset((*CREDENTIALS, "cookie", "proxy-authorization"))  # never written, even where a rule looks at one
HASH_BYTES = 16


class _Noted(NamedTuple):
    request: MediaRequest  # without its pictures
    traits: Traits
    session: Session | None  # as the caller's token says
    config: Config


@dataclass(slots=True)
class Recorder:
    """Appends to ``path``; beyond ``max_bytes`` the file becomes ``path.1``, in place of the last of that name, and a
    new one is begun. ``key`` is what prompts are hashed with, ``share`` of all requests is written."""

    path: Path
    prompts: str  # keep | hash
    share: float
    max_bytes: int
    key: bytes = field(repr=False)
    metrics: Metrics
    _waiting: deque[_Noted] = field(default_factory=deque, init=False)
    _held: int = field(default=0, init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _closing: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _task: "asyncio.Task[None] | None" = field(default=None, init=False)
    _file: BufferedWriter | None = field(default=None, init=False)
    _size: int = field(default=0, init=False)
    _broken: bool = field(default=False, init=False)

    def start(self) -> None:
        """Opens the file, and writes from now on. Raises OSError."""
        self._open()
        self._task = spawn(self._follow(), name="record")

    def note(self, name: str, request: MediaRequest, traits: Traits, session: Session | None, config: Config) -> None:
        """Takes one decided request down, if it is in the share. ``name`` is the id of the decision: the same one is
        always in or always out."""
        if request.ask.dry_run or not self._in_share(name):
            return
        if len(self._waiting) >= WAITING or self._held > HELD:
            self.metrics.recorded.labels("dropped").inc()
            return
        self._held += len(request.prompt)
        self._waiting.append(_Noted(without_media(request), traits, session, config))
        self._wake.set()

    async def close(self) -> None:
        """Everything that was noted is written when this returns."""
        self._closing.set()
        self._wake.set()
        if self._task:
            await self._task
        if self._file:
            self._file.close()

    def _in_share(self, name: str) -> bool:
        if self.share >= 1.0:
            return True
        place = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
        return place < self.share * 2**64

    async def _follow(self) -> None:
        while not self._closing.is_set() or self._waiting:
            await self._wake.wait()
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._closing.wait()
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._held = 0
            if batch:
                await asyncio.to_thread(self._write, batch)

    # ------------------------------------------------------------------------------------------------------ in a thread

    def _write(self, batch: Iterable[_Noted]) -> None:
        """One after the other, each whole or not at all. Never raises."""
        for noted in batch:
            try:
                line = self._line(noted)
            except (TypeError, TrafficError):  # a header need not be valid UTF-8, and a ceiling may be absurd
                self.metrics.recorded.labels("failed").inc()
                continue
            try:
                if self._size and self._size + len(line) > self.max_bytes:
                    self._rotate()
                self._append(line)
            except (OSError, ValueError) as error:  # ValueError: there is no open file any more
                self._fail(error)
            else:
                self.metrics.recorded.labels("written").inc()
                self._broken = False

    def _line(self, noted: _Noted) -> bytes:
        """Raises TypeError or TrafficError for what no line can hold: one such line would spoil the whole file."""
        request, traits, session, config = noted
        name = session.name if session else request.ask.session
        request = replace(request, ask=replace(request.ask, session=name))
        hashed = self.prompts == "hash"
        recorded = Recorded(
            request,
            traits if hashed or not request.prompt else None,
            prompt_hash=self._digest(request.prompt) if hashed and request.prompt else "",
            session_model=session.model if session else "",
        )
        line = write_line(recorded, _looked_at(config) - SECRET)
        for _ in read_traffic([line]):
            pass
        return line

    def _digest(self, prompt: str) -> str:
        return hmac.digest(self.key, prompt.encode("utf-8", "surrogatepass"), "sha256")[:HASH_BYTES].hex()

    def _append(self, line: bytes) -> None:
        if self._file is None or self._file.closed:
            self._open()
        assert self._file is not None
        self._file.write(line)
        self._file.flush()
        self._size += len(line)

    def _rotate(self) -> None:
        assert self._file is not None
        self._file.close()
        os.replace(self.path, f"{self.path}.1")
        self._open()

    def _open(self) -> None:
        """For this user alone: there may be prompts in it. A line that a crash cut off is taken away."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            whole = _whole(descriptor)
            os.ftruncate(descriptor, whole)
        except OSError:
            os.close(descriptor)
            raise
        self._file, self._size = os.fdopen(descriptor, "ab"), whole

    def _fail(self, error: OSError | ValueError) -> None:
        """The next line tries again, with a file that is opened anew."""
        self.metrics.recorded.labels("failed").inc()
        if not self._broken:
            _log.error("recording failed: %s", error, extra={"fields": {"path": str(self.path)}})
        self._broken = True
        if self._file:
            with suppress(OSError):  # closing tries once more to write what is left
                self._file.close()


def _whole(descriptor: int) -> int:
    """Bytes up to the end of the last whole line."""
    end = os.fstat(descriptor).st_size
    step = 65_536
    while end > 0:
        start = max(0, end - step)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _looked_at(config: Config) -> frozenset[str]:
    """The headers that any rule of any policy in force looks at."""
    return frozenset[str]().union(*(policy.headers for policy in config.policies.values()))
