"""The fake API server against the official client, which is its oracle: what that relies on, holds."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from tests.kube.api_server import CONFIG_MAPS, LEASES, ApiServer
from tests.kube.pki import create_authority
from tests.kube.rbac import Rule

SOON = 20.0
PINNED = {"field_selector": "metadata.name=policies"}


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


def api(server: ApiServer, token: str = "first-token") -> client.ApiClient:
    configuration = client.Configuration(host=server.url)
    configuration.api_key["BearerToken"] = f"Bearer {token}"
    configuration.retries = False
    return client.ApiClient(configuration)


def core(server: ApiServer, **more: Any) -> client.CoreV1Api:
    return client.CoreV1Api(api(server, **more))


async def ask(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The official client is synchronous: beside the loop that serves it."""
    return await asyncio.wait_for(asyncio.to_thread(call, *arguments, **named), SOON)


async def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> dict[str, Any]:
    with pytest.raises(ApiException) as caught:
        await ask(call, *arguments, **named)
    status: dict[str, Any] = json.loads(caught.value.body or "")
    assert status["code"] == caught.value.status
    return status


def events_from(server: ApiServer, version: str, seconds: int = 1, **selectors: Any) -> list[dict[str, Any]]:
    """What the official watch is told from ``version`` until the server ends it."""
    stream = watch.Watch().stream(  # type: ignore[no-untyped-call]
        core(server).list_namespaced_config_map,
        "studio",
        resource_version=version,
        timeout_seconds=seconds,
        **selectors,
    )
    return [event["raw_object"] | {"type": event["type"]} for event in stream]


def config_map(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


# ------------------------------------------------------------------------------------------------------ reads and lists


async def test_a_list_has_the_version_of_the_store_and_not_of_its_items(server: ApiServer) -> None:
    made = server.create("policies", {"a.yaml": "one"})
    server.create("other")
    found = await ask(core(server).list_namespaced_config_map, "studio", **PINNED)
    (item,) = found.items
    assert (item.data, item.metadata.resource_version) == ({"a.yaml": "one"}, made["metadata"]["resourceVersion"])
    assert int(found.metadata.resource_version) == int(item.metadata.resource_version) + 1


async def test_pages_are_of_one_moment_and_expire_with_its_history(server: ApiServer) -> None:
    for number in range(5):
        server.create(f"part-{number}")
    first = await ask(core(server).list_namespaced_config_map, "studio", limit=2)
    server.delete("part-3")
    second = await ask(core(server).list_namespaced_config_map, "studio", limit=2, _continue=first.metadata._continue)
    assert [item.metadata.name for item in (*first.items, *second.items)] == [f"part-{n}" for n in range(4)]
    assert second.metadata.resource_version == first.metadata.resource_version
    server.compact()
    status = await refused(
        core(server).list_namespaced_config_map, "studio", limit=2, _continue=second.metadata._continue
    )
    assert (status["code"], status["reason"]) == (410, "Expired")


async def test_a_version_still_to_come_cannot_be_listed(server: ApiServer) -> None:
    status = await refused(core(server).list_namespaced_config_map, "studio", resource_version="999999")
    assert (status["code"], status["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("team=a", ["one"]),
        ("team==a,stage!=test", ["one"]),
        ("team!=a", ["none", "three", "two"]),
        ("team in (a, b)", ["one", "two"]),
        ("team notin (a,b)", ["none", "three"]),
        ("team", ["one", "three", "two"]),
        ("!team", ["none"]),
    ],
)
async def test_label_selectors_select(server: ApiServer, selector: str, names: list[str]) -> None:
    for name, labels in (("one", {"team": "a"}), ("two", {"team": "b"}), ("three", {"team": "c"}), ("none", {})):
        server.create(name, labels=labels)
    found = await ask(core(server).list_namespaced_config_map, "studio", label_selector=selector)
    assert [item.metadata.name for item in found.items] == names


# ---------------------------------------------------------------------------------------------------------- the watches


async def test_a_watch_replays_every_change_after_its_version_once_and_in_order(server: ApiServer) -> None:
    start = server.create("policies", {"a": "1"})["metadata"]["resourceVersion"]
    server.create("other")
    server.write("policies", {"a": "2"})
    server.delete("policies")
    server.create("policies", {"a": "3"})
    told = await ask(events_from, server, start, **PINNED)
    assert [(event["type"], event["data"]) for event in told] == [
        ("MODIFIED", {"a": "2"}),
        ("DELETED", {"a": "2"}),
        ("ADDED", {"a": "3"}),
    ]
    versions = [int(event["metadata"]["resourceVersion"]) for event in told]
    assert versions == sorted(set(versions))


async def test_an_object_that_leaves_or_enters_a_selection_is_deleted_or_added(server: ApiServer) -> None:
    start = server.create("policies", labels={"team": "a"})["metadata"]["resourceVersion"]
    server.write("policies", metadata={"name": "policies", "labels": {"team": "b"}})
    server.write("policies", metadata={"name": "policies", "labels": {"team": "a"}})
    told = await ask(events_from, server, start, label_selector="team=a")
    assert [event["type"] for event in told] == ["DELETED", "ADDED"]


async def test_bookmarks_come_in_the_quiet_and_move_the_version(server: ApiServer) -> None:
    server.bookmark_seconds = 0.1
    server.create("policies")
    start = str(server.store.version)
    server.bump(7)
    told = await ask(events_from, server, start, allow_watch_bookmarks=True, **PINNED)
    assert {event["type"] for event in told} == {"BOOKMARK"}
    assert {event["metadata"]["resourceVersion"] for event in told} == {str(server.store.version)}
    assert len(told) > 3
    assert await ask(events_from, server, start, **PINNED) == []


async def test_after_a_restart_an_old_version_is_an_error_event_in_a_stream_that_opened_well(server: ApiServer) -> None:
    start = server.create("policies")["metadata"]["resourceVersion"]
    await server.restart()
    with pytest.raises(ApiException, match="too old resource version") as caught:
        await ask(events_from, server, start)
    assert caught.value.status == 410
    assert server.count("watch", status=200) > 0
    listed = await ask(core(server).list_namespaced_config_map, "studio")
    assert await ask(events_from, server, listed.metadata.resource_version) == []


async def test_an_open_stream_loses_nothing_to_a_compaction(server: ApiServer) -> None:
    start = server.create("policies", {"n": "0"})["metadata"]["resourceVersion"]
    reading = asyncio.create_task(ask(events_from, server, start, 2))  # noqa: TID251
    await until(lambda: server.watching == 1)
    for number in range(1, 6):
        server.write("policies", {"n": str(number)})
        server.compact()
    assert [event["data"]["n"] for event in await reading] == ["1", "2", "3", "4", "5"]


async def test_an_informer_follows_through_a_restart(server: ApiServer) -> None:
    from kubernetes.informer import SharedInformer

    server.create("policies", {"n": "1"})
    informer = SharedInformer(  # type: ignore[no-untyped-call]
        list_func=core(server).list_namespaced_config_map, namespace="studio"
    )
    await ask(informer.start)
    try:

        def seen() -> list[Any]:
            return [item.data for item in informer.cache.list()]

        await until(lambda: seen() == [{"n": "1"}])
        await server.restart()
        server.write("policies", {"n": "2"})
        await until(lambda: seen() == [{"n": "2"}])
    finally:
        await ask(informer.stop)


# ----------------------------------------------------------------------------------------------------------- the faults


async def raw_watch(server: ApiServer, http: aiohttp.ClientSession) -> aiohttp.ClientResponse:
    query = {"watch": "true", "resourceVersion": str(server.store.version)}
    headers = {"Authorization": f"Bearer {server.token}"}
    return await http.get(f"{server.url}/api/v1/namespaces/studio/configmaps", params=query, headers=headers)


async def test_a_blackhole_takes_requests_and_answers_none_until_it_ends(server: ApiServer) -> None:
    server.create("policies", {"n": "1"})
    async with aiohttp.ClientSession() as http:
        stream = await raw_watch(server, http)
        server.blackhole()
        server.write("policies", {"n": "2"})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await stream.content.readline()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await raw_watch(server, http)
        server.blackhole(False)
        assert json.loads(await stream.content.readline())["object"]["data"] == {"n": "2"}
        stream.close()


async def test_killed_connections_end_streams_with_an_error(server: ApiServer) -> None:
    async with aiohttp.ClientSession() as http:
        stream = await raw_watch(server, http)
        server.kill_connections()
        with pytest.raises(aiohttp.ClientError):
            await stream.content.readline()
        stream.close()
    await until(lambda: server.watching == 0)


async def test_a_server_that_is_down_refuses_connections_and_comes_back_on_its_port(server: ApiServer) -> None:
    async with aiohttp.ClientSession() as http:
        async with server.down():
            with pytest.raises(aiohttp.ClientConnectorError):
                await raw_watch(server, http)
        (await raw_watch(server, http)).close()


# --------------------------------------------------------------------------------------------------------------- access


async def test_a_rule_with_resource_names_allows_lists_of_that_name_and_no_others(server: ApiServer) -> None:
    server.create("policies")
    server.rules = (Rule(("configmaps",), names=("policies",), namespace="studio"),)
    listed = core(server).list_namespaced_config_map
    assert len((await ask(listed, "studio", **PINNED)).items) == 1
    assert (await ask(core(server).read_namespaced_config_map, "policies", "studio")).metadata.name == "policies"
    for arguments in ({}, {"label_selector": "team=a"}, {"field_selector": "metadata.name=other"}):
        status = await refused(listed, "studio", **arguments)
        assert (status["code"], status["reason"]) == (403, "Forbidden")
    assert (await refused(listed, "elsewhere", **PINNED))["code"] == 403
    assert (await refused(core(server).create_namespaced_config_map, "studio", config_map("policies")))["code"] == 403


async def test_an_old_token_is_unauthorized(server: ApiServer) -> None:
    server.rotate("second-token")
    assert (await refused(core(server).list_namespaced_config_map, "studio"))["reason"] == "Unauthorized"
    await ask(core(server, token="second-token").list_namespaced_config_map, "studio")


async def test_over_tls_with_the_clusters_own_authority() -> None:
    async with ApiServer(authority=create_authority()) as server:
        assert server.url.startswith("https://")
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await http.get(server.url)


# --------------------------------------------------------------------------------------------------------------- writes


async def test_writes_through_the_official_client_are_what_is_read(server: ApiServer) -> None:
    made = await ask(core(server).create_namespaced_config_map, "studio", config_map("policies", n="1"))
    assert (await refused(core(server).create_namespaced_config_map, "studio", config_map("policies")))["code"] == 409
    made.data = {"n": "2"}
    replaced = await ask(core(server).replace_namespaced_config_map, "policies", "studio", made)
    assert replaced.metadata.uid == made.metadata.uid
    status = await refused(core(server).replace_namespaced_config_map, "policies", "studio", made)
    assert (status["code"], status["reason"]) == (409, "Conflict")
    patched = await ask(core(server).patch_namespaced_config_map, "policies", "studio", {"data": {"m": "3", "n": None}})
    assert patched.data == {"m": "3"}
    same = await ask(core(server).patch_namespaced_config_map, "policies", "studio", {"data": {"m": "3"}})
    assert same.metadata.resource_version == patched.metadata.resource_version
    await ask(core(server).delete_namespaced_config_map, "policies", "studio")
    assert (await refused(core(server).read_namespaced_config_map, "policies", "studio"))["reason"] == "NotFound"


async def test_a_lease_is_replaced_only_by_its_version(server: ApiServer) -> None:
    leases = client.CoordinationV1Api(api(server))
    lease = client.V1Lease(
        metadata=client.V1ObjectMeta(name="controller"), spec=client.V1LeaseSpec(holder_identity="a")
    )
    made = await ask(leases.create_namespaced_lease, "studio", lease)
    assert (await refused(leases.replace_namespaced_lease, "controller", "studio", lease))["code"] == 422
    made.spec.holder_identity = "b"
    await ask(leases.replace_namespaced_lease, "controller", "studio", made)
    assert (await refused(leases.replace_namespaced_lease, "controller", "studio", made))["code"] == 409
    assert server.get("controller", resource=LEASES)["spec"]["holderIdentity"] == "b"
    other = client.V1Lease(metadata=client.V1ObjectMeta(name="other"), spec=client.V1LeaseSpec(holder_identity="a"))
    await ask(leases.replace_namespaced_lease, "other", "studio", other)
    assert server.get("other", resource=LEASES)["spec"]["holderIdentity"] == "a"


async def test_an_event_is_found_by_what_it_is_about(server: ApiServer) -> None:
    about = client.V1ObjectReference(kind="ConfigMap", name="policies", namespace="studio", uid="u-1")
    event = client.CoreV1Event(
        metadata=client.V1ObjectMeta(generate_name="policies."), involved_object=about, reason="Refused", type="Warning"
    )
    await ask(core(server).create_namespaced_event, "studio", event)
    found = await ask(core(server).list_namespaced_event, "studio", field_selector="involvedObject.uid=u-1")
    assert [item.reason for item in found.items] == ["Refused"]
    assert (await ask(core(server).list_namespaced_event, "studio", field_selector="reason=Other")).items == []


def applied(server: ApiServer, manager: str, data: dict[str, str], force: bool = False) -> Any:
    """The official client sends an apply patch where the content type says so."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "status"}, "data": data}
    return core(server).patch_namespaced_config_map(
        "status", "studio", body, field_manager=manager, force=force, _content_type="application/apply-patch+yaml"
    )


async def test_server_side_apply_creates_owns_conflicts_and_removes(server: ApiServer) -> None:
    await ask(applied, server, "muxel", {"hash": "1", "old": "x"})
    await ask(applied, server, "other", {"theirs": "y"})
    assert (await refused(applied, server, "other", {"theirs": "y", "hash": "2"}))["code"] == 409
    await ask(applied, server, "muxel", {"hash": "3"})
    assert server.get("status")["data"] == {"hash": "3", "theirs": "y"}
    await ask(applied, server, "other", {"theirs": "y", "hash": "4"}, force=True)
    assert server.get("status")["data"] == {"hash": "4", "theirs": "y"}


@pytest.mark.parametrize(
    ("data", "binary", "told"),
    [
        ({"big.yaml": "x" * (1024 * 1024 + 1)}, {}, "may not be more than 1048576 bytes"),
        ({"no/slash": "x"}, {}, "a valid config key"),
        ({"both": "x"}, {"both": "eA=="}, "duplicate of key"),
    ],
    ids=["size", "key", "both"],
)
async def test_a_config_map_the_api_would_refuse_is_refused(
    server: ApiServer, data: dict[str, str], binary: dict[str, str], told: str
) -> None:
    body = {"metadata": {"name": "policies"}, "data": data, "binaryData": binary}
    status = await refused(core(server).create_namespaced_config_map, "studio", body)
    assert status["code"] == 422
    assert told in status["message"]


async def test_an_immutable_config_map_rejects_edits(server: ApiServer) -> None:
    server.create("policies", {"n": "1"}, immutable=True)
    status = await refused(core(server).patch_namespaced_config_map, "policies", "studio", {"data": {"n": "2"}})
    assert (status["code"], "immutable" in status["message"]) == (422, True)


async def test_requests_are_counted(server: ApiServer) -> None:
    await ask(core(server).list_namespaced_config_map, "studio")
    with suppress(ApiException):
        await ask(core(server).read_namespaced_config_map, "missing", "studio")
    assert server.count("list") == 1
    assert server.count("get", status=404) == 1
    assert server.all(CONFIG_MAPS) == []


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
