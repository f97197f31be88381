"""A running controller: watches, election, reconciliation, both ports; how it starts and how it stops.

``muxel controller`` runs it as a process; tests run it inside a loop of their own. Knows nothing of policies.
"""

import asyncio
import logging
import random
import signal
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from socket import gethostname
from typing import Any

from policies.compose import COMPOSED, LABEL
from policies.lexicon import load_lexicon
from proxy.admin import operators_app
from proxy.controller.elect import Election
from proxy.controller.keep import Keeper
from proxy.controller.metrics import ControllerMetrics
from proxy.controller.reconcile import Deposed, Reconciler
from proxy.controller.settings import ControllerSettings
from proxy.controller.store import Store
from proxy.controller.webhook import create_webhook
from proxy.kube.client import SERVICE_ACCOUNT, connect
from proxy.kube.listwatch import Pace
from proxy.kube.resources import CONFIG_MAPS, ApiError, Selection, Unreachable
from proxy.kube.watch import Watch
from proxy.ports import certificate_of, load_certificate, site, url
from proxy.tasks import spawn
from proxy.watch import watch

QUIET_SECONDS = 0.2  # a burst of writes, as of one apply, is one reconciliation
LONGEST_WAIT = 60.0  # seconds between tries to write, doubled from one
_READ_SECONDS = 75.0  # bookmarks come every 60: a server that says less is gone
_PACE = Pace()
_ADMIN_SECONDS = 1.0  # for the last probe or scrape
_REVIEW_SECONDS = 5.0  # for reviews under way, as long as the API server waits for them

_log = logging.getLogger("muxel.controller")


@dataclass(frozen=True, slots=True)
class Controlling:
    """A controller that runs. ``webhook_url`` is empty where there is none."""

    admin_url: str
    webhook_url: str
    reconciler: Reconciler
    election: Election
    keeper: Keeper | None = None


async def control(settings: ControllerSettings, environ: Mapping[str, str]) -> None:
    """Runs until SIGTERM or SIGINT. Raises SettingsError or OSError if it cannot start."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with controlling(settings, environ) as running:
        told = {"admin_url": running.admin_url, "webhook_url": running.webhook_url}
        _log.info("controlling", extra={"fields": {**told, "namespaces": _namespaces(running.reconciler)}})
        await stop.wait()
        _log.info("stopping")


@asynccontextmanager
async def controlling(
    settings: ControllerSettings,
    environ: Mapping[str, str],
    *,
    service_account: Path = SERVICE_ACCOUNT,
    pace: Pace = _PACE,
    retry_seconds: float | None = None,
) -> AsyncIterator[Controlling]:
    """A controller inside this loop. ``pace`` and ``retry_seconds`` are those of the watches and of the election."""
    async with AsyncExitStack() as stack:
        settings = replace(settings, identity=settings.identity or gethostname())
        api = await connect(environ, service_account, _READ_SECONDS)
        stack.push_async_callback(api.close)
        namespace = settings.namespace or api.namespace
        changed, draining = asyncio.Event(), asyncio.Event()
        store = Store(api, ControllerMetrics())
        election = Election(store, namespace, settings.lease, settings.identity, changed.set)
        if retry_seconds is not None:
            election.retry_seconds = retry_seconds
        watches = [
            Watch(api, Selection(CONFIG_MAPS, one, labels=f"{LABEL}={COMPOSED}"), changed.set, pace)
            for one in sorted(set(settings.namespaces or (namespace,)))
        ]
        reconciler = Reconciler(settings, namespace, watches, store, election.leads, load_lexicon().tasks())
        keeper = _keeper(settings, namespace, store, election)
        admin_url, webhook_url = await _ports(settings, reconciler, election, keeper, draining, stack)
        stack.push_async_callback(election.release)  # after what writes has stopped, before the API is closed
        for name, work in (
            *((f"watch {one.selection.namespace}", one.run()) for one in watches),
            ("election", election.run()),
            ("reconcile", _reconcile(reconciler, changed, settings.resync_seconds)),
            *((("certificate", keeper.run()),) if keeper else ()),
        ):
            stack.push_async_callback(_cancel, spawn(work, name=name))
        stack.callback(draining.set)
        yield Controlling(admin_url, webhook_url, reconciler, election, keeper)


async def _ports(
    settings: ControllerSettings,
    reconciler: Reconciler,
    election: Election,
    keeper: Keeper | None,
    draining: asyncio.Event,
    stack: AsyncExitStack,
) -> tuple[str, str]:
    """Opens both ports; their URLs."""
    metrics = reconciler.store.metrics

    def readiness() -> dict[str, Any]:
        """A replica that does not lead is as ready as one that does: it answers admission."""
        able = reconciler.known() is not None and (keeper is None or keeper.shown is not None)
        return {
            "ready": able and not draining.is_set(),
            "draining": draining.is_set(),
            "leading": election.leads(),
            "not_written": reconciler.trouble,
            "namespaces": {one.selection.namespace: one.view.trouble or "watched" for one in reconciler.watches},
        }

    admin = await site(operators_app(readiness, metrics), settings.admin_listen, "admin_listen", _ADMIN_SECONDS)
    stack.push_async_callback(admin.cleanup)
    if not settings.webhook_listen:
        return url(admin), ""
    certificate = keeper.context if keeper else certificate_of(settings.tls_cert, settings.tls_key)
    app = create_webhook(reconciler.known, reconciler.compose, metrics)
    webhook = await site(app, settings.webhook_listen, "webhook_listen", _REVIEW_SECONDS, certificate)
    stack.push_async_callback(webhook.cleanup)
    if not keeper:
        stop = asyncio.Event()
        paths = [path for path in (settings.tls_cert, settings.tls_key) if path]
        following = spawn(watch(paths, lambda: _renew(certificate, settings), stop=stop), name="certificate")
        stack.push_async_callback(_stop, following, stop)
    return url(admin), url(webhook, scheme="https")


def _keeper(settings: ControllerSettings, namespace: str, store: Store, election: Election) -> Keeper | None:
    """Who keeps the webhook's certificate; None where one is given, or no webhook is wanted."""
    if not settings.webhook_listen or settings.tls_cert:
        return None
    return Keeper(
        store, election.leads, namespace, settings.secret, settings.webhook_configuration, settings.webhook_host
    )


def _renew(certificate: ssl.SSLContext, settings: ControllerSettings) -> None:
    load_certificate(certificate, settings.tls_cert, settings.tls_key)


async def _reconcile(reconciler: Reconciler, changed: asyncio.Event, resync_seconds: float) -> None:
    """Judges after every change, and writes; looks at what was written every ``resync_seconds``, sooner after trouble.

    Until cancelled.
    """
    failures = 0
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_patience(failures, resync_seconds)):
                await changed.wait()
                await asyncio.sleep(QUIET_SECONDS)
        changed.clear()
        reconciler.trouble = await _once(reconciler)
        failures = failures + 1 if reconciler.trouble else 0
        if failures:
            _log.warning("not written", extra={"fields": {"trouble": reconciler.trouble, "failures": failures}})


async def _once(reconciler: Reconciler) -> str:
    """One reconciliation; what stood in its way. Nothing may end the loop: the process would live on and do nothing."""
    try:
        await reconciler.judge()
        if reconciler.leads():
            await reconciler.write()
    except Deposed:
        pass
    except (ApiError, Unreachable) as error:
        return str(error)
    except Exception as error:
        _log.exception("reconciliation failed")
        return repr(error)
    return ""


def _patience(failures: int, resync_seconds: float) -> float:
    if not failures:
        return resync_seconds
    return min(resync_seconds, LONGEST_WAIT, 2.0 ** (failures - 1)) * (0.5 + random.random() / 2)


def _namespaces(reconciler: Reconciler) -> list[str]:
    return [one.selection.namespace for one in reconciler.watches]


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _stop(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await task
