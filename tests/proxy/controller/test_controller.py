"""Whole controllers against the fake API server: what they write, when, and what they leave alone."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from policies.compose import compose
from proxy.controller import lease, reconcile, run, store
from proxy.controller.run import Controlling
from proxy.kube.client import Api
from tests.kube.api_server import CONFIG_MAPS, EVENTS, LEASES, ApiServer
from tests.proxy.controller.conftest import Control, add, data, rules, stored, until
from tests.proxy.controller.sources import BROKEN, GOOD, MODELS, POLICY, PROVIDER, composed, source

KEY = "studio_brand_policy.yaml"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "QUIET_SECONDS", 0.01)


def events(server: ApiServer) -> list[tuple[str, str, int]]:
    return [
        (one["involvedObject"]["name"], one["reason"], one["count"])
        for one in sorted(server.all(EVENTS), key=lambda one: one["metadata"]["name"])
    ]


async def status(server: ApiServer, key: str, value: str) -> dict[str, str]:
    await until(lambda: data(server, "muxel-status").get(key) == value)
    return data(server, "muxel-status")


def writes(server: ApiServer) -> list[tuple[str, str, str]]:
    """Every request but those that only look."""
    looking = ("get", "list", "watch")
    return [(one.verb, one.resource, one.name) for one in server.requests if one.verb not in looking]


def exposition(running: Controlling) -> str:
    return running.reconciler.store.metrics.exposition().decode()


async def settled(server: ApiServer, running: Controlling) -> None:
    """Until a reconciliation that began now is over."""
    seen = server.count("get")
    running.election.changed()
    await until(lambda: server.count("get") >= seen + 2)


# ---------------------------------------------------------------------------------------------------------- one replica


async def test_a_source_is_compiled_told_of_and_never_written_to(server: ApiServer, control: Control) -> None:
    add(server, "brand", GOOD)
    before = server.get("brand")
    async with control():
        told = await status(server, "accepted", "True")
        await until(lambda: events(server))
    compiled = stored(server, "muxel-compiled")
    assert compiled is not None
    assert compiled["data"] == {KEY: GOOD}
    assert compiled["metadata"]["annotations"] == {
        "muxel.dev/policy-hash": composed([source("brand", GOOD)]).hash,
        "muxel.dev/sources": "studio/brand",
    }
    assert told["observedHash"] == compiled["metadata"]["annotations"]["muxel.dev/policy-hash"]
    assert told["programmed"] == "True"
    assert json.loads(told["sources"])[0]["version"] == before["metadata"]["resourceVersion"]
    assert events(server) == [("brand", "PolicyInForce", 1)]
    assert server.get("brand") == before
    labels = {name: server.get(name)["metadata"]["labels"] for name in ("muxel-compiled", "muxel-status")}
    assert labels["muxel-status"]["muxel.dev/status"] == "true"
    assert "muxel.dev/status" not in labels["muxel-compiled"]


async def test_a_source_that_comes_changes_breaks_is_mended_and_goes(server: ApiServer, control: Control) -> None:
    async with control():
        told = await status(server, "accepted", "False")
        assert 'no ConfigMap has the label muxel.dev/policy: "true"' in told["message"]
        assert stored(server, "muxel-compiled") is None

        add(server, "brand", GOOD)
        await until(lambda: data(server, "muxel-compiled") == {KEY: GOOD})
        first = composed([source("brand", GOOD)]).hash
        await status(server, "observedHash", first)

        server.write("brand", {"policy.yaml": BROKEN})
        told = await status(server, "accepted", "False")
        assert data(server, "muxel-compiled") == {KEY: GOOD}
        assert told["observedHash"] == first
        assert told["programmed"] == "False"
        assert told["errors"].startswith(
            "studio/brand/policy.yaml:4:8: spec.objektive is not a known key; did you mean"
        )
        await until(lambda: "PolicyRefused" in str(events(server)))
        warning = next(one for one in server.all(EVENTS) if one["type"] == "Warning")
        assert warning["involvedObject"]["uid"] == server.get("brand")["metadata"]["uid"]
        assert first in warning["message"]

        server.write("brand", {"policy.yaml": POLICY % ("default", "{objective: fastest}")})
        told = await status(server, "accepted", "True")
        assert told["observedHash"] not in ("", first)
        assert "fastest" in data(server, "muxel-compiled")[KEY]

        add(server, "other", POLICY % ("other", "{}"))
        await until(lambda: len(data(server, "muxel-compiled")) == 2)
        server.delete("brand")
        await until(lambda: set(data(server, "muxel-compiled")) == {"studio_other_policy.yaml"})
        last = data(server, "muxel-compiled")
        server.delete("other")
        told = await status(server, "sources", "[]\n")
        assert told["accepted"] == "False"
        assert "the last good policies stay in force" in told["message"]
        assert data(server, "muxel-compiled") == last


async def test_part_of_a_set_is_never_in_force(server: ApiServer, control: Control) -> None:
    """The model is right by itself, and its provider is not there: neither is compiled before both are right."""
    add(server, "brand", GOOD)
    async with control():
        await until(lambda: data(server, "muxel-compiled"))
        add(server, "models", MODELS)
        await status(server, "accepted", "False")
        server.write("brand", {"policy.yaml": POLICY % ("default", "{objective: fastest}")})
        await until(
            lambda: server.get("brand")["metadata"]["resourceVersion"] in data(server, "muxel-status")["sources"]
        )
        assert data(server, "muxel-compiled") == {KEY: GOOD}
        add(server, "provider", PROVIDER)
        await until(lambda: len(data(server, "muxel-compiled")) == 3)


async def test_a_start_with_broken_sources_leaves_what_is_in_force(server: ApiServer, control: Control) -> None:
    add(server, "brand", GOOD)
    async with control():
        await status(server, "accepted", "True")
    compiled = stored(server, "muxel-compiled")
    server.write("brand", {"policy.yaml": BROKEN})
    async with control():
        told = await status(server, "accepted", "False")
        assert "LastGoodKept" in told["conditions"]
        assert stored(server, "muxel-compiled") == compiled
        assert compiled is not None
        assert told["observedHash"] == compiled["metadata"]["annotations"]["muxel.dev/policy-hash"]


async def test_a_first_start_with_broken_sources_compiles_nothing_and_says_so(
    server: ApiServer, control: Control
) -> None:
    add(server, "brand", BROKEN)
    async with control():
        told = await status(server, "accepted", "False")
        assert "NothingCompiled" in told["conditions"]
        assert stored(server, "muxel-compiled") is None


async def test_what_others_did_to_its_own_is_mended_at_the_resync(server: ApiServer, control: Control) -> None:
    add(server, "brand", GOOD)
    async with control(resync_seconds=1.0):
        await status(server, "accepted", "True")
        server.write("muxel-compiled", {KEY: "by hand"})
        await until(lambda: data(server, "muxel-compiled") == {KEY: GOOD})
        server.write("brand", {"policy.yaml": BROKEN})
        await status(server, "accepted", "False")
        server.delete("muxel-compiled")
        await until(lambda: data(server, "muxel-compiled") == {KEY: GOOD})
        server.delete("muxel-status")
        await status(server, "accepted", "False")


async def test_labels_and_annotations_of_others_on_its_own_are_kept(server: ApiServer, control: Control) -> None:
    add(server, "brand", GOOD)
    server.create("muxel-compiled", {}, labels={"team": "studio"})
    async with control():
        await until(lambda: data(server, "muxel-compiled") == {KEY: GOOD})
    compiled = stored(server, "muxel-compiled")
    assert compiled is not None
    assert compiled["metadata"]["labels"]["team"] == "studio"


async def test_its_own_configmap_is_no_source_even_with_the_label(server: ApiServer, control: Control) -> None:
    add(server, "brand", GOOD)
    server.create("muxel-compiled", {"x.yaml": POLICY % ("loop", "{}")}, labels={"muxel.dev/policy": "true"})
    async with control():
        await until(lambda: data(server, "muxel-compiled") == {KEY: GOOD})
        told = await status(server, "accepted", "True")
        assert [one["name"] for one in json.loads(told["sources"])] == ["brand"]


async def test_sources_of_several_namespaces_are_one_set(server: ApiServer, control: Control) -> None:
    server.rules = rules("studio", "design")
    add(server, "brand", GOOD)
    add(server, "models", MODELS, "design")
    add(server, "provider", PROVIDER, "design")
    add(server, "brand", POLICY % ("elsewhere", "{}"), "elsewhere")
    async with control(namespaces=("studio", "design")):
        await until(lambda: len(data(server, "muxel-compiled")) == 3)
        assert set(data(server, "muxel-compiled")) == {
            "design_models_policy.yaml",
            "design_provider_policy.yaml",
            KEY,
        }
        await until(lambda: len(events(server)) == 3)


async def test_a_write_that_is_forbidden_is_told_and_is_done_once_it_is_allowed(
    server: ApiServer, control: Control
) -> None:
    add(server, "brand", GOOD)
    allowed = server.rules or ()
    server.rules = [
        replace(rule, names=("muxel-status",)) if "muxel-compiled" in rule.names else rule for rule in allowed
    ]
    async with control():
        told = await status(server, "programmed", "False")
        assert told["accepted"] == "True"
        assert "WriteFailed" in told["conditions"]
        assert 'configmaps "muxel-compiled" is forbidden' in told["message"]
        server.rules = allowed
        await status(server, "programmed", "True")
        assert data(server, "muxel-compiled") == {KEY: GOOD}


async def test_the_same_mistake_again_is_the_same_event_counted_up(server: ApiServer, control: Control) -> None:
    add(server, "brand", BROKEN)
    async with control():
        await until(lambda: events(server) == [("brand", "PolicyRefused", 1)])
        server.write("brand", {"policy.yaml": BROKEN, "README.md": "no policy"})
        await until(lambda: events(server) == [("brand", "PolicyRefused", 2)])
        (event,) = server.all(EVENTS)
        server.store.delete(EVENTS, "studio", event["metadata"]["name"], {})  # after an hour the server does
        server.write("brand", {"policy.yaml": BROKEN})
        await until(lambda: events(server) == [("brand", "PolicyRefused", 1)])


async def test_where_nothing_changes_nothing_is_written_and_little_is_asked(
    server: ApiServer, control: Control
) -> None:
    add(server, "brand", GOOD)
    add(server, "bad", BROKEN)
    async with control() as running:
        await status(server, "accepted", "False")
        await until(lambda: len(events(server)) == 2)
        server.requests.clear()
        for _ in range(5):
            await settled(server, running)
        assert [one for one in writes(server) if not one[1].startswith("leases")] == []
        assert server.count("list") == server.count("watch") == 0
        assert server.count("get") == 10


async def test_an_api_server_that_starts_again_is_followed_again(server: ApiServer, control: Control) -> None:
    add(server, "brand", GOOD)
    async with control():
        await status(server, "accepted", "True")
        server.requests.clear()
        async with server.down():
            server.write("brand", {"policy.yaml": POLICY % ("default", "{objective: fastest}")})
        await until(lambda: "fastest" in data(server, "muxel-compiled")[KEY])
        assert len(server.requests) < 40


async def test_probes_and_metrics_tell_how_it_stands(server: ApiServer, control: Control) -> None:
    add(server, "brand", GOOD)
    async with control() as running, aiohttp.ClientSession() as http:
        await status(server, "accepted", "True")
        async with http.get(running.admin_url + "/healthz") as reply:
            assert reply.status == 200
        async with http.get(running.admin_url + "/readyz") as reply:
            told = await reply.json()
            assert (reply.status, told["leading"], told["namespaces"]) == (200, True, {"studio": "watched"})
        async with http.get(running.admin_url + "/metrics") as reply:
            text = await reply.text()
    for line in (
        "muxel_controller_leader 1.0",
        'muxel_controller_sources{namespace="studio"} 1.0',
        "muxel_controller_accepted 1.0",
        "muxel_controller_programmed 1.0",
        f'muxel_controller_config_hash{{hash="{composed([source("brand", GOOD)]).hash}"}} 1.0',
        'muxel_controller_writes_total{object="compiled",outcome="ok"} 1.0',
    ):
        assert line in text


async def test_it_is_not_ready_before_the_sources_are_known(server: ApiServer, control: Control) -> None:
    allowed, server.rules = server.rules, ()
    async with control() as running, aiohttp.ClientSession() as http:
        await until(lambda: server.count("list", status=403))
        async with http.get(running.admin_url + "/readyz") as reply:
            told = await reply.json()
            assert reply.status == 503
            assert "configmaps is forbidden" in told["namespaces"]["studio"]
        server.rules = allowed
        await until(lambda: running.reconciler.known() is not None)
        async with http.get(running.admin_url + "/readyz") as reply:
            assert reply.status == 200


async def test_a_mistake_of_ours_ends_one_reconciliation_and_not_all(
    server: ApiServer, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("of ours")

    add(server, "brand", GOOD)
    monkeypatch.setattr(reconcile, "compose", fail)
    async with control() as running:
        await until(lambda: "of ours" in running.reconciler.trouble)
        monkeypatch.setattr(reconcile, "compose", compose)
        await status(server, "accepted", "True")


async def test_a_lease_that_is_not_understood_ends_no_election(server: ApiServer, control: Control) -> None:
    spec = {"holderIdentity": "", "leaseDurationSeconds": "soon"}
    server.store.create(LEASES, "studio", {"metadata": {"name": "muxel-controller"}, "spec": spec})
    async with control() as running:
        await until(lambda: server.count("get", "leases.coordination.k8s.io") >= 2)
        assert not running.election.leads()
        server.store.delete(LEASES, "studio", "muxel-controller", {})
        await until(running.election.leads)


# --------------------------------------------------------------------------------------------------------- two replicas


async def test_of_two_replicas_one_writes_and_the_other_takes_over_when_it_stops(
    server: ApiServer, control: Control
) -> None:
    add(server, "brand", GOOD)
    async with control("two") as second:
        async with control("one") as first:
            await status(server, "accepted", "True")
            await until(lambda: first.reconciler.outcome and second.reconciler.outcome)
            leader, other = (first, second) if first.election.leads() else (second, first)
            assert leader.election.leads()
            assert not other.election.leads()
            server.write("brand", {"policy.yaml": POLICY % ("default", "{objective: fastest}")})
            await until(lambda: "fastest" in data(server, "muxel-compiled")[KEY])
            text = exposition(other)
            assert 'writes_total{object="compiled"' not in text
            assert 'writes_total{object="status"' not in text
        await until(second.election.leads)
        server.write("brand", {"policy.yaml": GOOD})
        await until(lambda: data(server, "muxel-compiled") == {KEY: GOOD})
    (released,) = server.all(LEASES)
    assert released["spec"]["holderIdentity"] == ""


async def test_the_lease_of_a_holder_that_died_is_taken_once_it_has_run_out(
    server: ApiServer, control: Control
) -> None:
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 4, "leaseTransitions": 4}
    server.store.create(LEASES, "studio", {"metadata": {"name": "muxel-controller"}, "spec": spec})
    add(server, "brand", GOOD)
    async with control("one") as running:
        await until(lambda: running.reconciler.outcome)
        assert not running.election.leads()
        assert stored(server, "muxel-compiled") is None
        await status(server, "accepted", "True")
        (taken,) = server.all(LEASES)
        assert (taken["spec"]["holderIdentity"], taken["spec"]["leaseTransitions"]) == ("one", 5)


async def test_a_new_leader_does_not_tell_again_what_was_told(server: ApiServer, control: Control) -> None:
    add(server, "brand", BROKEN)
    async with control("one"):
        await until(lambda: events(server))
    async with control("two") as second:
        await until(second.election.leads)
        await settled(server, second)
        await settled(server, second)
    assert events(server) == [("brand", "PolicyRefused", 1)]


async def test_a_leader_that_lost_its_lease_writes_no_more(server: ApiServer, control: Control) -> None:
    add(server, "brand", GOOD)
    async with control("one") as running:
        await status(server, "accepted", "True")
        (held,) = server.all(LEASES)
        server.store.replace(
            LEASES, "studio", "muxel-controller", {**held, "spec": {**held["spec"], "holderIdentity": "another"}}
        )
        await until(lambda: not running.election.leads())
        server.write("brand", {"policy.yaml": POLICY % ("default", "{objective: fastest}")})
        await until(lambda: "fastest" in str(running.reconciler.sources))
        assert data(server, "muxel-compiled") == {KEY: GOOD}


async def test_a_leader_that_is_deposed_between_look_and_write_does_not_write(
    server: ApiServer, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(server, "brand", GOOD)
    async with control("one") as running:
        await status(server, "accepted", "True")
        real, deposed = Api.call, asyncio.Event()

        async def call(api: Api, method: str, path: str, *rest: Any, **more: Any) -> Any:
            found = await real(api, method, path, *rest, **more)
            if method == "GET" and path.endswith("muxel-compiled"):
                held = server.get("muxel-controller", resource=LEASES)
                taken = {**held, "spec": {**held["spec"], "holderIdentity": "another"}}
                server.store.replace(LEASES, "studio", "muxel-controller", taken)
                running.election._until = 0.0  # as when the renewal has failed for too long
                deposed.set()
            return found

        monkeypatch.setattr(Api, "call", call)
        server.requests.clear()
        server.write("brand", {"policy.yaml": POLICY % ("default", "{objective: fastest}")})
        await deposed.wait()
        await until(lambda: "muxel_controller_leader 0.0" in exposition(running))
    assert data(server, "muxel-compiled") == {KEY: GOOD}
    assert [one for one in writes(server) if one[1] == "configmaps"] == []


async def test_a_replica_does_not_put_its_last_good_over_what_another_has_compiled(
    server: ApiServer, control: Control
) -> None:
    add(server, "brand", GOOD)
    async with control() as running:
        await status(server, "accepted", "True")
        assert running.reconciler.last_good
        server.write("muxel-compiled", {KEY: "# newer, by another"})
        server.write("brand", {"policy.yaml": BROKEN})
        await status(server, "accepted", "False")
        await settled(server, running)
        assert data(server, "muxel-compiled") == {KEY: "# newer, by another"}


async def test_a_leader_that_cannot_renew_gives_up_in_time(
    server: ApiServer, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_WITHIN", 2.0)
    async with control("one") as running:
        await until(running.election.leads)
        server.blackhole()
        await until(lambda: "muxel_controller_leader 0.0" in exposition(running))
        assert not running.election.leads()
        server.blackhole(False)
        await until(running.election.leads)


async def test_a_write_without_an_answer_is_given_up_and_done_again(
    server: ApiServer, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CALL_SECONDS", 0.3)
    add(server, "brand", GOOD)
    async with control() as running:
        await status(server, "accepted", "True")
        server.blackhole()
        running.election.changed()
        await until(lambda: "no answer to GET" in running.reconciler.trouble)
        server.blackhole(False)
        await until(lambda: running.reconciler.trouble == "")


async def test_two_writers_at_once_do_not_overwrite_each_other(
    server: ApiServer, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the write of one, somebody else writes: refused by its version, and done again."""
    add(server, "brand", GOOD)
    async with control():
        await status(server, "accepted", "True")
        real, raced = Api.call, asyncio.Event()

        async def call(api: Api, method: str, path: str, *rest: Any, **more: Any) -> Any:
            if method == "PUT" and path.endswith("muxel-compiled") and not raced.is_set():
                raced.set()
                found = server.get("muxel-compiled")
                labelled = {**found["metadata"], "labels": {**found["metadata"]["labels"], "by": "another"}}
                server.store.replace(CONFIG_MAPS, "studio", "muxel-compiled", {**found, "metadata": labelled})
            return await real(api, method, path, *rest, **more)

        monkeypatch.setattr(Api, "call", call)
        server.write("brand", {"policy.yaml": POLICY % ("default", "{objective: fastest}")})
        await until(lambda: "fastest" in data(server, "muxel-compiled")[KEY])
        assert raced.is_set()
        compiled = stored(server, "muxel-compiled")
        assert compiled is not None
        assert compiled["metadata"]["labels"]["by"] == "another"
        assert "WriteFailed" not in data(server, "muxel-status")["conditions"]
