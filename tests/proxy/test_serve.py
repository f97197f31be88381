"""A Muxel from its start to its end: both ports, live configuration, rotated keys, and the drain."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from adapters.ir import MediaResult
from policies.load import Config, ConfigError, load_documents
from proxy import calls, configuration
from proxy.sandbox.app import start
from proxy.sandbox.faults import Faults
from proxy.serve import running
from proxy.settings import Settings, SettingsError
from proxy.tasks import spawn
from tests.proxy.conftest import World, shipped_wires
from tests.proxy.test_exchange import until
from tests.proxy.test_watch import Mount
from tests.wires.capture import capture

FREE = "127.0.0.1:0"
GENERATE = "/v1/images/generations"
FOX = {"prompt": "a fox in the snow", "size": "512x512"}
POLICY = """
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: %s}
spec: %s
"""
ONLY_FLUX = "{rules: [{name: flux, use: {models: [flux-2-pro]}}]}"
ONLY_GPT = "{rules: [{name: gpt, use: {models: [gpt-image-2-medium]}}]}"


class Gate:
    """How long a sandbox works on a picture: no time at all, or while the gate is shut for ever."""

    def __init__(self) -> None:
        self.opened, self.reached = asyncio.Event(), asyncio.Event()
        self.opened.set()

    async def __call__(self, seconds: float) -> None:
        self.reached.set()
        await self.opened.wait()


Serving = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def serving(gate: Gate) -> AsyncIterator[Serving]:
    faults = Faults()
    box = await start("127.0.0.1", 0, shipped_wires(), faults=faults, rng=Random(7), sleep=gate)

    @asynccontextmanager
    async def serve(environ: Mapping[str, str] = {}, **settings: Any) -> AsyncIterator[World]:
        usual: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "sandbox": box.url,
            "drain_seconds": 20.0,
        }
        chosen = Settings(**usual | settings)
        async with aiohttp.ClientSession() as http, running(chosen, environ) as muxel:
            yield World(muxel, box.url, faults, http)

    yield serve
    await box.close()


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "policies")


async def told(world: World, path: str) -> tuple[int, Any]:
    async with world.http.get(world.muxel.admin_url + path) as reply:
        return reply.status, await (reply.json() if reply.content_type == "application/json" else reply.text())


async def chosen(world: World) -> tuple[str, str]:
    """The model for a fox, and the hash of the policy that chose it."""
    reply = await world.post(GENERATE, FOX, x_muxel_dry_run="true")
    decision = await reply.json()
    return decision["chosen"]["model"], decision["policy_hash"]


async def reloaded(world: World, count: float) -> None:
    """Waits until that many reloads were tried and told of, the first two of which belong to the start."""

    async def tried() -> bool:
        return f"muxel_config_reloads_total {count}" in (await told(world, "/metrics"))[1]

    await until(tried)


# ---------------------------------------------------------------------------------------------------------- both ports


async def test_the_admin_port_tells_life_readiness_and_metrics(serving: Serving) -> None:
    async with serving() as world:
        reply = await world.post(GENERATE, FOX, x_muxel_model="flux-2-pro@bfl")
        assert reply.status == 200
        current = world.muxel.services.state.current
        assert current is not None
        assert await told(world, "/healthz") == (200, "ok\n")
        status, readiness = await told(world, "/readyz")
        assert status == 200
        assert readiness == {
            "ready": True,
            "draining": False,
            "policy_hash": current.hash,
            "last_reload_successful": True,
            "fallback": "",
            "problems": [],
        }
        _, metrics = await told(world, "/metrics")
    for line in (
        'muxel_requests_total{operation="image.generate",outcome="ok",wire="openai_images"} 1.0',
        'muxel_attempts_total{model="flux-2-pro",outcome="ok",provider="bfl"} 1.0',
        'muxel_breaker_open{deployment="flux-2-pro@bfl"} 0.0',
        f'muxel_config_hash{{hash="{current.hash}"}} 1.0',
        "muxel_config_last_reload_successful 1.0",
        "muxel_requests_in_flight 0.0",
        "muxel_body_bytes 0.0",
        "# EOF",
    ):
        assert line in metrics.splitlines()


# -------------------------------------------------------------------------------------------------- live configuration


async def test_a_changed_policy_takes_effect_without_a_restart(serving: Serving, mount: Mount) -> None:
    mount.write({"policy.yaml": POLICY % ("default", ONLY_FLUX)})
    async with serving(policy=(mount.directory,)) as world:
        model, first = await chosen(world)
        assert model == "flux-2-pro"
        await reloaded(world, 2.0)
        mount.write({"policy.yaml": POLICY % ("default", ONLY_GPT)})
        await reloaded(world, 3.0)
        model, second = await chosen(world)
        assert model == "gpt-image-2-medium"
        assert second != first
        assert (await told(world, "/readyz"))[1]["policy_hash"] == second
        _, metrics = await told(world, "/metrics")
        assert [line for line in metrics.splitlines() if line.startswith("muxel_config_hash{")] == [
            f'muxel_config_hash{{hash="{second}"}} 1.0'
        ]


async def test_a_broken_policy_keeps_the_last_good_one_and_is_told_everywhere(serving: Serving, mount: Mount) -> None:
    good = POLICY % ("default", ONLY_FLUX)
    mount.write({"policy.yaml": good})
    async with serving(policy=(mount.directory,)) as world:
        before = await chosen(world)
        await reloaded(world, 2.0)
        mount.write({"policy.yaml": POLICY % ("default", "{objective: cheepest}")})
        await reloaded(world, 3.0)
        assert await chosen(world) == before
        status, readiness = await told(world, "/readyz")
        assert (status, readiness["ready"], readiness["last_reload_successful"]) == (200, True, False)
        (problem,) = readiness["problems"]
        assert problem.startswith(f"{mount.directory / 'policy.yaml'}:5:")
        assert "cheepest" in problem
        assert "muxel_config_last_reload_successful 0.0" in (await told(world, "/metrics"))[1]

        mount.write({"policy.yaml": good})
        await reloaded(world, 4.0)
        assert (await told(world, "/readyz"))[1]["problems"] == []
        _, metrics = await told(world, "/metrics")
        assert "muxel_config_last_reload_successful 1.0" in metrics
        assert "muxel_config_reloads_failed_total 1.0" in metrics


async def test_one_broken_document_among_ten_keeps_the_whole_old_set_and_is_named_by_its_place(
    serving: Serving, mount: Mount
) -> None:
    ten = {f"{number}.yaml": POLICY % (f"team-{number}", ONLY_FLUX) for number in range(10)}
    mount.write(ten)
    async with serving(policy=(mount.directory,)) as world:
        await reloaded(world, 2.0)
        before = await chosen(world)
        others = {name: text.replace("flux-2-pro", "gpt-image-2-medium") for name, text in ten.items()}
        mount.write(others | {"7.yaml": POLICY % ("team-7", "{rules: [{name: flux, use: {modles: [flux-2-pro]}}]}")})
        await reloaded(world, 3.0)
        _, readiness = await told(world, "/readyz")
        (problem,) = readiness["problems"]
        assert problem.startswith(f"{mount.directory / '7.yaml'}:5:35: spec.rules[0].use.modles is not a known key")
        assert readiness["policy_hash"] == before[1]
        for number in range(10):
            reply = await world.post(GENERATE, FOX, x_muxel_dry_run="true", x_muxel_policy=f"team-{number}")
            assert (await reply.json())["chosen"]["model"] == "flux-2-pro"


async def test_a_request_in_flight_keeps_the_policy_it_started_with(serving: Serving, mount: Mount, gate: Gate) -> None:
    both = (POLICY % ("default", ONLY_FLUX)) + "---" + POLICY % ("nightly", ONLY_FLUX)
    mount.write({"policy.yaml": both})
    async with serving(policy=(mount.directory,)) as world:
        await reloaded(world, 2.0)
        gate.opened.clear()
        under_way = spawn(world.post(GENERATE, FOX, x_muxel_policy="nightly"), name="caller")
        await gate.reached.wait()
        mount.write({"policy.yaml": POLICY % ("default", ONLY_FLUX)})
        await reloaded(world, 3.0)
        late = await world.post(GENERATE, FOX, x_muxel_policy="nightly")
        assert (await late.json())["error"]["param"] == "x-muxel-policy"
        gate.opened.set()
        assert (await under_way).status == 200


async def test_breakers_follow_the_policy(serving: Serving, mount: Mount) -> None:
    mount.write({"policy.yaml": POLICY % ("default", "{resilience: {breaker: {minCalls: 7}}}")})
    async with serving(policy=(mount.directory,)) as world:
        breakers = world.muxel.services.breakers
        await reloaded(world, 2.0)
        assert breakers.settings.min_calls == 7
        mount.write({"policy.yaml": POLICY % ("default", "{resilience: {breaker: {minCalls: 3}}}")})
        await reloaded(world, 3.0)
        assert breakers.settings.min_calls == 3


async def test_a_reload_neither_holds_up_requests_nor_overlaps_another_and_the_start_parses_once(
    serving: Serving, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, parsing = threading.Event(), threading.Event()
    slow.set()
    under_way: list[int] = []
    most: list[int] = []

    def watched(*arguments: Any, **named: Any) -> Config:
        under_way.append(1)
        most.append(len(under_way))
        parsing.set()
        try:
            assert slow.wait(60.0)
            return load_documents(*arguments, **named)
        finally:
            under_way.pop()

    monkeypatch.setattr(configuration, "load_documents", watched)
    mount.write({"policy.yaml": POLICY % ("default", ONLY_FLUX)})
    async with serving(policy=(mount.directory,)) as world:
        await reloaded(world, 2.0)
        assert len(most) == 1
        slow.clear()
        parsing.clear()
        mount.write({"policy.yaml": POLICY % ("default", "{objective: fastest}")})
        await asyncio.to_thread(parsing.wait, 60.0)
        mount.write({"policy.yaml": POLICY % ("default", ONLY_GPT)})
        assert (await chosen(world))[0] == "flux-2-pro"
        slow.set()
        await reloaded(world, 4.0)
        assert (await chosen(world))[0] == "gpt-image-2-medium"
    assert most == [1, 1, 1]


async def test_a_rotated_key_is_used_by_the_next_request(serving: Serving, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "openai").write_text("first\n")
    picture = {"data": [{"b64_json": TINY}]}
    async with capture(picture) as (base, captured):
        (tmp_path / "policy.yaml").write_text(PROVIDER % base)
        async with serving(policy=(tmp_path / "policy.yaml",), credentials=keys, sandbox="never") as world:
            for key in ("first", "second"):
                (keys / "next").write_text(f"{key}\n")
                os.replace(keys / "next", keys / "openai")
                reply = await world.post(GENERATE, FOX, x_muxel_model="gpt-image-2-medium@openai")
                assert reply.status == 200, await reply.text()
    assert [call.headers["authorization"] for call in captured] == ["Bearer first", "Bearer second"]


PROVIDER = """
apiVersion: muxel.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec: {wire: openai_images, baseUrl: %s/v1, credential: {file: openai}}
"""
TINY = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


# ------------------------------------------------------------------------------------------------------------ the start


@pytest.mark.parametrize("content", [None, "not base64!", "c2hvcnQ="], ids=["missing", "garbage", "short"])
async def test_a_seal_key_that_cannot_be_used_is_named_by_its_setting(
    serving: Serving, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "seal").write_text(content)
    with pytest.raises(SettingsError, match=r"^seal_key_file "):
        async with serving(seal_key_file=tmp_path / "seal"):
            pass


async def test_a_first_configuration_that_is_broken_is_the_end_of_the_start(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY % ("default", "{objective: cheepest}"))
    with pytest.raises(ConfigError, match="cheepest"):
        async with serving(policy=(tmp_path,)):
            pass


async def test_an_address_that_is_taken_is_the_end_of_the_start_and_leaves_nothing_behind(serving: Serving) -> None:
    async with serving() as world:
        before = asyncio.all_tasks()
        with pytest.raises(OSError, match="address already in use"):
            async with serving(listen=world.muxel.url.removeprefix("http://")):
                pass
        assert asyncio.all_tasks() <= before
        assert (await told(world, "/readyz"))[0] == 200


def test_it_does_not_serve_without_aiohttps_c_parser() -> None:
    command = [sys.executable, "-c", "from proxy.cli import main; raise SystemExit(main())", "serve"]
    environ = os.environ | {"AIOHTTP_NO_EXTENSIONS": "1"}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "AIOHTTP_NO_EXTENSIONS" in ended.stderr


# ------------------------------------------------------------------------------------------------------------ the drain


async def is_draining(world: World) -> bool:
    return (await told(world, "/readyz"))[0] == 503


async def test_a_request_in_flight_at_the_stop_is_answered_and_after_it_nothing_is_left(
    serving: Serving, gate: Gate
) -> None:
    before = asyncio.all_tasks()
    context = serving()
    world = await context.__aenter__()
    gate.opened.clear()
    under_way = spawn(world.post(GENERATE, FOX, x_muxel_model="gpt-image-2-medium@openai"), name="caller")
    await gate.reached.wait()
    ending = spawn(context.__aexit__(None, None, None), name="stop")
    await until(lambda: is_draining(world))
    assert not under_way.done()
    gate.opened.set()
    assert (await under_way).status == 200
    await ending

    services = world.muxel.services
    assert services.work == set()

    async def nothing_left() -> bool:  # of the sandbox's connections with it: they end a moment after ours
        return not asyncio.all_tasks() - before - {asyncio.current_task()}

    await until(nothing_left)
    async with aiohttp.ClientSession() as http:
        for url in (world.muxel.url, world.muxel.admin_url):
            with pytest.raises(aiohttp.ClientConnectorError):
                await http.get(url)
    with pytest.raises(RuntimeError, match="closed"):
        await services.transport._configured.get(world.sandbox)


async def test_a_job_in_flight_at_the_stop_is_awaited(serving: Serving, gate: Gate) -> None:
    context = serving()
    world = await context.__aenter__()
    gate.opened.clear()
    body = {"prompt": "a fox", "width": 256, "height": 256}
    submitted = await world.post("/bfl/v1/flux-2-pro", body, x_key="app", x_muxel_model="flux-2-pro@bfl")
    assert submitted.status == 200
    (job,) = world.muxel.services.jobs._jobs.values()
    ending = spawn(context.__aexit__(None, None, None), name="stop")
    await until(lambda: is_draining(world))
    assert not job.ended.is_set()
    gate.opened.set()
    await ending
    assert isinstance(job.outcome, MediaResult)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GENERATE, FOX),
        (GENERATE, FOX | {"n": 3}),
        (GENERATE, FOX | {"stream": True}),
        ("/replicate/v1/models/black-forest-labs/flux-2-pro/predictions", {"input": {"prompt": "a fox"}}),
    ],
    ids=["request", "several", "stream", "job"],
)
async def test_what_outlasts_the_drain_is_cancelled_at_the_provider(
    serving: Serving, gate: Gate, path: str, body: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = calls.cancel

    async def far_away(*arguments: Any) -> None:
        await asyncio.sleep(0.2)  # longer than all else that is left to do takes
        await cancel(*arguments)

    monkeypatch.setattr(calls, "cancel", far_away)
    async with aiohttp.ClientSession() as later:
        context = serving(drain_seconds=0.2)
        world = await context.__aenter__()
        gate.opened.clear()
        caller = spawn(world.post(path, body, x_muxel_model="flux-2-pro@replicate"), name="caller")

        async def polled() -> bool:
            return any(sent["action"] == "poll" for sent in await world.upstream_requests("replicate"))

        await until(polled)
        await context.__aexit__(None, None, None)
        await asyncio.wait([caller])
        if not caller.exception():
            assert path != GENERATE  # only a job was answered
        sent = await replace(world, http=later).upstream_requests("replicate")
    actions = [request["action"] for request in sent]
    assert actions.count("cancel") == actions.count("submit") == body.get("n", 1)


# ------------------------------------------------------------------------------------------------- the embedded default

SELF_HOSTED = """
apiVersion: muxel.dev/v1alpha1
kind: Provider
metadata: {name: vllm}
spec: {wire: openai_images, baseUrl: "http://127.0.0.1:9/v1", credential: none}
"""


@pytest.mark.parametrize(
    ("sandbox", "environ", "policy", "starts"),
    [
        ("auto", {}, "", True),
        ("auto", {"OPENAI_API_KEY": "k"}, "", False),
        ("auto", {}, SELF_HOSTED, False),  # a server of one's own needs no key
        ("never", {}, "", False),
        ("always", {"OPENAI_API_KEY": "k"}, "", True),
    ],
)
async def test_pictures_are_drawn_only_where_nothing_real_can_make_them(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    sandbox: str,
    environ: Mapping[str, str],
    policy: str,
    starts: bool,
) -> None:
    (tmp_path / "policy.yaml").write_text(policy)
    paths = (tmp_path / "policy.yaml",) if policy else ()
    settings = Settings(listen="127.0.0.1:0", admin_listen="127.0.0.1:0", sandbox=sandbox, policy=paths)
    async with running(settings, environ) as muxel:
        assert bool(muxel.sandbox) is starts
    assert any("sandbox" in record.getMessage() for record in caplog.records) is starts
