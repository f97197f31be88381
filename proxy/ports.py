"""The ports of a process: an app at an address, behind TLS where there is a certificate, and how it ends.

``serve`` and ``controller.run`` open theirs through here. A certificate is read again when its files change, for
connections from then on; one that cannot be used leaves the last one in place.
"""

import logging
import ssl
from pathlib import Path

from aiohttp import web

from proxy.settings import SettingsError, address

_log = logging.getLogger("muxel.ports")


async def site(
    app: web.Application, listen: str, name: str, drain: float, certificate: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Serves ``app``. At ``cleanup`` requests in flight have ``drain`` seconds to finish. Raises OSError."""
    host, port = address(listen, name)
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        shutdown_timeout=drain / 2,  # aiohttp waits twice: before it takes the body away, and before it cancels
        handle_signals=False,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=certificate).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


async def tls(app: web.AppRunner, listen: str, name: str, certificate: ssl.SSLContext) -> str:
    """An app that is served already once more, behind TLS. Raises OSError."""
    port = web.TCPSite(app, *address(listen, name), ssl_context=certificate)
    await port.start()
    return url(app, -1, "https")


def url(runner: web.AppRunner, index: int = 0, scheme: str = "http") -> str:
    host, port = runner.addresses[index][:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def certificate_of(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """What a TLS port shows. Raises SettingsError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if problem := load_certificate(context, certificate, key):
        raise SettingsError("tls_cert", problem)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path | None, key: Path | None) -> str:
    """The certificate as it now is, for connections from now on; what is wrong with it, and then the last one stays."""
    try:
        context.load_cert_chain(str(certificate), str(key))
    except (OSError, ssl.SSLError) as error:
        problem = f"{certificate} with {key} cannot be used: {error.strerror or error}"
        _log.error("certificate refused", extra={"fields": {"problem": problem}})
        return problem
    return ""
