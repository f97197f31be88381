"""Background work: kept, told of when it fails, and waited for at the end."""

import asyncio

import pytest

from proxy.tasks import begin, finish, spawn

SOON = 20.0  # seconds a test waits for what should take a fraction of one


async def test_a_failure_nobody_awaits_is_told_with_the_name_of_the_task(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    await asyncio.wait([spawn(fails(), name="job 7")])
    assert "job 7" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_the_end_waits_for_work_and_for_what_the_work_starts() -> None:
    work: set[asyncio.Future[object]] = set()
    done = []

    async def second() -> None:
        done.append("second")

    async def first() -> None:
        await asyncio.sleep(0)
        spawn(second(), name="second", among=work)
        done.append("first")

    spawn(first(), name="first", among=work)
    await finish(work, SOON)
    assert done == ["first", "second"]
    assert work == set()


async def test_the_end_waits_for_work_in_tasks_that_are_not_ours() -> None:
    work: set[asyncio.Future[object]] = set()
    ours = begin(work)
    ending = spawn(finish(work, SOON), name="ending")
    await asyncio.sleep(0)
    assert not ending.done()
    ours.cancel()
    await asyncio.wait_for(ending, SOON)
    assert work == set()


async def test_what_takes_longer_is_stopped_with_all_that_it_starts_then() -> None:
    work: set[asyncio.Future[object]] = set()

    async def endless(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if name == "first":
                spawn(endless("second"), name="second", among=work)

    begin(work)
    first = spawn(endless("first"), name="first", among=work)
    await asyncio.sleep(0)
    await asyncio.wait_for(finish(work, 0.01), SOON)
    assert first.cancelled()
    assert work == set()
