"""The story of the demo: start, send, break a provider half way, add up. Called by ``cli``.

The client is the official ``openai`` SDK as an application has it; only its ``base_url`` points at the sidecar. What is
printed was read from the answers' headers. Prices are the catalog's; nothing is spent, since the sandbox draws.
"""

import argparse
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from adapters.fields import read_size
from adapters.ir import MediaRequest, Operation
from policies.price import price
from proxy.configuration import load_config
from proxy.demo.sheet import Print, contact_sheet
from proxy.verbs.output import PROBLEM, USAGE, fail

PREMIUM = "gpt-image-2-high"  # the one favourite model a team would otherwise send everything to
APP_MODEL = "gpt-image-2"  # what the unchanged application says
_ROW = "{:<30.30}  {:<14.14}  {:<34.34}  {:>8}  {:>8}  {:>7}  {}"


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture that came back, and what its answer said."""

    name: str
    prompt: str
    picture: bytes
    headers: Mapping[str, str]
    premium_usd: float

    @property
    def cost_usd(self) -> float:
        return float(self.headers["x-muxel-cost-usd"])

    @property
    def deployment(self) -> str:
        return f"{self.headers['x-muxel-model']}@{self.headers['x-muxel-provider']}"

    @property
    def decide_ms(self) -> float:
        return float(self.headers["server-timing"].partition("dur=")[2])


def demo(arguments: argparse.Namespace) -> int:
    """0 when every picture came back, 2 where there is no place to put them; otherwise 1."""
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return fail(f"--out {arguments.out}: {error.strerror}", USAGE)
    try:
        import openai
    except ImportError:
        return fail("the demo uses the official openai SDK: pip install 'muxel[demo]'", PROBLEM)
    asked = yaml.safe_load(files("proxy.demo").joinpath("prompts.yaml").read_text("utf-8"))
    with _process("sandbox", "--listen", "127.0.0.1:0") as (sandbox, _):
        listen = f"127.0.0.1:{_free(arguments.port)}"
        flags = ("--listen", listen, "--admin-listen", "127.0.0.1:0", "--sandbox", sandbox)
        with _process("serve", *flags) as (sidecar, admin):
            print(f"\nsandbox  {sandbox}\nsidecar  {sidecar}\n")
            client = openai.OpenAI(base_url=f"{sidecar}/v1", api_key="the-apps-own-key", max_retries=0)
            shots = list(_shoot(client, asked, sandbox, arguments.out))
            _tell(shots, len(asked), arguments.out, admin)
            complete = len(shots) == len(asked)
            if not arguments.once and complete:
                _stay(sidecar)
    return 0 if complete else 1


def _free(port: int) -> int:
    """The port, or 0 for any where something else has it already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _shoot(client: Any, asked: list[dict[str, Any]], sandbox: str, out: Path) -> Iterator[Shot]:
    """Sends the prompts one by one, printing a row each; half way the busiest provider dies."""
    print(_ROW.format("prompt", "task", "model@provider", "cost", "premium", "decide", "why"))
    taken: dict[str, Shot] = {}
    for index, ask in enumerate(asked):
        if index == len(asked) // 2 and taken:
            busiest = Counter(shot.headers["x-muxel-provider"] for shot in taken.values()).most_common(1)[0][0]
            _kill(sandbox, busiest)
            print(f"--- {busiest} goes down: every call to it now fails ---")
        try:
            shot = _take(client, ask, taken)
        except Exception as error:  # whatever the SDK raises is what the application would see
            print(f"{ask['name']}: {error}", file=sys.stderr)
            continue
        taken[shot.name] = shot
        (out / f"{index + 1:02}-{shot.name}.png").write_bytes(shot.picture)
        why = shot.headers["x-muxel-reason"]
        if (attempts := int(shot.headers["x-muxel-attempts"])) > 1:
            why = f"fallback, attempt {attempts}; first choice: {why}"
        costs = f"${shot.cost_usd:.3f}", f"${shot.premium_usd:.3f}", f"{shot.decide_ms:.2f}ms"
        print(_ROW.format(shot.prompt, shot.headers["x-muxel-task"], shot.deployment, *costs, why), flush=True)
        yield shot


def _take(client: Any, ask: Mapping[str, Any], taken: Mapping[str, Shot]) -> Shot:
    fields = {"model": APP_MODEL, "prompt": ask["prompt"], "size": ask["size"], "quality": ask["quality"]}
    if "edit" in ask:
        source = ("picture.png", taken[ask["edit"]].picture, "image/png")
        raw = client.images.with_raw_response.edit(image=source, **fields)
    else:
        raw = client.images.with_raw_response.generate(**fields)
    picture = base64.b64decode(raw.parse().data[0].b64_json)
    return Shot(ask["name"], ask["prompt"], picture, raw.headers, _premium(ask))


def _premium(ask: Mapping[str, Any]) -> float:
    """What the same request costs at the favourite model."""
    deployment = load_config(()).catalog.by_name[PREMIUM][0]
    operation = Operation.EDIT if "edit" in ask else Operation.GENERATE
    cost = price(MediaRequest(operation, size=read_size(ask["size"], "size")), deployment)
    assert cost is not None
    return cost


def _tell(shots: list[Shot], asked: int, out: Path, admin: str) -> None:
    spent, premium = sum(shot.cost_usd for shot in shots), sum(shot.premium_usd for shot in shots)
    saved = 1 - spent / premium if premium else 0.0
    models = len({shot.headers["x-muxel-model"] for shot in shots})
    money = f"${spent:.3f} instead of ${premium:.3f}, {saved:.0%} saved"
    total = f"{len(shots)} of {asked} pictures by {models} models: {money}"
    prints = [
        Print(shot.picture, shot.prompt, shot.deployment, f"{shot.headers['x-muxel-task']}, ${shot.cost_usd:.3f}")
        for shot in shots
    ]
    sheet = out / "contact-sheet.png"
    sheet.write_bytes(contact_sheet(prints, f"Muxel demo: {total}"))
    print(f"\n{total} (catalog prices; premium is {PREMIUM} for everything; the sandbox drew, nothing was spent)")
    print(f"pictures  {out}/\nsheet     {sheet}\nmetrics   {admin}/metrics\n")


def _stay(sidecar: str) -> None:
    body = json.dumps({"prompt": "a watercolour of a harbour at dawn", "size": "1024x1024"})
    print("The sidecar stays up; Ctrl-C ends it. Try:\n")
    print(
        f"  curl -si {sidecar}/v1/images/generations -H 'content-type: application/json' -d '{body}' | head -c 1200\n"
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


def _kill(sandbox: str, provider: str) -> None:
    body = json.dumps({"provider": provider, "down": 1}).encode()
    request = urllib.request.Request(
        f"{sandbox}/_sandbox/faults", body, {"content-type": "application/json"}, method="PUT"
    )
    with urllib.request.urlopen(request):
        pass


@contextmanager
def _process(verb: str, *flags: str) -> Iterator[tuple[str, str]]:
    """Another Muxel process, up and serving; its URL and that of its admin port."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MUXEL_")}
    command = [sys.executable, "-m", "proxy.cli", verb, *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environ)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            told = json.loads(line) if line.startswith("{") else {}
            if told.get("message") == "serving":
                break
            if not told or told["level"] == "error":
                print(line, end="", file=sys.stderr)
        else:
            raise SystemExit(f"muxel: {verb} did not start")
        _drain(process.stderr)
        yield told["url"], told.get("admin_url", "")
    finally:
        process.terminate()
        process.wait(timeout=30)


def _drain(stream: Any) -> None:
    """Keeps reading what the process logs, so that its pipe never fills."""
    import threading

    threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()
