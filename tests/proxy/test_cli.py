"""The command line as a contract: exit statuses, what goes to which stream, each verb's JSON, and lean imports."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from adapters.registry import WIRES
from policies.decide import Code
from proxy.cli import main
from proxy.configuration import load_config

ROOT = Path(__file__).parents[2]
BROKEN = """\
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec:
  objective: cheepest
  defaultTier: gold
  rulez: []
"""
PLACES = ["5:14", "6:16", "7:3"]  # of the three mistakes in it
GOOD = "apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {name: default}\nspec: {objective: best}\n"
HOUSE_MODEL = """\
apiVersion: muxel.dev/v1alpha1
kind: ModelCatalog
metadata: {name: house}
spec:
  models:
    - {id: house-style, vendor: us, operations: [image.generate], deployments: [{provider: vllm, remote: house/style}]}
"""
HOUSE_RULE = GOOD.replace("{objective: best}", "{rules: [{name: ours, use: {models: [house-style]}}]}")
FREE_PORTS = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
SOON = 60.0  # seconds a process may take for what takes it two


@dataclass(frozen=True, slots=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A verb in this process, at the root of the repository."""
    monkeypatch.chdir(ROOT)

    def run(*argv: object) -> Ended:
        try:
            status = main([str(word) for word in argv])
        except SystemExit as end:
            status = int(end.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    return file


def assert_all_told(broken: Path, err: str) -> None:
    """Each mistake at the start of its line, where editors and people look for it."""
    assert re.findall(rf"^{re.escape(str(broken))}:(\d+:\d+): \S", err, re.MULTILINE) == PLACES


def environment(**extra: str) -> dict[str, str]:
    """This process's own, without what would configure a Muxel or unbuffer a Python."""
    ours = ("MUXEL_", "OTEL_", "PYTHONUNBUFFERED")
    keys = ("_API_KEY", "_API_TOKEN")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(ours) and not name.endswith(keys)}
    return kept | extra


def process(*argv: object, stdout: int = subprocess.PIPE, **extra: str) -> Ended:
    """A verb as the process it is in earnest."""
    command = [sys.executable, "-m", "proxy.cli", *map(str, argv)]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment(**extra), stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=4 * SOON
    )
    return Ended(ended.returncode, ended.stdout or "", ended.stderr)


@asynccontextmanager
async def serving(*argv: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A verb that serves, past the line that says so, and what that line says."""
    command = [sys.executable, "-m", "proxy.cli", *map(str, argv)]
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    muxel = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment(), stdout=null, stderr=pipe)
    assert muxel.stderr is not None
    try:
        async with asyncio.timeout(SOON):
            async for line in muxel.stderr:
                if (told := json.loads(line))["message"] == "serving":
                    break
            else:
                pytest.fail("it ended without serving")
            yield muxel, told
            await muxel.communicate()
    finally:
        if muxel.returncode is None:
            muxel.kill()
            await muxel.communicate()


# ------------------------------------------------------------------------------------------------------------ bad usage


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("", "VERB"),
        ("route", "route"),
        ("check", "PATH"),
        ("check policies/defaults nowhere/a.yaml nowhere/b.yaml", "nowhere/b.yaml"),
        ("explain", "PROMPT"),
        ("explain fox --tier gold", "--tier"),
        ("explain fox --op image.dream", "--op"),
        ("explain fox --size 1024", "--size"),
        ("explain fox --size 0x1024", "--size"),
        ("explain fox --max-cost cheap", "--max-cost"),
        ("explain fox --max-cost -1", "--max-cost"),
        ("explain fox --max-cost nan", "--max-cost"),
        ("explain fox --max-latency soon", "--max-latency"),
        ("explain fox --max-latency inf", "--max-latency"),
        ("explain fox --policy nowhere", "--policy nowhere"),
        ("models --policy nowhere", "--policy nowhere"),
        ("classify --in nowhere.jsonl", "nowhere.jsonl"),
        ("wires --yaml", "--yaml"),
        ("demo --port 70000", "--port"),
        ("demo --out pyproject.toml", "--out"),
        ("sandbox --listen 8088", "--listen"),
        ("sandbox --faults nowhere.yaml", "nowhere.yaml"),
        ("sandbox --policy nowhere", "nowhere"),
        ("serve --listen 8080", "--listen"),
        ("serve --listen 127.0.0.1:http", "--listen"),
        ("serve --admin-listen localhost:70000", "--admin-listen"),
        ("serve --sandbox sometimes", "--sandbox"),
        ("serve --log-level loud", "--log-level"),
        ("serve --policy nowhere", "--policy nowhere"),
    ],
)
def test_bad_usage_is_status_2_and_names_what_is_wrong(run: Run, command: str, named: str) -> None:
    ended = run(*command.split())
    assert (ended.status, ended.out) == (2, "")
    assert named in ended.err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MUXEL_LISTEN", "8080"),
        ("MUXEL_POLICY", "nowhere"),
        ("MUXEL_SANDBOX", "sometimes"),
        ("MUXEL_MAX_BODY_BYTES", "many"),
        ("MUXEL_DRAIN_SECONDS", "-1"),
        ("MUXEL_DRAIN_SECONDS", "nan"),
        ("MUXEL_LOOP", "trio"),
        ("MUXEL_RECORD_PROMPTS", "salt"),
        ("MUXEL_RECORD_SHARE", "most"),
        ("MUXEL_RECORD_SHARE", "1.5"),
        ("MUXEL_RECORD_SHARE", "nan"),
        ("MUXEL_RECORD_MAX_BYTES", "0"),
    ],
)
def test_serve_names_the_variable_that_cannot_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    ended = run("serve")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"muxel: {variable} ")


def test_the_version_is_the_packages(run: Run) -> None:
    assert run("--version") == Ended(0, f"muxel {version('muxel')}\n", "")


# ---------------------------------------------------------------------------------------------------------------- check


@pytest.mark.parametrize("paths", [["policies/defaults"], ["policies/defaults", "policies/models"]])
def test_the_shipped_files_are_valid_as_a_users_own(run: Run, paths: list[str]) -> None:
    ended = run("check", *paths)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("ok: ")


def test_what_we_tell_people_to_deploy_is_valid(run: Run) -> None:
    told = run("check", "--json", "deploy/sidecar").json
    assert told["ok"]
    assert told["hash"] != load_config(()).hash, "the policies in the manifests were not looked at"


def test_check_tells_every_mistake_of_every_file_at_its_place(run: Run, broken: Path) -> None:
    other = broken.with_name("other.yaml")
    other.write_text("kind: Provider\n")
    ended = run("check", broken.parent)
    assert (ended.status, ended.out) == (1, "")
    assert_all_told(broken, ended.err)
    assert f"{other}:1:1: " in ended.err
    assert ended.err.endswith("\nmuxel: 4 problems\n")


def test_check_as_json_has_the_same_mistakes_by_field(run: Run, broken: Path) -> None:
    ended = run("check", "--json", broken)
    assert (ended.status, ended.err) == (1, "")
    told = ended.json
    assert (told["ok"], told["hash"]) == (False, None)
    assert {problem["file"] for problem in told["problems"]} == {str(broken)}
    assert [f"{problem['line']}:{problem['column']}" for problem in told["problems"]] == PLACES
    assert 'did you mean "cheapest"?' in told["problems"][0]["message"]
    assert run("check", "--json", "policies/defaults").json == {
        "ok": True,
        "hash": load_config([ROOT / "policies/defaults"]).hash,
        "problems": [],
    }


def config_map(policy: str) -> str:
    indented = "".join(f"    {line}\n" for line in policy.splitlines())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: policies}}\ndata:\n  policy.yaml: |\n{indented}"


def manifests(directory: Path, policy: str) -> Path:
    """A directory as it lies in a GitOps repository; the file with the ConfigMap."""
    directory.mkdir(parents=True)
    (directory / "app.yaml").write_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\nspec: {}\n")
    (directory / "kustomization.yaml").write_text("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n")
    (directory / "policies.yaml").write_text(config_map(policy))
    return directory / "policies.yaml"


def test_check_looks_into_the_config_maps_of_a_directory_of_manifests(run: Run, tmp_path: Path) -> None:
    manifests(tmp_path / "good", GOOD)
    assert run("check", tmp_path / "good").status == 0
    bad = manifests(tmp_path / "bad", BROKEN)
    ended = run("check", tmp_path / "bad")
    assert ended.status == 1
    assert re.findall(r"policies\.yaml:(\d+:\d+): ", ended.err) == ["10:18", "11:20", "12:7"]
    assert ended.err.startswith(f"{bad}:")


def test_check_takes_each_directory_below_for_a_configuration_of_its_own(run: Run, tmp_path: Path) -> None:
    manifests(tmp_path / "one", GOOD)
    manifests(tmp_path / "two/deep", GOOD)  # the same name twice is no clash, since no process reads both
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart/values.yaml").write_text("replicas: 2\n")
    manifests(tmp_path / ".git/old", BROKEN)
    assert run("check", tmp_path).status == 0
    bad = manifests(tmp_path / "three", BROKEN)
    ended = run("check", tmp_path)
    assert ended.status == 1
    assert ended.err.count(f"{bad}:") == len(PLACES)
    told = run("check", "--json", tmp_path).json
    assert (told["ok"], told["hash"], len(told["problems"])) == (False, None, len(PLACES))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that even root cannot read")
def test_a_file_that_cannot_be_read_is_a_problem_like_any_other(run: Run) -> None:
    ended = run("check", "/proc/self/mem")
    assert (ended.status, ended.out) == (1, "")
    assert "cannot be read" in ended.err


# -------------------------------------------------------------------------------------------------------------- explain


def test_explain_tells_the_choice_and_every_rejection(run: Run) -> None:
    told = run("explain", "studio product photo of a glass bottle", "--json", "--max-cost", "0.05").json
    assert told["traits"]["task"] == "product_photo"
    chosen, *_ = ranked = [told["chosen"], *told["fallbacks"]]
    assert {"model", "provider", "price_usd"} <= chosen.keys()
    assert all(one["price_usd"] <= 0.05 for one in ranked)
    assert {"model", "provider", "code", "detail"} <= told["rejected"][0].keys()
    assert {one["code"] for one in told["rejected"]} <= set(Code)
    catalog = load_config(()).catalog
    assert len(ranked) + len(told["rejected"]) == len(catalog.deployments)
    assert told["policy_hash"] == load_config(()).hash
    assert told["rule"] == ""
    assert 0 < told["decide_us"] < 5e6


def test_explain_takes_what_a_caller_may_ask(run: Run) -> None:
    def told(*options: str) -> Any:
        ended = run("explain", "make the sky a deeper blue", "--json", *options)
        assert (ended.status, ended.err) == (0, "")
        return ended.json

    assert told("--tier", "premium")["tier"] == "premium"
    edit = told("--op", "image.edit")
    assert edit["traits"]["task"].startswith("edit_")
    assert all("image.edit" in one["detail"] for one in edit["rejected"] if one["code"] == "operation")
    assert "limit" in {one["code"] for one in told("--size", "4096x1024")["rejected"]}
    quick = told("--max-latency", "12")
    assert all(one["p50"] <= 12 for one in [quick["chosen"], *quick["fallbacks"]])


@pytest.mark.parametrize(
    ("options", "code"), [(("--max-cost", "0.00001"), "cost"), (("--max-latency", "0.001"), "latency")]
)
def test_nothing_eligible_is_status_1_and_tells_the_codes(run: Run, options: tuple[str, ...], code: str) -> None:
    lines = run("explain", "a fox", *options)
    assert lines.status == 1
    assert re.search(rf"^chosen +none: .*\d+ {code}\b", lines.out, re.MULTILINE)
    told = run("explain", "a fox", "--json", *options)
    assert told.status == 1
    assert (told.json["chosen"], told.json["fallbacks"]) == (None, [])
    assert code in {one["code"] for one in told.json["rejected"]}


def test_explain_as_lines_begins_with_traits_and_names_the_choice(run: Run) -> None:
    out = run("explain", "anime character with a sword").out
    assert out.startswith("traits     anime")
    assert re.search(r"^chosen +\S+@\S+ at \$", out, re.MULTILINE)


@pytest.mark.parametrize("verb", [("explain", "a fox"), ("models",), ("sandbox", "--listen", "127.0.0.1:0")])
def test_a_broken_policy_is_refused_by_every_verb_with_all_its_mistakes(
    run: Run, broken: Path, verb: tuple[str, ...]
) -> None:
    ended = run(*verb, "--policy", broken)
    assert (ended.status, ended.out) == (1, "")
    assert_all_told(broken, ended.err)


def test_policy_flags_compose(run: Run, tmp_path: Path) -> None:
    model, rule = tmp_path / "model.yaml", tmp_path / "rule.yaml"
    model.write_text(HOUSE_MODEL)
    rule.write_text(HOUSE_RULE)
    alone = run("explain", "a fox", "--policy", rule)
    assert alone.status == 1
    assert "house-style" in alone.err
    told = run("explain", "a fox", "--json", "--policy", rule, "--policy", model).json
    assert (told["rule"], told["chosen"]["model"], told["chosen"]["price_usd"]) == ("ours", "house-style", None)


# ----------------------------------------------------------------------------------------------------- models and wires


def test_models_as_json_is_the_catalog_in_force(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(HOUSE_MODEL)
    rows = {row["id"]: row for row in run("models", "--json", "--policy", tmp_path).json["models"]}
    catalog = load_config([tmp_path]).catalog
    assert list(rows) == sorted(catalog.models)
    assert sum(len(row["deployments"]) for row in rows.values()) == len(catalog.deployments)
    for row in rows.values():
        assert row["vendor"]
        assert row["operations"]
        for score in row["quality"].values():
            assert 0 <= score["p25"] <= score["score"] <= 1
            assert score["source"]
            assert re.fullmatch(r"\d{4}-\d\d-\d\d", score["as_of"])
        for deployment in row["deployments"]:
            assert {"provider", "remote", "wire"} <= deployment.keys()
            assert deployment["wire"] in WIRES
            assert deployment["price"] is None or (deployment["price"]["source"] and deployment["price"]["as_of"])
    assert rows["house-style"]["not_yet_sendable"] == []
    assert (
        rows["veo-3.1"]["operations"] == rows["veo-3.1"]["not_yet_sendable"] == ["video.from_image", "video.generate"]
    )
    assert rows["house-style"]["deployments"] == [
        {"provider": "vllm", "remote": "house/style", "wire": "openai_images", "price": None}
    ]


def test_wires_as_json_says_what_each_face_can_do(run: Run) -> None:
    rows = {row["name"]: row for row in run("wires", "--json").json["wires"]}
    assert rows.keys() == WIRES.keys()
    assert rows["comfyui"]["client"] is None
    for name, wire in WIRES.items():
        assert wire.client is None or rows[name]["client"] == sorted(wire.client.CLIENT_OPERATIONS)
        assert wire.provider is None or rows[name]["provider"] == sorted(wire.provider.PROVIDER_OPERATIONS)
    assert rows["openai_images"]["mounts"] == ["/openai/v1", "/openai", "/v1"]
    assert "streams to the caller" in rows["openai_images"]["features"]
    assert "jobs are polled" in rows["replicate"]["features"]


def test_models_marks_what_no_wire_can_send_yet(run: Run) -> None:
    lines = {line.split()[0]: line for line in run("models").out.splitlines()}
    assert lines["veo-3.1"].endswith("  video.from_image* video.generate*")
    assert lines["tripo-h3.1"].endswith("  model3d.generate*")
    assert lines["seedream-4"].endswith("  image.edit image.generate")
    assert lines["*"] == "* no wire can send it yet: listed, never chosen"


def test_explain_says_plainly_that_no_wire_can_send_a_video_yet(run: Run) -> None:
    ended = run("explain", "x", "--op", "video.generate")
    assert ended.status == 1
    assert re.search(r"^chosen +none: .*does video.generate, but its wire cannot send it yet", ended.out, re.MULTILINE)


TABLES = [
    ("models", len(load_config(()).catalog.models) + 1),  # and the meaning of its mark
    ("wires", len(WIRES) + 2),  # and the meaning of its marks
    ("wires --markdown", len(WIRES) + 1),
]


@pytest.mark.parametrize(("verb", "rows"), TABLES)
def test_tables_have_a_head_and_a_row_for_each(run: Run, verb: str, rows: int) -> None:
    ended = run(*verb.split())
    assert (ended.status, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == 1 + rows


# ------------------------------------------------------------------------------------------------------------- classify

LINES = (
    b'{"id": 7, "prompt": "studio product photo of a glass bottle", "size": "1024x1024"}\n'
    b"\n"
    b'{"prompt": "replace the sky", "operation": "image.edit", "negative_prompt": "clouds", "note": null}\n'
)


@pytest.mark.parametrize("source", ["stdin", "-", "file"])
def test_classify_adds_its_verdict_to_each_object(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "prompts.jsonl").write_bytes(LINES)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(LINES)))
    options = {"stdin": [], "-": ["--in", "-"], "file": ["--in", str(tmp_path / "prompts.jsonl")]}
    ended = run("classify", *options[source])
    assert (ended.status, ended.err) == (0, "")
    bottle, sky = (json.loads(line) for line in ended.out.splitlines())
    assert list(bottle) == ["id", "prompt", "size", "task", "confidence", "runner_up", "signals"]
    assert (bottle["id"], bottle["task"]) == (7, "product_photo")
    assert 0 < bottle["confidence"] <= 1
    assert bottle["signals"]
    assert sky["task"].startswith("edit_")
    assert (sky["note"], sky["negative_prompt"]) == (None, "clouds")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b'{"prompt": ""}', "prompt"),
        (b'{"negative_prompt": "x"}', "prompt"),
        (b'{"prompt": 5}', "prompt"),
        (b'{"prompt": "x", "negative_prompt": []}', "negative_prompt"),
        (b'{"prompt": "x", "operation": "image.dream"}', "operation"),
        (b'{"prompt": "x", "size": "large"}', "size"),
        (b'{"prompt": "x", "size": 1024}', "size"),
        (b'{"prompt": "x"', "not valid JSON"),
        (b'{"prompt": "\xff"}', "not valid JSON"),
        (b'["x"]', "object"),
    ],
)
def test_a_bad_line_is_named_with_its_field_after_the_good_ones_before_it(
    run: Run, tmp_path: Path, line: bytes, named: str
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(b'{"prompt": "a fox"}\n\n' + line + b'\n{"prompt": "never reached"}\n')
    ended = run("classify", "--in", file)
    assert ended.status == 1
    assert json.loads(ended.out)["prompt"] == "a fox"
    assert ended.err.startswith("muxel: line 3: ")
    assert named in ended.err


# ----------------------------------------------------------------------------------------------------- as one of a pipe


@pytest.mark.parametrize("extra", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", ["wires", "models --json", "classify --in {prompts}", "--version"])
def test_a_reader_that_left_is_no_error(tmp_path: Path, command: str, extra: dict[str, str]) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_bytes(LINES)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = process(*command.format(prompts=prompts).split(), stdout=writer, **extra)
    finally:
        os.close(writer)
    assert ended == Ended(0, "", "")


HEAVY = {"aiohttp", "asyncio", "kubernetes", "opentelemetry", "PIL", "pybreaker", "uvloop", "watchfiles"}
LEAN = """
import json, sys
from proxy.cli import main
for command in json.loads(sys.argv[1]):
    assert main(command) == 0, command
    assert not (loaded := set(json.loads(sys.argv[2])) & set(sys.modules)), (command, loaded)
"""


def test_verbs_that_need_no_network_import_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_bytes(LINES)
    commands = [
        ["wires"],
        ["classify", "--in", str(tmp_path / "prompts.jsonl")],
        ["models", "--json"],
        ["explain", "a fox"],
        ["check", "policies/defaults"],
        ["test", "policies/defaults"],
        ["replay", "--traffic", "creator"],
        ["diff", "policies/defaults", "policies/defaults", "--traffic", "creator"],
    ]
    script = [sys.executable, "-c", LEAN, json.dumps(commands), json.dumps(sorted(HEAVY))]
    ended = subprocess.run(script, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=SOON)
    assert (ended.returncode, ended.stderr) == (0, "")


# ---------------------------------------------------------------------------------------------------- verbs that serve


def test_serve_refuses_a_broken_policy_before_anything_starts(broken: Path) -> None:
    ended = process("serve", "--policy", broken, *FREE_PORTS)
    assert ended.status == 1
    assert_all_told(broken, ended.err)
    assert len(ended.err.splitlines()) == len(PLACES) + 1, "something was logged, so something was started"


@pytest.mark.parametrize("command", [("serve", "--admin-listen", "127.0.0.1:0"), ("sandbox",)])
def test_an_occupied_port_is_told_in_a_line(command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = process(*command, "--listen", f"127.0.0.1:{port}")
    assert ended.status == 1
    *logged, last = ended.err.splitlines()
    assert last.startswith("muxel: cannot serve: ")
    assert str(port) in last
    assert "in use" in last
    assert all(json.loads(line)["message"] != "serving" for line in logged)


def test_serve_names_a_key_file_it_cannot_read(tmp_path: Path) -> None:
    ended = process("serve", *FREE_PORTS, MUXEL_SEAL_KEY_FILE=str(tmp_path / "nowhere"))
    assert ended.status == 2
    assert ended.err.splitlines()[-1].startswith("muxel: MUXEL_SEAL_KEY_FILE cannot be read: ")


async def test_serve_says_where_is_ready_and_stops_when_told(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(GOOD)
    async with serving("serve", "--policy", tmp_path, *FREE_PORTS) as (muxel, told):
        assert told["policy_hash"] == load_config([tmp_path]).hash
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{told['admin_url']}/readyz") as ready:
                assert (ready.status, (await ready.json())["policy_hash"]) == (200, told["policy_hash"])
            async with http.get(f"{told['url']}/nowhere") as reply:
                assert reply.status == 404
        muxel.send_signal(signal.SIGTERM)
    assert muxel.returncode == 0


@pytest.mark.parametrize(
    ("watch", "named"),
    [
        ("studio/policies", "--watch needs a cluster: neither KUBERNETES_SERVICE_HOST nor KUBECONFIG is set"),
        ("Studio/policies", "--watch 'Studio' is not the name of a Kubernetes object"),
    ],
)
def test_serve_without_the_cluster_it_is_to_watch_says_so(watch: str, named: str) -> None:
    ended = process("serve", "--watch", watch, *FREE_PORTS, KUBERNETES_SERVICE_HOST="", KUBECONFIG="")
    assert (ended.status, ended.out) == (2, "")
    assert named in ended.err


def test_a_missing_policy_is_no_bad_usage_where_a_start_may_fall_back(tmp_path: Path) -> None:
    nowhere = ("--listen", "127.0.0.1:0", "--admin-listen", "256.0.0.1:1")  # or it would serve for ever
    ended = process("serve", "--policy", tmp_path / "none", *nowhere, MUXEL_ON_INVALID_START="default")
    refusal = next(json.loads(line) for line in ended.err.splitlines() if "configuration refused" in line)
    assert refusal["fallback"] == "default"
    assert refusal["problems"] == [f"{tmp_path / 'none'}:1:1: no such file or directory"]


async def test_the_sandbox_says_where_obeys_its_faults_and_stops_when_told(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("- {provider: bfl, down: 1}\n")
    async with serving("sandbox", "--listen", "127.0.0.1:0", "--faults", tmp_path / "faults.yaml") as (box, told):
        async with aiohttp.ClientSession() as http, http.get(f"{told['url']}/_sandbox/faults") as reply:
            assert (await reply.json())["rules"] == [{"provider": "bfl", "down": 1.0}]
        assert {"bfl", "openai"} <= set(told["providers"])
        box.send_signal(signal.SIGTERM)
    assert box.returncode == 0


@pytest.mark.parametrize(
    ("faults", "named"),
    [
        (b"- {provider: bfl, down: 3}", "[0]: down"),
        (b"- {}\n- {latency: {p50: 2, p95: 1}}", "[1]: latency"),
        (b"- {slowness: 1}", "slowness"),
        (b"provider: bfl", "list"),
        (b"- {", "line 1"),
        (b"\xff", "faults.yaml"),
    ],
)
def test_the_sandbox_refuses_broken_faults_and_names_the_field(
    run: Run, tmp_path: Path, faults: bytes, named: str
) -> None:
    (tmp_path / "faults.yaml").write_bytes(faults)
    ended = run("sandbox", "--listen", "127.0.0.1:0", "--faults", tmp_path / "faults.yaml")
    assert (ended.status, ended.out) == (1, "")
    assert str(tmp_path / "faults.yaml") in ended.err
    assert named in ended.err


def test_the_demo_draws_every_prompt_and_survives_the_provider_that_dies(tmp_path: Path) -> None:
    asked = yaml.safe_load((ROOT / "proxy/demo/prompts.yaml").read_text())
    ended = process("demo", "--once", "--port", "0", "--out", tmp_path)
    assert ended.status == 0, ended.err
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [*(f"{index:02}-{ask['name']}.png" for index, ask in enumerate(asked, 1)), "contact-sheet.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)

    before, line, after = re.split(r"^(--- \S+ goes down.*)$", ended.out, flags=re.MULTILINE)
    row = re.compile(r"(\S+)@(\S+) +\$\d.*?ms +(.*)")
    first, last = row.findall(before), row.findall(after)
    assert len(first) + len(last) == len(asked) == 12
    assert all(ask["prompt"][:25] in ended.out for ask in asked)
    assert len({model for model, _, _ in first + last}) >= 4
    assert line.split()[1] in {provider for _, provider, _ in first}
    assert line.split()[1] not in {provider for _, provider, _ in last}
    assert any("attempt" in why for _, _, why in last)
