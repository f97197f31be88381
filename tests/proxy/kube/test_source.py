"""ConfigMaps as files: names, bytes, what is passed over, what is missing, and changes that belong together."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from policies.load import ConfigError
from proxy.configuration import Loader
from proxy.kube.resources import CONFIG_MAPS, Selection, config_maps
from proxy.kube.source import ConfigMaps, opened
from proxy.settings import Settings
from proxy.tasks import spawn
from tests.kube.api_server import ApiServer
from tests.kube.pki import create_authority
from tests.proxy.kube.test_watch import until

POLICY = "apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {name: %s}\nspec: {objective: %s}\n"
MIB = 1024 * 1024


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(authority=create_authority()) as server:
        yield server


@asynccontextmanager
async def source(server: ApiServer, tmp_path: Path, *watch: str, **settings: Any) -> AsyncIterator[ConfigMaps]:
    account = server.write_service_account(tmp_path / "account")
    usual: dict[str, Any] = {"watch": watch, "service_account": account, "watch_start_seconds": 20.0}
    async with opened(Settings(**usual | settings), server.environment) as maps:
        yield maps


@pytest.mark.parametrize(
    ("reference", "selections"),
    [
        ("team/a", [("team", "a", "")]),
        ("team/a,b", [("team", "a", ""), ("team", "b", "")]),
        ("a,b.c", [("here", "a", ""), ("here", "b.c", "")]),
        ("team?x=y,z in (1, 2)", [("team", "", "x=y,z in (1, 2)")]),
        ("?x", [("here", "", "x")]),
    ],
)
def test_a_reference_names_config_maps(reference: str, selections: list[tuple[str, str, str]]) -> None:
    assert config_maps(reference, "here") == tuple(Selection(CONFIG_MAPS, *one) for one in selections)


async def test_keys_are_files_named_after_their_config_map(server: ApiServer, tmp_path: Path) -> None:
    binary = {"b.yml": base64.b64encode(b"\xff\xfe").decode(), "logo.png": base64.b64encode(b"\x89PNG").decode()}
    server.create("policies", {"z.yaml": "z", "a.yaml": "ä", "README.md": "prose"}, binaryData=binary)
    server.create("more", {"c.yaml": "c"}, namespace="team")
    server.create("unasked", {"d.yaml": "d"})
    async with source(server, tmp_path, "policies", "team/more") as maps:
        files, problems = maps.read()
    assert list(files.items()) == [
        ("configmap/studio/policies/a.yaml", "ä".encode()),
        ("configmap/studio/policies/b.yml", b"\xff\xfe"),
        ("configmap/studio/policies/z.yaml", b"z"),
        ("configmap/team/more/c.yaml", b"c"),
    ]
    assert problems == []


async def test_keys_that_are_not_read_are_told_once(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.create("policies", {"a.yaml": "1", "policy": "misnamed"})
    async with source(server, tmp_path, "policies") as maps:
        maps.read()
        maps.read()
        server.write("policies", {"a.yaml": "2", "policy": "misnamed"})
        await until(lambda: maps.read()[0]["configmap/studio/policies/a.yaml"] == b"2")
    told = [record for record in caplog.records if "are not read" in record.getMessage()]
    assert [record.__dict__["fields"]["keys"] for record in told] == [["configmap/studio/policies/policy"]]


async def test_bytes_that_are_no_text_are_told_by_their_key(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {}, binaryData={"a.yaml": base64.b64encode(b"kind: \xff").decode()})
    async with source(server, tmp_path, "policies") as maps:
        with pytest.raises(ConfigError, match=r"configmap/studio/policies/a\.yaml:1:7: .*UTF-8"):
            Loader((), watched=maps.read)()


async def test_several_config_maps_of_a_mebibyte_each_are_one_configuration(server: ApiServer, tmp_path: Path) -> None:
    for number in range(3):
        text = POLICY % (f"team-{number}", "best")
        server.create(f"part-{number}", {"a.yaml": text + "#" * (MIB - len(text))})
    async with source(server, tmp_path, "part-0,part-1,part-2") as maps:
        config = Loader((), watched=maps.read)()
    assert {"team-0", "team-1", "team-2"} <= config.policies.keys()


async def test_documents_compose_across_config_maps_and_files(server: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(POLICY % ("default", "fastest"))
    server.create("one", {"a.yaml": POLICY % ("nightly", "best")})
    server.create("two", {"a.yaml": POLICY % ("daily", "cheapest")})
    async with source(server, tmp_path, "two,one") as maps:
        load = Loader([file], watched=maps.read)
        config = load()
        assert {name: policy.objective for name, policy in config.policies.items()} == {
            "default": "fastest", "nightly": "best", "daily": "cheapest"
        }  # fmt: skip
        assert {str(file), "configmap/studio/one/a.yaml", "configmap/studio/two/a.yaml"} <= set(config.sources)

        server.write("two", {"a.yaml": POLICY % ("nightly", "cheapest"), "b.yaml": POLICY % ("default", "best")})
        await until(lambda: len(maps.read()[0]) == 3)
        with pytest.raises(ConfigError) as caught:
            load()
    assert [str(problem) for problem in caught.value.problems] == [
        'configmap/studio/two/a.yaml:3:18: RoutingPolicy "nightly" is already defined at '
        "configmap/studio/one/a.yaml:3:18",
        f'configmap/studio/two/b.yaml:3:18: RoutingPolicy "default" is already defined at {file}:3:18',
    ]


async def test_the_order_in_which_config_maps_are_named_or_were_made_changes_nothing(
    server: ApiServer, tmp_path: Path
) -> None:
    for name in ("b", "a", "c"):
        server.create(name, {"p.yaml": POLICY % (name, "best")})
    hashes = set()
    for order in ("a,b,c", "c,b,a"):
        async with source(server, tmp_path, order) as maps:
            files, _ = maps.read()
            assert list(files) == [f"configmap/studio/{name}/p.yaml" for name in "abc"]
            hashes.add(Loader((), watched=maps.read)().hash)
    assert len(hashes) == 1


async def test_every_missing_path_and_config_map_and_every_mistake_is_told_at_once(
    server: ApiServer, tmp_path: Path
) -> None:
    rule = "apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {name: default}\nspec: "
    server.create("there", {"a.yaml": rule + "{objective: cheepest, rules: [{name: x, use: {models: [absent]}}]}\n"})
    async with source(server, tmp_path, "there,gone,lost", "?team=none") as maps:
        with pytest.raises(ConfigError) as caught:
            Loader([tmp_path / "no.yaml", tmp_path / "none"], watched=maps.read)()
    told = [str(problem) for problem in caught.value.problems]
    assert sorted(told) == sorted(
        [
            f"{tmp_path / 'no.yaml'}:1:1: no such file or directory",
            f"{tmp_path / 'none'}:1:1: no such file or directory",
            "configmap/studio/gone:1:1: no such ConfigMap",
            "configmap/studio/lost:1:1: no such ConfigMap",
            "configmap/studio?team=none:1:1: no ConfigMap has these labels",
            *(line for line in told if "cheepest" in line),
        ]
    ), "what the missing ones may define is not held against the others"
    assert any("configmap/studio/there/a.yaml:4:" in line for line in told)


async def test_without_an_answer_in_time_the_start_goes_on_and_says_why(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"a.yaml": "x"})
    server.revoke()
    async with source(server, tmp_path, "policies", watch_start_seconds=0.3) as maps:
        files, (problem,) = maps.read()
        assert files == {}
        assert str(problem).startswith("configmap/studio/policies:1:1: cannot be read: 403 Forbidden")
    server.blackhole()
    async with source(server, tmp_path, "policies", watch_start_seconds=0.3) as maps:
        (problem,) = maps.read()[1]
        assert "no answer yet" in str(problem)


async def test_changes_that_come_together_are_one_reload(server: ApiServer, tmp_path: Path) -> None:
    for name in ("one", "two"):
        server.create(name, {"a.yaml": "1"})
    reloads: list[list[bytes]] = []
    async with source(server, tmp_path, "one,two") as maps:
        reloaded = asyncio.Event()

        async def reload() -> None:
            reloads.append(list(maps.read()[0].values()))
            reloaded.set()

        following = spawn(maps.follow(reload), name="follow")
        for text in ("2", "3"):
            reloaded.clear()
            for name in ("one", "two"):
                server.write(name, {"a.yaml": text})
                await asyncio.sleep(0.02)
            await asyncio.wait_for(reloaded.wait(), 20.0)
        following.cancel()
        await asyncio.wait([following])
    assert reloads[-2:] == [[b"2", b"2"], [b"3", b"3"]]
    assert len(reloads) <= 3  # the first list may be told of as well


async def test_a_reload_that_raises_is_not_the_end_of_following(
    server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.create("policies", {"a.yaml": "1"})
    reloads: asyncio.Queue[None] = asyncio.Queue()

    async def fails() -> None:
        reloads.put_nowait(None)
        raise RuntimeError("a bug in the loader")

    async with source(server, tmp_path, "policies") as maps:
        following = spawn(maps.follow(fails), name="follow")
        for text in ("2", "3"):
            server.write("policies", {"a.yaml": text})
            await asyncio.wait_for(reloads.get(), 20.0)
        following.cancel()
        await asyncio.wait([following])
    assert "still watching" in caplog.text
