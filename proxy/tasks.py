"""Background tasks that are neither lost nor silent. Used wherever work outlives the coroutine that started it."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

_log = logging.getLogger("muxel.tasks")
_Work = set[asyncio.Future[Any]]
_running: _Work = set()


def spawn(coroutine: Coroutine[Any, Any, Any], *, name: str, among: _Work = _running) -> asyncio.Task[Any]:
    """Starts ``coroutine`` and keeps a strong reference in ``among`` (the loop's is weak); an exception nobody awaits
    is logged."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    among.add(task)
    task.add_done_callback(among.discard)
    task.add_done_callback(_tell)
    return task


def begin(among: _Work) -> asyncio.Future[None]:
    """Work in a task that is not ours, as aiohttp's are: it has ended once what this returns is cancelled."""
    mark = asyncio.get_running_loop().create_future()
    among.add(mark)
    mark.add_done_callback(among.discard)
    return mark


async def finish(among: _Work, seconds: float) -> None:
    """Waits for all work in ``among``, that which it starts meanwhile too, and stops what takes longer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while among:
                await asyncio.wait(among)
    while among:
        for work in among:
            work.cancel()
        await asyncio.wait(among)


def _tell(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task %s failed", task.get_name(), exc_info=error)
