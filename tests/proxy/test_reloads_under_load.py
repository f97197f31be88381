"""Reload after reload under load: nothing is lost, no request sees what was not in force, and nothing is left behind.

``pytest --reloads 1000`` makes more of them; ``make chaos`` does that.
"""

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from policies.load import Config
from proxy import watch as watching
from proxy.reloads import Reloads
from proxy.settings import MIB
from proxy.state import Reload, State
from proxy.tasks import spawn
from tests.proxy.conftest import Build, World
from tests.proxy.test_cli import serving
from tests.proxy.test_serve import GENERATE, ONLY_FLUX, ONLY_GPT, POLICY, told
from tests.proxy.test_watch import Mount

CALLERS = 4
FOX = {"prompt": "a fox in the snow", "size": "256x256"}
SOON = 30.0
ONE_CATALOG = 4000  # fewer objects than the smallest thing a reload could leave behind
WARM = 20  # reloads after which nothing may grow
PAGE = os.sysconf("SC_PAGE_SIZE")

GOOD = [{"policy.yaml": POLICY % ("default", spec)} for spec in (ONLY_FLUX, ONLY_GPT, "{objective: fastest}")]
BAD = [
    {"policy.yaml": POLICY % ("default", "{objective: cheepest}")},
    {"policy.yaml": "kind: ["},
    {"policy.yaml": GOOD[0]["policy.yaml"], "again.yaml": GOOD[1]["policy.yaml"]},
]


class Hashes(SpanProcessor):
    """The hash on each request's trace."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        if span.attributes and (found := span.attributes.get("muxel.policy.hash")):
            self.seen.append(str(found))


@dataclass(slots=True)
class Journal:
    """What was in force, reload by reload, and between which two reloads each request began and ended."""

    in_force: list[str] = field(default_factory=list)
    refused: int = 0
    requests: list[tuple[int, int, str]] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    reloaded: asyncio.Event = field(default_factory=asyncio.Event)

    def out_of_force(self) -> list[tuple[int, int, str]]:
        """Requests whose hash was not in force while they were under way. A reload is noted just after its swap."""
        return [one for one in self.requests if one[2] not in self.in_force[max(0, one[0] - 1) : one[1] + 1]]


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds that it might not give back."""

    files: int
    tasks: int
    threads: int  # but for those of the loop's executor, which has as many as it likes
    configs: int
    objects: int
    resident: int  # bytes

    @classmethod
    def now(cls) -> "Held":
        gc.collect()
        found = gc.get_objects()
        return cls(
            files=len(os.listdir("/proc/self/fd")),
            tasks=len(asyncio.all_tasks()),
            threads=sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate()),
            configs=sum(type(one) is Config for one in found),
            objects=len(found),
            resident=int(Path("/proc/self/statm").read_text().split()[1]) * PAGE,
        )


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    journal = Journal()
    load, follow = State.reload, Reloads.reload

    def reload(state: State, now: float) -> Reload:
        result = load(state, now)
        journal.in_force.append(result.hash)
        journal.refused += not result.ok
        return result

    async def followed(reloads: Reloads) -> None:
        await follow(reloads)
        journal.reloaded.set()

    monkeypatch.setattr(State, "reload", reload)
    monkeypatch.setattr(Reloads, "reload", followed)
    monkeypatch.setattr(watching, "_QUIET_MS", 1)  # a fifth of a second each would be most of the time
    return journal


@pytest.fixture
async def sandbox() -> AsyncIterator[str]:
    """In a process of its own: what it remembers is not ours, and what it draws costs the other core."""
    async with serving("sandbox", "--listen", "127.0.0.1:0") as (process, told):
        yield told["url"]
        process.terminate()


async def call(world: World, journal: Journal, stop: asyncio.Event, number: int) -> None:
    """A caller who asks for pictures, and three times of four for the decision alone, which tells its hash."""
    while not stop.is_set():
        began, number = len(journal.in_force), number + 1
        headers = {"x_muxel_dry_run": "true"} if number % 4 else {}
        reply = await world.post(GENERATE, FOX, **headers)
        journal.statuses[reply.status] = journal.statuses.get(reply.status, 0) + 1
        if headers:
            journal.requests.append((began, len(journal.in_force), (await reply.json())["policy_hash"]))


async def swap(mount: Mount, journal: Journal, files: dict[str, str]) -> None:
    journal.reloaded.clear()
    mount.write(files)
    await asyncio.wait_for(journal.reloaded.wait(), SOON)


async def swap_under_load(world: World, mount: Mount, journal: Journal, numbers: range) -> Held:
    """Swaps the directory for each of ``numbers``, every tenth time to what is refused; what is held at the end.

    That is always the same configuration, and a picture for all callers at once: by then both pools of connections have
    as many as there are callers, whatever happened to overlap before. So it can be compared.
    """
    stop = asyncio.Event()
    callers = [spawn(call(world, journal, stop, number), name="caller") for number in range(CALLERS)]
    for number in numbers:
        await swap(mount, journal, BAD[number // 10 % len(BAD)] if number % 10 == 9 else GOOD[number % len(GOOD)])
    stop.set()
    await asyncio.gather(*callers)
    await swap(mount, journal, GOOD[0])
    await asyncio.gather(*(world.post(GENERATE, FOX) for _ in range(CALLERS)))
    return Held.now()


async def test_reloads_under_load_lose_nothing_and_leak_nothing(
    build: Build, tmp_path: Path, sandbox: str, journal: Journal, request: pytest.FixtureRequest
) -> None:
    reloads = request.config.getoption("--reloads")
    mount, hashes = Mount(tmp_path / "policies"), Hashes()
    mount.write(GOOD[0])
    settings = {"policy": (mount.directory,), "state_dir": tmp_path / "state", "media_budget_bytes": MIB}
    world = await build("", hashes, sandbox=sandbox, **settings)
    await asyncio.wait_for(journal.reloaded.wait(), SOON)
    warm = await swap_under_load(world, mount, journal, range(WARM))
    end = await swap_under_load(world, mount, journal, range(WARM, reloads))
    print(f"\n{reloads} reloads, {sum(journal.statuses.values())} requests\nwarm {warm}\nend  {end}")

    assert journal.statuses.keys() == {200}
    assert journal.out_of_force() == []
    assert set(hashes.seen) <= set(journal.in_force)
    assert journal.refused == reloads // 10
    assert len(journal.in_force) == reloads + 4  # at the start, when the watch begins, and at the two ends
    assert len({hash for _, _, hash in journal.requests}) == len(GOOD)
    assert len(journal.requests) >= reloads, "there was hardly any load"

    assert end.configs <= warm.configs <= 2  # as it was loaded, and as it is in force, in front of the sandbox
    assert end.files <= warm.files
    assert end.tasks <= warm.tasks
    assert end.threads <= warm.threads
    assert end.objects <= warm.objects + ONE_CATALOG
    assert end.resident <= warm.resident * 1.15
    _, metrics = await told(world, "/metrics")
    assert f"muxel_config_reloads_failed_total {reloads // 10:.1f}" in metrics
    assert sum(line.startswith("muxel_config_hash{") for line in metrics.splitlines()) == 1
