"""A whole Muxel whose policies come from the fake API server: changes, and everything that befalls such a server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from policies.load import ConfigError
from proxy.serve import running
from proxy.settings import Settings
from tests.kube.api_server import ApiServer
from tests.kube.pki import create_authority
from tests.kube.rbac import Rule
from tests.proxy.test_watch import Mount

ROOT = Path(__file__).parents[3]
SOON = 30.0
POLICY = "apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {name: %s}\nspec: {objective: %s}\n"
BROKEN = POLICY % ("default", "cheepest")
PINNED_ONLY = (Rule(("configmaps",), names=("policies",), namespace="studio"),)


def policy(objective: str) -> dict[str, str]:
    return {"policy.yaml": POLICY % ("default", objective)}


@dataclass(slots=True)
class Told:
    """What an operator can see of a Muxel: the admin port."""

    url: str
    http: aiohttp.ClientSession

    async def readiness(self) -> Any:
        async with self.http.get(f"{self.url}/readyz") as reply:
            return await reply.json()

    async def metric(self, name: str) -> dict[str, float]:
        """The samples of one metric, by their labels."""
        async with self.http.get(f"{self.url}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        samples = (line.rpartition(" ") for line in lines if line.startswith((f"{name}{{", f"{name} ")))
        return {labels.removeprefix(name): float(value) for labels, _, value in samples}

    async def connected(self) -> bool:
        samples = await self.metric("muxel_config_watch_connected")
        return bool(samples) and all(samples.values())

    async def age(self) -> float:
        return max((await self.metric("muxel_config_watch_age_seconds")).values())


async def until(holds: Callable[[], Awaitable[object]]) -> float:
    """Seconds until it does: the process is asked as an operator would ask it."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(SOON):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return loop.time() - begun


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(authority=create_authority(), rules=PINNED_ONLY, bookmark_seconds=0.2) as server:
        server.create("policies", policy("cheapest"))
        yield server


@asynccontextmanager
async def muxel(server: ApiServer, tmp_path: Path, *watch: str, **settings: Any) -> AsyncIterator[Told]:
    usual: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "sandbox": "always",
        "drain_seconds": 1.0,
        "watch": watch or ("studio/policies",),
        "service_account": server.write_service_account(tmp_path / "account"),
        "watch_read_seconds": 20.0,
    }
    async with running(Settings(**usual | settings), server.environment) as serving, aiohttp.ClientSession() as http:
        yield Told(serving.admin_url, http)


async def changed(server: ApiServer, told: Told, objective: str) -> float:
    """Writes another policy; seconds until it is in force."""
    before = (await told.readiness())["policy_hash"]
    server.write("policies", policy(objective))

    async def in_force() -> bool:
        now = await told.readiness()
        return bool(now["policy_hash"] != before and now["last_reload_successful"])

    return await until(in_force)


async def test_a_change_is_in_force_in_well_under_a_second(server: ApiServer, tmp_path: Path) -> None:
    async with muxel(server, tmp_path) as told:
        await until(told.connected)
        took = [await changed(server, told, objective) for objective in ("fastest", "best", "cheapest")]
        assert sorted(took)[1] < 1.0
    assert (server.count("list"), server.count("watch")) == (1, 1)


async def outage(server: ApiServer, told: Told, tmp_path: Path) -> None:
    async with server.down():
        await until(lambda: lost(told))
        server.write("policies", policy("best"))


async def restart(server: ApiServer, told: Told, tmp_path: Path) -> None:
    await server.restart()


async def compaction(server: ApiServer, told: Told, tmp_path: Path) -> None:
    """While the stream is broken, its history goes: the 410 comes in a stream that opens well."""
    server.kill_connections()
    server.bump(100)
    server.compact()

    async def listed_again() -> bool:
        return server.count("list") == 2

    await until(listed_again)
    assert server.count("watch", status=410) == 0


async def blackhole(server: ApiServer, told: Told, tmp_path: Path) -> None:
    server.blackhole()
    await until(lambda: lost(told))
    server.write("policies", policy("best"))
    server.blackhole(False)


async def revocation(server: ApiServer, told: Told, tmp_path: Path) -> None:
    server.revoke()
    server.kill_connections()
    await until(lambda: lost(told))
    server.rules = PINNED_ONLY


async def rotation(server: ApiServer, told: Told, tmp_path: Path) -> None:
    server.rotate("another-token")
    server.kill_connections()
    await until(lambda: lost(told))
    server.write_service_account(tmp_path / "account")


async def lost(told: Told) -> bool:
    return not await told.connected()


@pytest.mark.parametrize("trouble", [outage, restart, compaction, blackhole, revocation, rotation])
async def test_it_recovers_by_itself_and_without_a_hot_loop(
    server: ApiServer, tmp_path: Path, trouble: Callable[[ApiServer, Told, Path], Awaitable[None]]
) -> None:
    settings = {"watch_read_seconds": 1.0} if trouble is blackhole else {}
    async with muxel(server, tmp_path, **settings) as told:
        await until(told.connected)
        before = len(server.requests)
        begun = asyncio.get_running_loop().time()
        await trouble(server, told, tmp_path)
        assert (await told.readiness())["ready"]
        await until(told.connected)
        await changed(server, told, "fastest")
        seconds = asyncio.get_running_loop().time() - begun
        assert len(server.requests) - before <= 4 + 3 * seconds


async def test_staleness_rises_while_the_server_is_away_and_falls_when_it_is_back(
    server: ApiServer, tmp_path: Path
) -> None:
    async with muxel(server, tmp_path) as told:
        await until(told.connected)
        assert await told.metric("muxel_config_watch_connected") == {'{source="configmap/studio/policies"}': 1.0}

        async def stale() -> bool:
            return await told.age() > 1.5

        async def fresh() -> bool:
            return await told.age() < 0.5

        await until(fresh)
        async with server.down():
            await until(stale)
            assert await told.metric("muxel_config_watch_connected") == {'{source="configmap/studio/policies"}': 0.0}
            assert (await told.readiness())["ready"]
        await until(fresh)
        await until(told.connected)


async def test_a_broken_config_map_and_a_deleted_one_keep_the_last_good_and_say_so(
    server: ApiServer, tmp_path: Path
) -> None:
    async with muxel(server, tmp_path) as told:
        await until(told.connected)
        good = (await told.readiness())["policy_hash"]

        async def refused() -> bool:
            return not (await told.readiness())["last_reload_successful"]

        async def gauge_is(value: float) -> bool:
            return await told.metric("muxel_config_last_reload_successful") == {"": value}

        async def mended() -> bool:
            return bool((await told.readiness())["last_reload_successful"])

        server.write("policies", {"policy.yaml": BROKEN})
        await until(refused)
        now = await told.readiness()
        assert (now["ready"], now["policy_hash"]) == (True, good)
        assert now["problems"][0].startswith("configmap/studio/policies/policy.yaml:4:19: ")

        server.write("policies", policy("cheapest"))
        await until(mended)
        server.delete("policies")
        await until(refused)
        now = await told.readiness()
        assert (now["ready"], now["policy_hash"]) == (True, good)
        assert now["problems"] == ["configmap/studio/policies:1:1: no such ConfigMap"]
        await until(lambda: gauge_is(0.0))  # told a moment after it is known

        server.create("policies", policy("fastest"))
        await until(mended)
        await until(lambda: gauge_is(1.0))
        assert (await told.readiness())["policy_hash"] != good


async def test_files_and_config_maps_are_one_configuration_and_each_is_followed(
    server: ApiServer, tmp_path: Path
) -> None:
    mount = Mount(tmp_path / "mounted")
    mount.write({"nightly.yaml": POLICY % ("nightly", "best")})
    async with muxel(server, tmp_path, policy=(mount.directory,)) as told:
        await until(told.connected)
        await changed(server, told, "fastest")
        before = (await told.readiness())["policy_hash"]
        mount.write({"nightly.yaml": POLICY % ("nightly", "cheapest")})

        async def other() -> Any:
            return (await told.readiness())["policy_hash"] != before

        await until(other)
        mount.write({"nightly.yaml": POLICY % ("default", "cheapest")})

        async def refused() -> Any:
            return (await told.readiness())["problems"]

        await until(refused)
        (problem,) = await refused()
        assert f'RoutingPolicy "default" is already defined at {mount.directory / "nightly.yaml"}:3:18' in problem
        assert problem.startswith("configmap/studio/policies/policy.yaml:3:18")


@pytest.mark.parametrize("mode", ["fail", "lastGood", "default"])
async def test_a_start_without_the_api_server_does_what_it_is_told_and_catches_up(
    server: ApiServer, tmp_path: Path, mode: str
) -> None:
    settings: dict[str, Any] = {"on_invalid_start": mode, "state_dir": tmp_path / "state", "watch_start_seconds": 0.5}
    async with muxel(server, tmp_path, **settings | {"watch_start_seconds": 20.0}) as told:
        good = (await told.readiness())["policy_hash"]
    server.revoke()
    if mode == "fail":
        with pytest.raises(ConfigError, match=r"configmap/studio/policies:1:1: cannot be read: 403"):
            async with muxel(server, tmp_path, **settings):
                pass
        return
    async with muxel(server, tmp_path, **settings) as told:
        now = await told.readiness()
        assert (now["ready"], now["fallback"], now["last_reload_successful"]) == (True, mode, False)
        assert (now["policy_hash"] == good) is (mode == "lastGood")
        server.rules = PINNED_ONLY

        async def caught_up() -> Any:
            return (await told.readiness())["fallback"] == ""

        await until(caught_up)
        assert (await told.readiness())["policy_hash"] == good


async def test_nothing_is_left_when_it_ends(server: ApiServer, tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with muxel(server, tmp_path) as told:
        await until(told.connected)

    async def nothing_left() -> bool:
        return not server.watching and not asyncio.all_tasks() - before - {asyncio.current_task()}

    await until(nothing_left)


# ------------------------------------------------------------------------------------------------------- as a process


async def test_the_command_follows_a_server_that_dies_and_comes_back(server: ApiServer, tmp_path: Path) -> None:
    account = server.write_service_account(tmp_path / "account")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MUXEL_", "KUBE", "OTEL_"))}
    environ |= {**server.environment, "MUXEL_SERVICE_ACCOUNT": str(account), "MUXEL_SANDBOX": "always"}
    command = [sys.executable, "-m", "proxy.cli", "serve", "--watch", "policies"]
    command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environ, stdout=null, stderr=pipe)
    assert process.stderr
    try:
        async with asyncio.timeout(SOON * 2), aiohttp.ClientSession() as http:
            async for line in process.stderr:
                if (line_told := json.loads(line))["message"] == "serving":
                    break
            told = Told(line_told["admin_url"], http)
            await until(told.connected)
            await changed(server, told, "best")
            async with server.down():
                await until(lambda: lost(told))
            await changed(server, told, "fastest")
            process.send_signal(signal.SIGTERM)
            await process.communicate()
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


LEAN = """
import asyncio, sys
from pathlib import Path
from proxy.serve import running
from proxy.settings import Settings

async def main():
    settings = Settings("127.0.0.1:0", "127.0.0.1:0", (Path(sys.argv[1]),), sandbox="always", drain_seconds=0.1)
    async with running(settings, {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}):
        assert "kubernetes" not in sys.modules

asyncio.run(main())
"""


def test_without_a_watch_the_kubernetes_client_is_never_imported(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY % ("default", "best"))
    command = [sys.executable, "-c", LEAN, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SOON * 2)
    assert ended.returncode == 0, ended.stderr
