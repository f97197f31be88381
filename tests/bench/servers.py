"""The servers of the proxy measurement, each a process of its own: ``python -m tests.bench.servers NAME ARGS``.

backend              answers every image request with the same small picture
passthrough URL      a bare aiohttp reverse proxy in front of URL, the least a Python proxy can do
muxel URL            Muxel routing to URL, traced, with spans exported to nowhere

Each prints its port and serves until it is killed.
"""

import asyncio
import base64
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import aiohttp
import orjson
import uvloop
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from PIL import Image

POLICY = """
apiVersion: muxel.dev/v1alpha1
kind: Provider
metadata: {{name: openai}}
spec: {{wire: openai_images, baseUrl: "{url}/v1", credential: none}}
"""


class Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def backend() -> web.Application:
    out = BytesIO()
    Image.new("RGB", (64, 64), "#336699").save(out, "PNG")
    picture = base64.b64encode(out.getvalue()).decode()
    body = orjson.dumps(
        {"created": 1, "data": [{"b64_json": picture}], "usage": {"input_tokens": 1, "output_tokens": 9}}
    )

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    return app


async def passthrough(url: str) -> web.Application:
    session = aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0))

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"Content-Type": request.content_type}
        async with session.request(request.method, url + request.path, data=body, headers=headers) as reply:
            return web.Response(status=reply.status, body=await reply.read(), content_type=reply.content_type)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def serve(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def muxel(url: str) -> None:
    from proxy import logs
    from proxy.serve import running
    from proxy.settings import Settings

    logs.install("info")
    with tempfile.TemporaryDirectory() as directory:
        policy = Path(directory) / "policy.yaml"
        policy.write_text(POLICY.format(url=url))
        settings = Settings(listen="127.0.0.1:0", admin_listen="127.0.0.1:0", policy=(policy,), sandbox="never")
        async with running(settings, {}, BatchSpanProcessor(Nowhere())) as served:
            print(served.url.rpartition(":")[2], flush=True)
            await asyncio.Event().wait()


async def main(name: str, *arguments: str) -> None:
    match name:
        case "backend":
            await serve(await backend())
        case "passthrough":
            await serve(await passthrough(*arguments))
        case "muxel":
            await muxel(*arguments)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
