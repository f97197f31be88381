"""The operators' port: liveness, readiness, metrics, rollouts. Never the keys, never a way to spend.

``serve`` builds it beside ``app``, ``controller.run`` its own likewise. Liveness says that the event loop turns and
nothing else; readiness that a valid configuration is loaded and that the process is not draining. Upstream trouble
changes neither.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from aiohttp import web

from proxy.kube.resources import Contact
from proxy.metrics import Exposition
from proxy.services import Services

_BREAKER = {"open": 1.0, "half-open": 0.5, "closed": 0.0}


def create_admin(
    services: Services, draining: asyncio.Event, contacts: Callable[[], Iterable[Contact]] = tuple
) -> web.Application:
    """``contacts`` tells how each watch of the Kubernetes API is."""

    def readiness() -> dict[str, Any]:
        state = services.state
        return {
            "ready": state.current is not None and not draining.is_set(),
            "draining": draining.is_set(),
            "policy_hash": state.current.hash if state.current else "",
            "last_reload_successful": state.last_reload_successful,
            "fallback": state.fallback,
            "problems": [str(problem) for problem in state.problems],
        }

    def refresh() -> None:
        metrics = services.metrics
        for deployment, breaker in services.breakers.states().items():
            metrics.breaker_open.labels(deployment).set(_BREAKER[breaker])
        metrics.config_age.set(max(0.0, services.wall() - services.state.in_force_since))
        for contact in contacts():
            metrics.watch_connected.labels(contact.name).set(int(contact.connected))
            metrics.watch_age.labels(contact.name).set(contact.age)

    async def rollouts(request: web.Request) -> web.Response:
        body = {"rollouts": services.rollouts.report(services.monotonic())}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    app = operators_app(readiness, services.metrics, refresh)
    app.router.add_get("/rollouts", rollouts)
    return app


def operators_app(
    readiness: Callable[[], Mapping[str, Any]], metrics: Exposition, refresh: Callable[[], None] = lambda: None
) -> web.Application:
    """The port of any of our processes. ``readiness`` is told as it is, and ``ready`` of it decides; ``refresh`` is
    called before each scrape."""
    app = web.Application()

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        told = readiness()
        return web.Response(
            status=200 if told["ready"] else 503, body=orjson.dumps(told), content_type="application/json"
        )

    async def scrape(request: web.Request) -> web.Response:
        refresh()
        text = await asyncio.to_thread(metrics.exposition)
        return web.Response(body=text, headers={"Content-Type": metrics.content_type})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    return app
