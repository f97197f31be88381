"""Admission as the API server meets it: the port of a whole controller, over real TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from proxy.controller.run import Controlling
from proxy.controller.webhook import MOST_BYTES, PATH
from tests.kube.api_server import ApiServer
from tests.proxy.controller.conftest import Control, add, data, until
from tests.proxy.controller.sources import BROKEN, GOOD, POLICY, config_map
from tests.proxy.test_reroute import certificate

NAME = "muxel-controller.studio.svc"


@asynccontextmanager
async def serving(control: Control, tmp_path: Path) -> AsyncIterator["Asking"]:
    cert, key = certificate(tmp_path, NAME)
    async with (
        control(webhook_listen="127.0.0.1:0", tls_cert=cert, tls_key=key) as running,
        aiohttp.ClientSession() as http,
    ):
        yield Asking(running, http, cert)


class Asking:
    """What the API server does: it knows the name and the authority, and posts a review."""

    def __init__(self, running: Controlling, http: aiohttp.ClientSession, authority: Path) -> None:
        self.running, self.http = running, http
        self.trust = ssl.create_default_context(cafile=str(authority))

    async def post(self, body: bytes, path: str = PATH) -> tuple[int, Any]:
        async with self.http.post(
            self.running.webhook_url + path, data=BytesIO(body), ssl=self.trust, server_hostname=NAME
        ) as reply:
            return reply.status, await (reply.json() if reply.content_type == "application/json" else reply.text())

    async def review(self, operation: str, new: Any, old: Any = None, **more: Any) -> Any:
        of = (new or old)["metadata"]
        request = {"uid": "1", "operation": operation, "namespace": of["namespace"], "name": of["name"]}
        request |= {"object": new, "oldObject": old, **more}
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        status, answer = await self.post(orjson.dumps(body))
        assert status == 200, answer
        return answer["response"]


async def known(asking: Asking, count: int) -> None:
    def enough() -> bool:
        sources = asking.running.reconciler.known()
        return sources is not None and len(sources.sources) == count

    await until(enough)


async def test_a_broken_source_is_denied_with_its_place_and_a_good_one_is_not(
    server: ApiServer, control: Control, tmp_path: Path
) -> None:
    add(server, "brand", GOOD)
    async with serving(control, tmp_path) as asking:
        await known(asking, 1)
        denied = await asking.review("UPDATE", config_map("brand", BROKEN), config_map("brand", GOOD))
        assert denied == {
            "uid": "1",
            "allowed": False,
            "status": {
                "code": 422,
                "reason": "Invalid",
                "message": "1 problem in these policies:\n"
                'studio/brand/policy.yaml:4:8: spec.objektive is not a known key; did you mean "objective"?',
            },
        }
        assert await asking.review("UPDATE", config_map("brand", GOOD), config_map("brand", BROKEN)) == {
            "uid": "1",
            "allowed": True,
        }
        text = asking.running.reconciler.store.metrics.exposition().decode()
        assert 'muxel_controller_reviews_total{outcome="denied"} 1.0' in text
        assert 'muxel_controller_reviews_total{outcome="allowed"} 1.0' in text


async def test_what_is_known_of_the_others_is_what_they_are_now(
    server: ApiServer, control: Control, tmp_path: Path
) -> None:
    other = config_map("other", POLICY % ("other", "{}"))
    async with serving(control, tmp_path) as asking:
        await known(asking, 0)
        assert (await asking.review("CREATE", other))["allowed"]
        add(server, "brand", POLICY % ("other", "{}"))
        await known(asking, 1)
        denied = await asking.review("CREATE", other)
        assert 'RoutingPolicy "other" is already defined at studio/brand/policy.yaml:3:18' in str(denied)


async def test_a_dry_run_is_answered_alike_and_nothing_comes_of_any_review(
    server: ApiServer, control: Control, tmp_path: Path
) -> None:
    add(server, "brand", GOOD)
    async with serving(control, tmp_path) as asking:
        await until(lambda: data(server, "muxel-status").get("accepted") == "True")
        before = (data(server, "muxel-compiled"), data(server, "muxel-status"))
        denied = await asking.review("UPDATE", config_map("brand", BROKEN), config_map("brand", GOOD), dryRun=True)
        assert not denied["allowed"]
        gone = await asking.review("DELETE", None, config_map("brand", GOOD), dryRun=True)
        assert gone["allowed"]
        assert "the last good policies stay in force" in gone["warnings"][0]
        assert (data(server, "muxel-compiled"), data(server, "muxel-status")) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"kind": "AdmissionReview"}', b"\xff", b'{"a":' * 2000], ids=len)
async def test_what_is_no_review_is_answered_400(
    server: ApiServer, control: Control, tmp_path: Path, body: bytes
) -> None:
    async with serving(control, tmp_path) as asking:
        await known(asking, 0)
        status, _ = await asking.post(body)
        assert status == 400


async def test_a_body_without_end_is_not_read_to_its_end(server: ApiServer, control: Control, tmp_path: Path) -> None:
    async with serving(control, tmp_path) as asking:
        status, _ = await asking.post(b" " * (MOST_BYTES + 1))
        assert status == 413
        status, _ = await asking.post(b"{}", "/elsewhere")
        assert status == 404


async def test_before_the_sources_are_known_nobody_is_judged(
    server: ApiServer, control: Control, tmp_path: Path
) -> None:
    server.rules = ()
    async with serving(control, tmp_path) as asking:
        assert (await asking.post(b"{}"))[0] == 503


async def test_a_renewed_certificate_is_shown_without_a_restart(
    server: ApiServer, control: Control, tmp_path: Path
) -> None:
    async with serving(control, tmp_path) as asking:
        await known(asking, 0)
        cert, _ = certificate(tmp_path, NAME)
        asking.trust = ssl.create_default_context(cafile=str(cert))
        async with asyncio.timeout(30):
            while True:
                try:
                    async with aiohttp.ClientSession() as fresh:
                        asking.http = fresh
                        assert (await asking.post(b"{}"))[0] == 400
                        return
                except aiohttp.ClientConnectorCertificateError:
                    continue  # the old one is still shown


async def test_many_reviews_at_once_are_all_answered(server: ApiServer, control: Control, tmp_path: Path) -> None:
    reviews: list[Mapping[str, Any]] = [config_map(f"team-{n}", POLICY % (f"team-{n}", "{}")) for n in range(8)]
    async with serving(control, tmp_path) as asking:
        await known(asking, 0)
        answers = await asyncio.gather(*(asking.review("CREATE", review) for review in reviews))
        assert all(answer["allowed"] for answer in answers)
