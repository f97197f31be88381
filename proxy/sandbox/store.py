"""What the sandbox remembers, all of it bounded: files for a while, jobs, and the latest requests.

Used by ``app`` on its one event loop. Knows no wire.
"""

import secrets
from asyncio import Task
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from adapters.ir import Failure, Job, JobState, Media, MediaResult
from proxy.tasks import spawn

FILE_SECONDS = 600.0  # as long as BFL's signed URLs live
FILE_BYTES = 128 * 1024 * 1024
JOBS = 2000
REQUESTS = 1000


class Files:
    """Pictures by id, each for ``FILE_SECONDS``; above ``FILE_BYTES`` the oldest go first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._files: OrderedDict[str, tuple[float, Media]] = OrderedDict()
        self._bytes = 0

    def put(self, media: Media) -> str:
        """Keeps the bytes and gives the id to ask for them by."""
        id = secrets.token_urlsafe(12)
        self._files[id] = self._clock() + FILE_SECONDS, media
        self._bytes += len(media.data)
        while self._files and (self._bytes > FILE_BYTES or next(iter(self._files.values()))[0] < self._clock()):
            _, (_, oldest) = self._files.popitem(last=False)
            self._bytes -= len(oldest.data)
        return id

    def get(self, id: str) -> Media | None:
        until, media = self._files.get(id, (0.0, None))
        return media if until >= self._clock() else None


class Jobs:
    """Work that callers poll, by the provider it belongs to and its id. Above ``JOBS`` the oldest go first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._jobs: OrderedDict[tuple[str, str], Job] = OrderedDict()
        self._tasks: dict[tuple[str, str], Task[None]] = {}

    def start(self, provider: str, job: Job, work: Coroutine[Any, Any, MediaResult | Failure]) -> Task[None]:
        """Runs ``work`` for a new job; the task ends when the job does."""
        key = provider, job.id
        self._jobs[key] = replace(job, state=JobState.RUNNING, created=self._clock())
        self._tasks[key] = task = spawn(self._run(key, work), name=f"sandbox job {job.id}")
        while len(self._jobs) > JOBS:
            oldest, _ = self._jobs.popitem(last=False)
            self._tasks.pop(oldest).cancel()
        return task

    def get(self, provider: str, id: str) -> Job | None:
        return self._jobs.get((provider, id))

    def cancel(self, provider: str, id: str) -> Job | None:
        """The job, canceled unless it had already ended."""
        key = provider, id
        if key in self._jobs and self._tasks[key].cancel():
            self._jobs[key] = replace(self._jobs[key], state=JobState.CANCELED, finished=self._clock())
        return self._jobs.get(key)

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _run(self, key: tuple[str, str], work: Coroutine[Any, Any, MediaResult | Failure]) -> None:
        outcome = await work
        job = replace(self._jobs[key], finished=self._clock())
        if isinstance(outcome, Failure):
            self._jobs[key] = replace(job, state=JobState.FAILED, failure=outcome)
        else:
            self._jobs[key] = replace(job, state=JobState.SUCCEEDED, result=outcome)


class RequestLog:
    """How often each provider was called, how often for a new picture, and its latest calls without credentials."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._creates: Counter[str] = Counter()
        self._latest: defaultdict[str, deque[Mapping[str, Any]]] = defaultdict(lambda: deque(maxlen=REQUESTS))

    def add(self, provider: str, request: Mapping[str, Any]) -> None:
        self._counts[provider] += 1
        self._creates[provider] += request["action"] in ("create", "submit")
        self._latest[provider].append(request)

    def counts(self) -> dict[str, dict[str, int]]:
        return {name: {"count": count, "creates": self._creates[name]} for name, count in self._counts.items()}

    def of(self, provider: str) -> dict[str, Any]:
        counts = {"count": self._counts[provider], "creates": self._creates[provider]}
        return {**counts, "requests": list(self._latest.get(provider, ()))}
