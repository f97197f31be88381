"""A running Muxel: builds the services, serves both ports, follows the configuration, drains at the end.

``cli`` runs it as a process; tests and the demo run it inside a loop of their own. Knows the order of starting and
stopping, and nothing of requests.
"""

import asyncio
import base64
import binascii
import gc
import logging
import secrets
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from opentelemetry.sdk.trace import SpanProcessor

from adapters.registry import WIRES
from policies.catalog import Credential
from policies.lexicon import load_lexicon
from policies.load import Config
from proxy import tracing
from proxy.admin import create_admin
from proxy.app import create_app
from proxy.auth import Keyring
from proxy.breaker import Breakers
from proxy.configuration import Loader, rebased
from proxy.health import HealthBook
from proxy.jobs import JobBook, Sealer
from proxy.media import MediaStore
from proxy.metrics import Metrics
from proxy.ports import certificate_of, load_certificate, site, tls, url
from proxy.record import Recorder
from proxy.reloads import Reloads, first
from proxy.rollout import Rollouts
from proxy.services import Services
from proxy.settings import Settings, SettingsError
from proxy.state import State
from proxy.tasks import finish, spawn
from proxy.transport import Transport
from proxy.watch import watch

if TYPE_CHECKING:
    from proxy.kube.source import ConfigMaps

_log = logging.getLogger("muxel.serve")
_ADMIN_SECONDS = 1.0  # for the last probe or scrape
_CANCEL_SECONDS = 3.0  # for telling providers of work that nobody waits for any more


@dataclass(frozen=True, slots=True)
class Running:
    """A Muxel that serves. ``sandbox`` is the URL of the sandbox it sends to, empty where providers are real."""

    url: str
    admin_url: str
    sandbox: str
    services: Services
    tls_url: str = ""


async def serve(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Raises ConfigError, SettingsError or OSError if it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings, environ) as muxel:
        told = {"url": muxel.url, "admin_url": muxel.admin_url, "sandbox": muxel.sandbox}
        _log.info("serving", extra={"fields": told | {"policy_hash": _current(muxel.services.state).hash}})
        await stop.wait()
        _log.info("draining", extra={"fields": {"seconds": settings.drain_seconds}})


@asynccontextmanager
async def running(settings: Settings, environ: Mapping[str, str], *processors: SpanProcessor) -> AsyncIterator[Running]:
    """A Muxel inside this loop. ``processors`` see every span, whatever the environment says of tracing."""
    if HttpRequestParser is HttpRequestParserPy:
        raise SettingsError("AIOHTTP_NO_EXTENSIONS", "is set: Muxel relies on the checks of aiohttp's C parser")
    async with AsyncExitStack() as stack:
        keyring = Keyring(environ, settings.credentials)
        config_maps = await stack.enter_async_context(_watched(settings, environ)) if settings.watch else None
        load = Loader(settings.policy, load_lexicon().tasks(), *([config_maps.read] if config_maps else ()))
        start = first(load, settings)
        sandbox_url = await _sandbox(settings, start.config, keyring, stack)
        breakers = Breakers(start.config.policies["default"].resilience.breaker)
        adapt = _sandboxed(sandbox_url)
        state = State(lambda: adapt(load()))
        services = _services(settings, environ, keyring, breakers, state, processors, stack)
        reloads = Reloads(services, load, adapt)
        await reloads.begin(start)
        draining = asyncio.Event()
        operators = create_admin(services, draining, config_maps.contacts if config_maps else tuple)
        admin = await site(operators, settings.admin_listen, "admin_listen", _ADMIN_SECONDS)
        stack.push_async_callback(admin.cleanup)
        app = await site(create_app(services), settings.listen, "listen", settings.drain_seconds)
        stack.push_async_callback(_drain, services, app)
        certificate = certificate_of(settings.tls_cert, settings.tls_key) if settings.tls_listen else None
        tls_url = await tls(app, settings.tls_listen, "tls_listen", certificate) if certificate else ""
        stop = asyncio.Event()
        paths = [path for path in (*settings.policy, settings.credentials, settings.tls_cert, settings.tls_key) if path]
        if paths:
            task = spawn(watch(paths, lambda: _reload(reloads, certificate), stop=stop), name="watch")
            stack.push_async_callback(_stop, task, stop)
        if config_maps:
            following = spawn(config_maps.follow(reloads.reload), name="config maps")
            stack.push_async_callback(_cancel, following)
        accounts = spawn(keyring.clouds.follow(lambda: _accounts(state), stop), name="cloud accounts")
        stack.push_async_callback(_stop, accounts, stop)
        stack.callback(draining.set)
        _settle()
        yield Running(url(app), url(admin), sandbox_url, services, tls_url)


def _watched(settings: Settings, environ: Mapping[str, str]) -> "AbstractAsyncContextManager[ConfigMaps]":
    """The Kubernetes client doubles the memory of a sidecar: imported here, for those who ask for it."""
    from proxy.kube.source import opened

    return opened(settings, environ)


def _sandboxed(sandbox_url: str) -> Callable[[Config], Config]:
    """What becomes of a configuration whose providers are those of the sandbox; of any other, nothing."""
    if not sandbox_url:
        return lambda config: config
    from proxy.sandbox.address import sandbox_base_url

    return lambda config: rebased(config, lambda name, real: sandbox_base_url(sandbox_url, name, real))


def _services(
    settings: Settings,
    environ: Mapping[str, str],
    keyring: Keyring,
    breakers: Breakers,
    state: State,
    processors: tuple[SpanProcessor, ...],
    stack: AsyncExitStack,
) -> Services:
    transport = Transport()
    stack.push_async_callback(transport.close)
    tracer = tracing.from_environment(environ, version("muxel"), *processors)
    stack.push_async_callback(tracer.close)
    sealer, metrics = Sealer(_seal_key(settings.seal_key_file)), Metrics()
    return Services(
        settings=settings,
        state=state,
        keyring=keyring,
        transport=transport,
        breakers=breakers,
        health=HealthBook(breakers),
        media=MediaStore(settings.media_budget_bytes),
        jobs=JobBook(settings.media_budget_bytes),
        sealer=sealer,
        metrics=metrics,
        rollouts=Rollouts(metrics),
        tracing=tracer,
        recorder=_recorder(settings, sealer, metrics, stack),
    )


def _recorder(settings: Settings, sealer: Sealer, metrics: Metrics, stack: AsyncExitStack) -> Recorder | None:
    """Closed after the drain, so that the last request is in it. Raises SettingsError for a file that cannot be
    opened."""
    if settings.record is None:
        return None
    recorder = Recorder(
        path=settings.record,
        prompts=settings.record_prompts,
        share=settings.record_share,
        max_bytes=settings.record_max_bytes,
        key=sealer.key_of("prompts of recordings"),
        metrics=metrics,
    )
    try:
        recorder.start()
    except OSError as error:
        raise SettingsError("record", f"cannot be written: {settings.record}: {error.strerror}") from None
    stack.push_async_callback(recorder.close)
    return recorder


async def _reload(reloads: Reloads, certificate: ssl.SSLContext | None) -> None:
    """Something that is mounted has changed."""
    if certificate:
        settings = reloads.services.settings
        load_certificate(certificate, settings.tls_cert, settings.tls_key)
    await reloads.reload()


def _current(state: State) -> Config:
    assert state.current is not None
    return state.current


def _settle() -> None:
    """Catalog and lexicon live as long as the process: the collector need not look at them again, and a request makes
    thousands of values that die with it, so it need not look after every seven hundred either."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


async def _sandbox(settings: Settings, config: Config, keyring: Keyring, stack: AsyncExitStack) -> str:
    """The URL of the sandbox, started here unless it runs already; "" where none is wanted."""
    if settings.sandbox.startswith("http://"):
        return settings.sandbox.rstrip("/")
    usable = any(keyring.key(provider.credential) is not None for provider in config.catalog.providers.values())
    if settings.sandbox == "never" or (settings.sandbox == "auto" and usable):
        return ""
    from proxy.sandbox.app import start

    wires = {name: WIRES[provider.wire] for name, provider in config.catalog.providers.items()}
    sandbox = await start("127.0.0.1", 0, wires)
    stack.push_async_callback(sandbox.close)
    reason = "as asked" if settings.sandbox == "always" else "no provider has a key"
    _log.warning("pictures come from the sandbox: %s", reason, extra={"fields": {"sandbox": sandbox.url}})
    return sandbox.url


def _accounts(state: State) -> set[Credential]:
    """The cloud accounts that providers in force name."""
    providers = _current(state).catalog.providers.values()
    return {provider.credential for provider in providers if provider.credential.cloud}


async def _drain(services: Services, app: web.AppRunner) -> None:
    """Callers are answered and jobs end, all of them within ``drain_seconds``; what is late is stopped and cancelled at
    its provider."""
    ends = services.monotonic() + services.settings.drain_seconds
    await app.cleanup()
    await services.jobs.drain(max(0.0, ends - services.monotonic()))
    await finish(services.work, _CANCEL_SECONDS)


def _seal_key(path: Path | None) -> bytes:
    """The key job ids are sealed with. Raises SettingsError."""
    if path is None:
        return secrets.token_bytes(32)
    try:
        key = base64.b64decode(path.read_text("ascii").strip(), validate=True)
    except OSError as error:
        raise SettingsError("seal_key_file", f"cannot be read: {path}: {error.strerror}") from None
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise SettingsError("seal_key_file", "must hold 32 bytes in base64")
    return key


async def _stop(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await task


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
