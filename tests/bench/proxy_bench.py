"""Requests through Muxel beside the same requests through a bare aiohttp proxy, in one run on the same machine.

What is compared is CPU time of the proxy process a request, which a noisy neighbour disturbs least, and latency.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter

import aiohttp
import orjson

REQUESTS, CONCURRENCY, ROUNDS = 1500, 16, 3
BODY = orjson.dumps(
    {"model": "gpt-image-2", "prompt": "studio product photo of a green glass bottle on a marble plinth"}
)
_TICKS = os.sysconf("SC_CLK_TCK")


def run() -> dict[str, float]:
    """Microseconds of CPU, milliseconds of latency, requests a second: medians of the rounds, which alternate."""
    with _server("backend") as (backend, _):
        url = f"http://127.0.0.1:{backend}"
        with _server("passthrough", url) as bare, _server("muxel", url) as muxel:
            rounds = [asyncio.run(_both(bare, muxel)) for _ in range(ROUNDS)]
    return {name: median(figures[name] for figures in rounds) for name in rounds[0]}


async def _both(bare: tuple[int, int], muxel: tuple[int, int]) -> dict[str, float]:
    plain, routed = await _load(*bare), await _load(*muxel)
    return {
        "bare aiohttp cpu us/request": plain[0],
        "muxel cpu us/request": routed[0],
        "added cpu us/request": routed[0] - plain[0],
        "bare aiohttp requests/s": plain[1],
        "muxel requests/s": routed[1],
        "bare aiohttp latency p50 ms": plain[2],
        "muxel latency p50 ms": routed[2],
        "added latency p50 ms": routed[2] - plain[2],
    }


async def _load(port: int, pid: int) -> tuple[float, float, float]:
    """CPU microseconds a request, requests a second, and the median latency of one caller at a time in ms."""
    url = f"http://127.0.0.1:{port}/v1/images/generations"
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> float:
            begun = perf_counter()
            async with session.post(url, data=BODY, headers=headers) as reply:
                await reply.read()
                assert reply.status == 200, await reply.text()
            return (perf_counter() - begun) * 1000

        async def caller(requests: int) -> None:
            for _ in range(requests):
                await one()

        await caller(200)
        cpu, begun = _cpu(pid), perf_counter()
        await asyncio.gather(*(caller(REQUESTS // CONCURRENCY) for _ in range(CONCURRENCY)))
        seconds, spent = perf_counter() - begun, _cpu(pid) - cpu
        alone = [await one() for _ in range(300)]
    done = REQUESTS // CONCURRENCY * CONCURRENCY
    return spent / done * 1e6, done / seconds, median(alone)


def _cpu(pid: int) -> float:
    """Seconds of user and system time the process has had."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def _server(*arguments: str) -> Iterator[tuple[int, int]]:
    """Port and process id of one of ``tests.bench.servers``."""
    command = [sys.executable, "-m", "tests.bench.servers", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
