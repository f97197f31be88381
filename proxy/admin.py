"""The operators' port: liveness, readiness, metrics, rollouts. Never the keys, never a way to spend.

``serve`` builds it beside ``app``. Liveness says that the event loop turns and nothing else; readiness that a valid
configuration is loaded and that the process is not draining. Upstream trouble changes neither.
"""

import asyncio
from collections.abc import Callable, Iterable

import orjson
from aiohttp import web

from proxy.kube.resources import Contact
from proxy.services import Services

_BREAKER = {"open": 1.0, "half-open": 0.5, "closed": 0.0}


def create_admin(
    services: Services, draining: asyncio.Event, contacts: Callable[[], Iterable[Contact]] = tuple
) -> web.Application:
    """``contacts`` tells how each watch of the Kubernetes API is."""
    app = web.Application()

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        state = services.state
        ready = state.current is not None and not draining.is_set()
        body = {
            "ready": ready,
            "draining": draining.is_set(),
            "policy_hash": state.current.hash if state.current else "",
            "last_reload_successful": state.last_reload_successful,
            "fallback": state.fallback,
            "problems": [str(problem) for problem in state.problems],
        }
        return web.Response(status=200 if ready else 503, body=orjson.dumps(body), content_type="application/json")

    async def metrics(request: web.Request) -> web.Response:
        for deployment, breaker in services.breakers.states().items():
            services.metrics.breaker_open.labels(deployment).set(_BREAKER[breaker])
        services.metrics.config_age.set(max(0.0, services.wall() - services.state.in_force_since))
        for contact in contacts():
            services.metrics.watch_connected.labels(contact.name).set(int(contact.connected))
            services.metrics.watch_age.labels(contact.name).set(contact.age)
        text = await asyncio.to_thread(services.metrics.exposition)
        return web.Response(body=text, headers={"Content-Type": services.metrics.content_type})

    async def rollouts(request: web.Request) -> web.Response:
        body = {"rollouts": services.rollouts.report(services.monotonic())}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/rollouts", rollouts)
    return app
