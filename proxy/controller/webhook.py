"""The port that the API server asks before it stores policies: HTTP around ``admission``.

``run`` serves it behind TLS. What is no review gets 400, what is too large 413, and 503 while the sources are not known
yet: under failurePolicy Ignore the API server then stores what it was asked to, and the reconciliation judges it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import orjson
from aiohttp import web

from policies.compose import Compiled, Source
from proxy.controller.admission import BadReview, Known, review
from proxy.controller.metrics import ControllerMetrics

PATH = "/validate"
MOST_BYTES = 16 * 1024 * 1024  # the new and the old object, a MiB each, of what JSON escapes up to sixfold
AT_ONCE = 2  # each takes a core for a tenth of a second

_log = logging.getLogger("muxel.controller.webhook")


def create_webhook(
    known: Callable[[], Known | None],
    compose: Callable[[Sequence[Source], Source | None], Compiled],
    metrics: ControllerMetrics,
    wall: Callable[[], float] = time.time,
) -> web.Application:
    """``known`` is None while the sources are not known yet."""
    app = web.Application(client_max_size=MOST_BYTES)
    turn = asyncio.Semaphore(AT_ONCE)

    async def validate(request: web.Request) -> web.Response:
        try:
            body = orjson.loads(await request.read())
            if (sources := known()) is None:
                metrics.reviews.labels("unready").inc()
                return web.Response(status=503, text="the sources are not known yet\n")
            today = datetime.fromtimestamp(wall(), UTC).date()
            async with turn:
                with metrics.review_seconds.time():
                    answer = await asyncio.to_thread(review, body, sources, compose, today)
        except (orjson.JSONDecodeError, BadReview) as error:
            metrics.reviews.labels("malformed").inc()
            return web.Response(status=400, text=f"{error}\n")
        allowed = answer["response"]["allowed"]
        metrics.reviews.labels("allowed" if allowed else "denied").inc()
        if not allowed:
            asked = body["request"]
            fields = {"namespace": asked.get("namespace"), "name": asked.get("name")}
            problems = answer["response"]["status"]["message"].splitlines()[1:]
            _log.info("admission denied", extra={"fields": {**fields, "problems": problems}})
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    app.router.add_post(PATH, validate)
    return app
