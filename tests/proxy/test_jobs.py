"""Sealed job ids and the book of jobs."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import Artifact, Cause, Failure, Media, MediaResult
from proxy.jobs import KEEP_JOBS, KEEP_SECONDS, JobBook, Sealed, Sealer
from proxy.tasks import spawn

SEALED = Sealed("k", "bfl", "flux-2-pro", 1.5, "flux-2-pro@bfl", {"id": "x"}, {"size": [1, 2]}, "00-aa-bb-01")


def test_any_replica_with_the_key_can_open_an_id() -> None:
    name = Sealer(b"k" * 32).seal(SEALED, "shop")
    assert Sealer(b"k" * 32).open(name, "shop") == SEALED


def test_an_id_is_of_no_use_to_another_caller_or_under_another_key() -> None:
    name = Sealer(b"k" * 32).seal(SEALED, "shop")
    assert Sealer(b"k" * 32).open(name, "thief") is None
    assert Sealer(b"o" * 32).open(name, "shop") is None


def test_an_id_shows_nothing_and_is_never_the_same_twice() -> None:
    sealer = Sealer(b"k" * 32)
    first, second = sealer.seal(SEALED, "shop"), sealer.seal(SEALED, "shop")
    assert first != second
    assert "flux" not in first
    assert first.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=200))
def test_no_text_of_a_caller_raises(name: str) -> None:
    assert Sealer(b"k" * 32).open(name, "") is None


@given(st.integers(0, 150), st.integers(1, 255))
def test_one_changed_byte_makes_an_id_unknown(position: int, change: int) -> None:
    name = Sealer(b"k" * 32).seal(SEALED, "shop")
    position %= len(name)
    other = chr((ord(name[position]) + change) % 128)
    altered = name[:position] + other + name[position + 1 :]
    opened = Sealer(b"k" * 32).open(altered, "shop")
    assert opened is None or opened == SEALED  # the last character may hold unused bits


def test_ended_jobs_are_kept_for_a_while_and_running_ones_for_ever() -> None:
    book = JobBook(100)
    done_key, done = book.add(0.0)
    running_key, _ = book.add(0.0)
    book.end(done, Failure(Cause.CANCELED, ""), 10.0)
    assert book.get(done_key, 10.0 + KEEP_SECONDS - 1) is done
    assert book.get(done_key, 10.0 + KEEP_SECONDS) is None
    assert book.get(running_key, 1e9) is not None


def test_too_many_jobs_push_out_the_oldest_that_ended() -> None:
    book = JobBook(100)
    keys = []
    for _ in range(KEEP_JOBS + 5):
        key, job = book.add(0.0)
        book.end(job, Failure(Cause.CANCELED, ""), 0.0)
        keys.append(key)
    assert book.get(keys[-1], 0.0) is not None
    assert book.get(keys[0], 0.0) is None


def test_pictures_of_ended_jobs_are_held_within_the_budget_and_hosted_ones_not_at_all() -> None:
    book = JobBook(100)
    jobs = [book.add(0.0) for _ in range(3)]
    for _, job in jobs[:2]:
        book.end(job, MediaResult((Artifact(Media(b"x" * 60)),)), 0.0)
    assert book.get(jobs[0][0], 0.0) is None
    assert book.get(jobs[1][0], 0.0) is jobs[1][1]
    hosted = jobs[2][1]
    book.end(hosted, MediaResult((Artifact(Media(b"x" * 60, "http://m/1", "image/png")),)), 0.0)
    assert book.get(jobs[1][0], 0.0) is not None
    assert isinstance(hosted.outcome, MediaResult)
    assert hosted.outcome.artifacts[0].media == Media(url="http://m/1", mime="image/png")


async def test_a_drain_waits_for_jobs_and_stops_the_late_ones() -> None:
    book, started = JobBook(100), asyncio.Event()

    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    async def short() -> None:
        await started.wait()

    (_, first), (_, second) = book.add(0.0), book.add(0.0)
    first.task, second.task = spawn(endless(), name="endless"), spawn(short(), name="short")
    await book.drain(0.05)
    assert first.task.cancelled()
    assert second.task.done()
    assert not second.task.cancelled()
