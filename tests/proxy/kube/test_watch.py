"""The list-watch loop and the client under it against the fake API server, through everything that befalls one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.kube.client import Api, connect
from proxy.kube.listwatch import Pace
from proxy.kube.resources import CONFIG_MAPS, ApiError, Events, Selection, Unreachable
from proxy.kube.watch import Watch
from proxy.settings import SettingsError
from proxy.tasks import spawn
from tests.kube.api_server import ApiServer
from tests.kube.pki import create_authority
from tests.kube.rbac import Rule

SOON = 20.0
PACE = Pace(stream=300.0, first=0.05, longest=0.4, short=0.02)
PINNED = Selection(CONFIG_MAPS, "studio", name="policies")
PINNED_ONLY = (Rule(("configmaps",), names=("policies",), namespace="studio"),)


@dataclass(slots=True)
class Following:
    """A watch that runs, and how often it told of a change."""

    watch: Watch
    changes: list[None]

    def data(self) -> dict[str, object]:
        return {name.rpartition("/")[2]: one.get("data") for name, one in self.watch.view.objects.items()}


async def until(holds: Callable[[], object]) -> None:
    """The loop under test has no event for most of what it does; this asks in its every turn."""
    async with asyncio.timeout(SOON):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(authority=create_authority(), rules=PINNED_ONLY) as server:
        yield server


@asynccontextmanager
async def connected(server: ApiServer, tmp_path: Path, read_seconds: float = 20.0) -> AsyncIterator[Api]:
    api = await connect(server.environment, server.write_service_account(tmp_path / "account"), read_seconds)
    try:
        yield api
    finally:
        await api.close()


@asynccontextmanager
async def following(
    server: ApiServer, tmp_path: Path, selection: Selection = PINNED, pace: Pace = PACE, read_seconds: float = 20.0
) -> AsyncIterator[Following]:
    async with connected(server, tmp_path, read_seconds) as api:
        changes: list[None] = []
        seen = Following(Watch(api, selection, lambda: changes.append(None), pace), changes)
        task = spawn(seen.watch.run(), name="watch")
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


async def test_a_change_is_known_at_once_and_a_deletion_too(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"a.yaml": "1"})
    async with following(server, tmp_path) as seen:
        await until(lambda: seen.watch.view.connected)
        assert seen.data() == {"policies": {"a.yaml": "1"}}
        begun = asyncio.get_running_loop().time()
        server.write("policies", {"a.yaml": "2"})
        await until(lambda: seen.data() == {"policies": {"a.yaml": "2"}})
        assert asyncio.get_running_loop().time() - begun < 1.0
        server.delete("policies")
        await until(lambda: seen.data() == {})
        server.create("policies", {"a.yaml": "3"})
        await until(lambda: seen.data() == {"policies": {"a.yaml": "3"}})
        assert len(seen.changes) == 4
    assert (server.count("list"), server.count("watch")) == (1, 1)
    query = server.requests[1].query
    assert query["allowWatchBookmarks"] == "true"
    assert query["fieldSelector"] == "metadata.name=policies"
    assert 150 <= int(query["timeoutSeconds"]) <= 300
    assert query["resourceVersion"] == "1001"


async def test_a_selection_by_label_composes_what_is_there(server: ApiServer, tmp_path: Path) -> None:
    server.rules = None
    labelled = {"team": "a"}
    server.create("one", {"k": "1"}, labels=labelled)
    server.create("alien", {"k": "1"})
    async with following(server, tmp_path, Selection(CONFIG_MAPS, "studio", labels="team=a")) as seen:
        await until(lambda: seen.data() == {"one": {"k": "1"}})
        server.create("two", {"k": "2"}, labels=labelled)
        await until(lambda: set(seen.data()) == {"one", "two"})
        server.write("one", metadata={"name": "one", "labels": {}})
        await until(lambda: set(seen.data()) == {"two"})


async def test_pages_are_put_together_and_expired_ones_read_again(server: ApiServer, tmp_path: Path) -> None:
    server.rules = None
    for number in range(205):
        server.create(f"part-{number:03}")
    async with connected(server, tmp_path) as api:
        items, version = await api.list(Selection(CONFIG_MAPS, "studio"))
        assert len({item["metadata"]["name"] for item in items}) == 205
        assert version == str(server.store.version)
        assert server.count("list") == 3
        server.pages_expire = True
        items, _ = await api.list(Selection(CONFIG_MAPS, "studio"))
        assert len(items) == 205
    assert server.count("list", status=410) == 1
    assert "limit" not in server.requests[-1].query


async def test_a_restarted_server_is_a_list_of_what_is_there_now(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"n": "1"})
    async with following(server, tmp_path) as seen:
        await until(lambda: seen.watch.view.connected)
        async with server.down():
            await until(lambda: not seen.watch.view.connected)
            server.write("policies", {"n": "2"})
            assert seen.data() == {"policies": {"n": "1"}}
        await until(lambda: seen.data() == {"policies": {"n": "2"}})
        await until(lambda: seen.watch.view.connected)
        async with server.down():
            server.delete("policies")
        await until(lambda: seen.data() == {})
    assert server.count("list") == 3  # one at the start, one after each 410


async def test_connections_that_die_are_opened_again_without_a_list(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"n": "1"})
    async with following(server, tmp_path) as seen:
        for number in ("2", "3"):
            await until(lambda: server.watching == 1)
            server.kill_connections()
            server.write("policies", {"n": number})
            await until(lambda number=number: seen.data() == {"policies": {"n": number}})  # type: ignore[misc]
    assert server.count("list") == 1


async def test_a_server_in_a_blackhole_is_left_after_the_read_timeout_and_found_again(
    server: ApiServer, tmp_path: Path
) -> None:
    server.create("policies", {"n": "1"})
    async with following(server, tmp_path, read_seconds=0.3) as seen:
        await until(lambda: seen.watch.view.connected)
        server.blackhole()
        server.write("policies", {"n": "2"})
        await until(lambda: seen.watch.view.failures >= 3)
        assert "no word within its time" in seen.watch.view.trouble
        assert seen.data() == {"policies": {"n": "1"}}
        server.blackhole(False)
        await until(lambda: seen.data() == {"policies": {"n": "2"}})


async def test_bookmarks_hold_a_quiet_stream_open_past_the_read_timeout(server: ApiServer, tmp_path: Path) -> None:
    server.bookmark_seconds = 0.1
    server.create("policies")
    async with following(server, tmp_path, read_seconds=0.5) as seen:
        await until(lambda: seen.watch.view.connected)
        server.bump(100)
        first = seen.watch.contact
        await until(lambda: seen.watch.contact > first + 1.0)
        assert seen.watch.view.version == str(server.store.version)
    assert server.count("watch") == 1


async def test_a_stream_the_server_ends_goes_on_from_where_it_was(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"n": "0"})
    async with following(server, tmp_path, pace=Pace(stream=1.0, first=0.05, longest=0.4)) as seen:
        for number in range(1, 4):
            await until(lambda number=number: server.count("watch") == number)  # type: ignore[misc]
            server.write("policies", {"n": str(number)})
        await until(lambda: seen.data() == {"policies": {"n": "3"}})
        assert seen.watch.view.failures == 0
    assert server.count("list") == 1


async def test_revoked_rights_keep_what_is_known_and_given_back_are_used(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"n": "1"})
    async with following(server, tmp_path) as seen:
        await until(lambda: seen.watch.view.connected)
        server.revoke()
        server.kill_connections()
        await until(lambda: "403 Forbidden" in seen.watch.view.trouble)
        assert "cannot" in seen.watch.view.trouble
        assert seen.data() == {"policies": {"n": "1"}}
        server.write("policies", {"n": "2"})
        server.rules = PINNED_ONLY
        await until(lambda: seen.data() == {"policies": {"n": "2"}})
        await until(lambda: seen.watch.view.connected)


async def test_a_rotated_token_is_read_for_the_next_request(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"n": "1"})
    async with following(server, tmp_path) as seen:
        await until(lambda: seen.watch.view.connected)
        server.rotate("second-token")
        server.kill_connections()
        await until(lambda: "401" in seen.watch.view.trouble)
        server.write_service_account(tmp_path / "account")
        server.write("policies", {"n": "2"})
        await until(lambda: seen.data() == {"policies": {"n": "2"}})


async def test_a_rotated_authority_is_trusted_from_then_on(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"n": "1"})
    async with following(server, tmp_path) as seen:
        await until(lambda: seen.watch.view.connected)
        server.authority = create_authority()
        await server.restart()
        await until(lambda: "certificate" in seen.watch.view.trouble)
        server.write("policies", {"n": "2"})
        server.write_service_account(tmp_path / "account")
        await until(lambda: seen.data() == {"policies": {"n": "2"}})


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(lambda server: server.revoke(), id="forbidden"),
        pytest.param(lambda server: server.rotate("unknown to us"), id="unauthorized"),
        pytest.param(lambda server: setattr(server, "versions_expire", True), id="expired again and again"),
        pytest.param(lambda server: setattr(server, "streams_end", True), id="streams that end at once"),
    ],
)
async def test_lasting_trouble_is_no_hot_loop(
    server: ApiServer, tmp_path: Path, trouble: Callable[[ApiServer], None]
) -> None:
    server.create("policies")
    async with following(server, tmp_path, pace=Pace(first=0.1, longest=0.2, short=0.05)) as seen:
        await until(lambda: seen.watch.view.connected)
        trouble(server)
        server.kill_connections()
        await until(lambda: seen.watch.view.failures >= 3)
        before, begun = len(server.requests), asyncio.get_running_loop().time()
        await until(lambda: seen.watch.view.failures >= 13)
        took = asyncio.get_running_loop().time() - begun
        assert took >= 10 * 0.1  # each waits half of the longest at least
        assert len(server.requests) - before <= 22  # and is a list and a watch at most


async def test_a_config_map_as_large_as_they_come_arrives(server: ApiServer, tmp_path: Path) -> None:
    server.create("policies", {"n": "1"})
    async with following(server, tmp_path) as seen:
        await until(lambda: seen.watch.view.connected)
        largest = {"a.yaml": "\x01" * (1024 * 1024)}  # six bytes each in JSON
        server.write("policies", largest)
        await until(lambda: seen.data() == {"policies": largest})
    assert server.count("list") == 1


class Failing:
    """An API whose every list is a bug of ours."""

    def __init__(self) -> None:
        self.lists = 0

    async def list(self, selection: Selection) -> tuple[list[dict[str, object]], str]:
        self.lists += 1
        raise ZeroDivisionError("a bug")

    def watch(self, selection: Selection, version: str, seconds: float) -> Events:
        raise AssertionError("nothing was listed")


async def test_a_bug_is_told_and_tried_again_and_is_not_the_end_of_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    api = Failing()
    watch = Watch(api, PINNED, lambda: None, PACE)
    running = spawn(watch.run(), name="watch")
    await until(lambda: api.lists == 3)
    running.cancel()
    await asyncio.wait([running])
    assert "still watching" in caplog.text
    assert "a bug" in watch.view.trouble
    assert watch.contact == 0.0


# ----------------------------------------------------------------------------------------------------------- the client


async def test_over_ipv6(tmp_path: Path) -> None:
    try:
        server = await ApiServer(authority=create_authority(), host="::1").__aenter__()
    except OSError:
        pytest.skip("this machine has no IPv6")
    try:
        server.create("policies")
        async with connected(server, tmp_path) as api:
            assert len((await api.list(PINNED))[0]) == 1
    finally:
        await server.__aexit__()


async def test_a_kubeconfig_takes_the_place_of_the_service_account(tmp_path: Path) -> None:
    async with ApiServer() as server:
        server.create("policies")
        file = tmp_path / "config"
        file.write_text(
            f"""
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: c, user: u, namespace: studio}}}}]
clusters: [{{name: c, cluster: {{server: "{server.url}"}}}}]
users: [{{name: u, user: {{token: {server.token}}}}}]
"""
        )
        api = await connect({"KUBECONFIG": str(file)}, tmp_path, 20.0)
        assert api.namespace == "studio"
        assert len((await api.list(PINNED))[0]) == 1
        await api.close()


async def test_without_a_cluster_the_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^watch needs a cluster"):
        await connect({}, tmp_path, 20.0)
    with pytest.raises(SettingsError, match=r"^watch cannot read .*/ca\.crt"):
        await connect({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path, 20.0)
    with pytest.raises(SettingsError, match=r"^watch cannot use KUBECONFIG"):
        await connect({"KUBECONFIG": str(tmp_path / "none")}, tmp_path, 20.0)


async def test_a_token_that_cannot_be_read_is_told_by_its_file(server: ApiServer, tmp_path: Path) -> None:
    async with connected(server, tmp_path) as api:
        (tmp_path / "account" / "token").unlink()
        with pytest.raises(Unreachable, match="account/token"):
            await api.list(PINNED)


async def test_one_object_can_be_made_read_and_refused(server: ApiServer, tmp_path: Path) -> None:
    server.rules = None
    async with connected(server, tmp_path) as api:
        body = {"metadata": {"name": "status"}, "data": {"hash": "1"}}
        made = await api.call("POST", CONFIG_MAPS.path("studio"), body=body)
        assert made["data"] == {"hash": "1"}
        with pytest.raises(ApiError, match="already exists") as caught:
            await api.call("POST", CONFIG_MAPS.path("studio"), body=body)
        assert (caught.value.code, caught.value.reason) == (409, "AlreadyExists")
