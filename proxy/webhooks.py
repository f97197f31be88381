"""Callers told of their jobs: messages in the caller's own wire, signed, sent until they arrive or are given up.

``submit`` starts it for a job that has a webhook. A URL from a caller is hostile: ``transport`` sends only to public
addresses and to the hosts the operator listed. Must not know what a wire's message looks like.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from adapters.ir import Job, Webhook
from adapters.registry import WebhookFace
from proxy.jobs import Running
from proxy.services import Services

_log = logging.getLogger("muxel.webhooks")
DELAYS = (1.0, 5.0, 30.0)  # seconds before each further try


async def follow(
    services: Services, face: WebhookFace, hook: Webhook, secret: bytes, running: Running, look: Callable[[], Job]
) -> None:
    """Tells of the job when it has been taken on and when it has ended; ``look`` says how it is doing."""
    await running.accepted.wait()
    if not running.ended.is_set():
        await _tell(services, face, hook, secret, look())
    await running.ended.wait()
    await _tell(services, face, hook, secret, look())


async def _tell(services: Services, face: WebhookFace, hook: Webhook, secret: bytes, job: Job) -> None:
    """One message. What is not answered with a 2xx is sent again, signed anew."""
    job = replace(job, route="", params={})
    for delay in (*DELAYS, None):
        call = face.write_webhook(job, hook, secret, services.wall())
        if call is None:
            return
        problem = await services.transport.notify(hook.url, call, services.settings.webhook_hosts)
        if not problem:
            services.metrics.webhooks.labels("delivered").inc()
            return
        if delay is None:
            break
        await asyncio.sleep(delay)
    services.metrics.webhooks.labels("given_up").inc()
    _log.warning("webhook given up", extra={"fields": {"problem": problem, "state": job.state.value}})
