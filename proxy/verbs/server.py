"""The verbs that serve: serve and sandbox. Called by ``cli``; they run until they are told to stop.

Everything an operator wrote is read before anything listens, and told on standard error as the other verbs tell it;
what happens later is told as log lines.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from adapters.registry import WIRES, Wire
from policies.load import ConfigError
from proxy import logs
from proxy.configuration import load_config
from proxy.sandbox.faults import FaultError, Faults, read_faults, shipped_faults
from proxy.settings import ENVIRONMENT, Settings, SettingsError, address, from_environment
from proxy.verbs.output import OK, PROBLEM, USAGE, fail, refuse

_log = logging.getLogger("muxel.sandbox")


def serve(arguments: argparse.Namespace) -> int:
    """Serves both ports; 1 where the configuration or an address cannot be used."""
    try:
        settings = _settings(arguments)
        logs.install(settings.log_level)
        from proxy.serve import serve as serve_forever

        return until_stopped(serve_forever(settings, os.environ), settings.loop)
    except SettingsError as error:
        return fail(f"{spelling(error.name, arguments, ENVIRONMENT)} {error.complaint}", USAGE)
    except (ConfigError, OSError) as error:
        return _complain(error)


def _settings(arguments: argparse.Namespace) -> Settings:
    """The environment, with flags over it. Raises SettingsError."""
    settings = from_environment(os.environ)
    flags = {
        "policy": tuple(arguments.policy) if arguments.policy else None,
        "watch": tuple(arguments.watch) if arguments.watch else None,
        "listen": arguments.listen,
        "admin_listen": arguments.admin_listen,
        "credentials": arguments.credentials,
        "sandbox": arguments.sandbox,
        "log_level": arguments.log_level,
    }
    settings = replace(settings, **{name: value for name, value in flags.items() if value is not None})
    if settings.on_invalid_start != "fail":
        return settings  # a path that is missing is one more reason to fall back
    if missing := [str(path) for path in settings.policy if not path.exists()]:
        raise SettingsError("policy", f"{', '.join(missing)}: no such file or directory")
    return settings


def spelling(name: str, arguments: argparse.Namespace, environment: Collection[str]) -> str:
    """A setting as its operator wrote it: the flag where that was given, else the variable."""
    if getattr(arguments, name, None) is not None:
        return "--" + name.replace("_", "-")
    variable = f"MUXEL_{name.upper()}"
    return variable if variable in environment else name


def sandbox(arguments: argparse.Namespace) -> int:
    """Serves the providers of the catalog on loopback; 1 where policy, faults or address cannot be used."""
    try:
        host, port = address(arguments.listen, "--listen")
        providers = load_config(arguments.policy or []).catalog.providers
        file = arguments.faults
        faults = read_faults(file.read_bytes(), str(file)) if file else shipped_faults()
        logs.install("info")
        wires = {name: WIRES[provider.wire] for name, provider in providers.items()}
        return until_stopped(_sandbox(host, port, wires, faults), "uvloop")
    except SettingsError as error:
        return fail(str(error), USAGE)
    except FaultError as error:
        return fail(str(error), PROBLEM)
    except (ConfigError, OSError) as error:
        return _complain(error)


async def _sandbox(host: str, port: int, wires: Mapping[str, Wire], faults: Faults) -> None:
    from proxy.sandbox.app import start

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = await start(host, port, wires, faults=faults)
    _log.info("serving", extra={"fields": {"url": running.url, "providers": sorted(wires)}})
    await stop.wait()
    await running.close()


def until_stopped(work: Coroutine[Any, Any, None], loop: str) -> int:
    if loop == "uvloop" and sys.platform != "win32":
        import uvloop

        uvloop.run(work)
    else:
        asyncio.run(work)
    return OK


def _complain(error: ConfigError | OSError) -> int:
    match error:
        case ConfigError():
            return refuse(error.problems)
        case FileNotFoundError():
            return fail(f"{error.filename}: no such file or directory", USAGE)
        case _:
            return fail(f"{error.filename or 'cannot serve'}: {error.strerror or error}", PROBLEM)
