"""``muxel controller`` as a process: started by environment and flags, stopped by a signal, one writer of two."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.kube.api_server import LEASES, ApiServer
from tests.proxy.controller.conftest import add, data, kubeconfig, rules, until
from tests.proxy.controller.sources import BROKEN, GOOD, POLICY

MUXEL = Path(sys.executable).with_name("muxel")


@dataclass(slots=True)
class Process:
    """A controller, and every line it has logged."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def read(self) -> None:
        assert self.process.stderr
        async for line in self.process.stderr:
            self.lines.append(json.loads(line))

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    def logged(self, message: str) -> bool:
        return any(line["message"] == message for line in self.lines)


@asynccontextmanager
async def started(server: ApiServer, tmp_path: Path, identity: str) -> AsyncIterator[Process]:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MUXEL_", "KUBERNETES_"))},
        "KUBECONFIG": str(kubeconfig(server, tmp_path / "kubeconfig")),
        "MUXEL_ADMIN_LISTEN": "127.0.0.1:0",
        "MUXEL_IDENTITY": identity,
    }
    process = await asyncio.create_subprocess_exec(
        MUXEL, "controller", "--name", "muxel", env=environ, stderr=asyncio.subprocess.PIPE
    )
    running = Process(process)
    reading = asyncio.gather(running.read())
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading


@pytest.fixture
async def plain() -> AsyncIterator[ApiServer]:
    async with ApiServer(rules=rules("studio")) as server:
        yield server


def holder(server: ApiServer) -> str:
    leases = server.all(LEASES)
    return str(leases[0]["spec"]["holderIdentity"]) if leases else ""


async def test_a_process_compiles_and_releases_the_lease_when_it_is_told_to_stop(
    plain: ApiServer, tmp_path: Path
) -> None:
    add(plain, "brand", GOOD)
    async with started(plain, tmp_path, "one") as one:
        await until(lambda: data(plain, "muxel-status").get("programmed") == "True")
        assert holder(plain) == "one"
        plain.write("brand", {"policy.yaml": BROKEN})
        await until(lambda: data(plain, "muxel-status").get("accepted") == "False")
        await until(lambda: one.logged("policies refused, the last good stay in force"))
        assert await one.stop() == 0
    assert holder(plain) == ""
    assert one.logged("leading")
    assert one.logged("not leading")


async def test_of_two_processes_the_other_goes_on_where_the_first_stopped(plain: ApiServer, tmp_path: Path) -> None:
    add(plain, "brand", GOOD)
    async with started(plain, tmp_path, "one") as one:
        await until(lambda: holder(plain) == "one")
        async with started(plain, tmp_path, "two") as two:
            await until(lambda: two.logged("controlling"))
            assert await one.stop() == 0
            await until(lambda: holder(plain) == "two")
            plain.write("brand", {"policy.yaml": POLICY % ("default", "{objective: fastest}")})
            await until(lambda: "fastest" in str(data(plain, "muxel-compiled")))
            assert await two.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "muxel: controller needs a cluster: neither KUBERNETES_SERVICE_HOST nor KUBECONFIG is set"),
        (["--webhook-listen", "127.0.0.1:0"], "muxel: --webhook-listen needs tls_cert and tls_key"),
        (["--namespaces", "studio,No_Namespace"], "muxel: --namespaces must be names of namespaces"),
        (["--admin-listen", "9090"], "muxel: --admin-listen must be HOST:PORT"),
        (["--name", "Über"], "muxel: --name must be the name of a Kubernetes object"),
    ],
)
async def test_what_cannot_be_used_is_named_and_the_status_is_2(arguments: list[str], told: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MUXEL_", "KUBE"))}
    process = await asyncio.create_subprocess_exec(
        MUXEL, "controller", *arguments, env=environ, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode().startswith(told)


@pytest.mark.parametrize(("name", "value"), [("MUXEL_RESYNC_SECONDS", "soon"), ("MUXEL_LOG_LEVEL", "loud")])
async def test_a_variable_that_cannot_be_used_is_named(name: str, value: str) -> None:
    environ = {key: text for key, text in os.environ.items() if not key.startswith(("MUXEL_", "KUBE"))}
    process = await asyncio.create_subprocess_exec(
        MUXEL, "controller", env={**environ, name: value}, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode().startswith(f"muxel: {name} ")
