"""muxel catalog refresh as a command: feeds and files in, documents, statuses and streams out; and a cluster's API."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from policies.load import load_documents
from policies.write import MOST_BYTES
from proxy.cli import main
from proxy.configuration import WIRE_FACTS
from tests.kube.pki import create_authority

ROOT = Path(__file__).parents[2]
TODAY = datetime.now(UTC).date()
HEAD = "deployment,unit,price_usd,date,source\n"
RECRAFT = f"recraft-v3@recraft,image,0.05,{TODAY},https://www.recraft.ai\n"
TENFOLD = f"recraft-v4@recraft,image,10,{TODAY},https://www.recraft.ai\n"
BROKEN = "apiVersion: muxel.dev/v1alpha1\nkind: ModelCatalog\nmetadata: {name: refreshed}\nspec: {}\n"


@dataclass(frozen=True, slots=True)
class Ended:
    status: int
    out: str
    err: str


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    file = tmp_path / "prices.csv"
    file.write_text(HEAD + RECRAFT)
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*argv: object) -> Ended:
        try:
            status = main(["catalog", "refresh", *map(str, argv)])
        except SystemExit as end:
            status = int(end.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


def process(*argv: object, **environment: str) -> Ended:
    """The verb as the process it is in earnest."""
    command = [sys.executable, "-m", "proxy.cli", "catalog", "refresh", *map(str, argv)]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def price_of(files: dict[str, str], name: str = "recraft-v3@recraft") -> float:
    (deployment,) = load_documents(files, WIRE_FACTS).catalog.by_name[name]
    assert deployment.price is not None
    return deployment.price.table[0][2]


# ------------------------------------------------------------------------------------------------------------- the verb


def test_the_document_has_standard_output_and_what_changed_standard_error(feed: Path) -> None:
    ended = process("--prices", feed)
    assert ended.status == 0
    assert price_of({"out.yaml": ended.out}) == 0.05
    assert "recraft-v3@recraft" in ended.err
    assert "$0.04  $0.05  +25.0 %" in ended.err
    assert "1 prices and 0 scores changed" in ended.err


def test_a_file_or_a_directory_is_written_whole_and_loads_over_what_is_shipped(run: Any, feed: Path) -> None:
    directory = feed.with_name("catalog")
    directory.mkdir()
    for out, written in ((feed.with_name("out.yaml"), feed.with_name("out.yaml")), (directory, "refreshed.yaml")):
        ended = run("--prices", feed, "--out", out)
        assert (ended.status, ended.err) == (0, "")
        assert "+25.0 %" in ended.out
        file = directory / written
        assert price_of({"out.yaml": file.read_text()}) == 0.05
        assert main(["check", str(file)]) == 0
    assert [file.name for file in directory.iterdir()] == ["refreshed.yaml"]


def test_the_same_feeds_are_the_same_bytes(feed: Path) -> None:
    assert process("--prices", feed).out == process("--prices", feed, PYTHONHASHSEED="7").out


def test_a_refused_row_is_status_1_at_its_line_and_the_others_are_written(run: Any, feed: Path) -> None:
    feed.write_text(HEAD + TENFOLD + RECRAFT)
    ended = run("--prices", feed)
    assert ended.status == 1
    assert f"{feed}:2: recraft-v4@recraft: " in ended.err
    assert price_of({"out.yaml": ended.out}) == 0.05
    assert "recraft-v4" not in ended.out
    forced = run("--prices", feed, "--force", "recraft-v4@recraft")
    assert forced.status == 0
    assert price_of({"out.yaml": forced.out}, "recraft-v4@recraft") == 10
    assert run("--prices", feed, "--max-price-change", "1000").status == 0
    assert run("--prices", feed, "--max-price-change", "1.1").out.count("- id:") == 0


def test_scores_are_told_and_bounded_as_well(run: Any, feed: Path) -> None:
    feed.write_text(
        "model,board,category_or_dimension,score,scale,date,source,ci95,n\n"
        f"FLUX.2 [pro],text-to-image,overall,1195,Elo,{TODAY},today,8,9000\n"
    )
    told = json.loads(run("--scores", feed, "--json").out)
    assert [(one["model"], one["task"]) for one in told["scores"]] == [("flux-2-pro", "general")]
    assert told["models"] == ["flux-2-pro"]
    assert told["scores"][0]["new"]["score"] > told["scores"][0]["old"]["score"]
    ended = run("--scores", feed, "--max-score-change", "0.001")
    assert (ended.status, ended.out.count("- id:")) == (1, 0)
    assert "flux-2-pro/general" in ended.err


def test_json_is_one_object_with_every_row_that_was_not_taken(run: Any, feed: Path) -> None:
    strangers = f"nobody@recraft,image,1,{TODAY},x\nrecraft-v3@recraft,image,x,{TODAY},x\n"
    feed.write_text(HEAD + TENFOLD + RECRAFT + strangers)
    ended = run("--prices", feed, "--json")
    told = json.loads(ended.out)
    assert (ended.status, ended.err) == (1, "")
    assert told["prices"] == []
    assert {(one["line"], one["subject"], one["force"]) for one in told["refused"]} == {
        (2, "recraft-v4@recraft", "recraft-v4@recraft"),
        (3, "recraft-v3@recraft", ""),
        (5, "recraft-v3@recraft", ""),
    }
    assert told["unmatched"] == [{"what": "deployment nobody@recraft", "rows": 1, "file": str(feed), "line": 4}]


def test_the_next_run_goes_on_from_the_last(run: Any, feed: Path) -> None:
    """Also where that one lies in the directory of a ConfigMap, and before there was a first."""
    mounted = feed.with_name("mounted")
    assert run("--prices", feed, "--previous", mounted, "--out", feed.with_name("first.yaml")).status == 0
    mounted.mkdir()
    (mounted / "catalog.yaml").write_text(feed.with_name("first.yaml").read_text())
    feed.write_text(HEAD + f"recraft-v4@recraft,image,0.03,{TODAY},https://www.recraft.ai\n")
    second = run("--prices", feed, "--previous", mounted)
    assert second.status == 0
    files = {"out.yaml": second.out}
    assert (price_of(files), price_of(files, "recraft-v4@recraft")) == (0.05, 0.03)
    (mounted / "catalog.yaml").write_text(second.out)
    assert run("--prices", feed, "--previous", mounted).out == second.out


def test_what_an_older_version_wrote_may_name_what_is_gone_and_its_figures_still_hold(run: Any, feed: Path) -> None:
    first = yaml.safe_load(run("--prices", feed).out)
    (model,) = first["spec"]["models"]
    model["deployments"].append({"provider": "closed", "remote": "x"})
    model["deployments"][0]["options"] = {"abolished": True}
    older = feed.with_name("older.yaml")
    older.write_text(yaml.safe_dump(first))
    feed.write_text(HEAD)
    second = run("--prices", feed, "--previous", older)
    assert second.status == 0
    assert price_of({"out.yaml": second.out}) == 0.05
    assert "abolished" not in second.out
    older.write_text(BROKEN)
    ended = run("--prices", feed, "--previous", older)
    assert (ended.status, ended.out) == (1, "")
    assert f"{older}:4:7: " in ended.err


def test_ones_own_model_is_not_written_and_its_place_is_told(run: Any, feed: Path) -> None:
    own = feed.with_name("own.yaml")
    shipped = (ROOT / "policies/models/recraft.yaml").read_text()
    document = yaml.safe_load(shipped)
    document["metadata"]["name"] = "own"
    document["spec"]["models"] = [one for one in document["spec"]["models"] if one["id"] == "recraft-v3"]
    own.write_text(yaml.safe_dump(document))
    ended = run("--prices", feed, "--policy", own)
    assert (ended.status, ended.out.count("- id:")) == (0, 0)
    assert f"unmatched: deployment recraft-v3@recraft, which is yours at {own}:" in ended.err


def test_a_config_map_is_ready_to_be_applied(run: Any, feed: Path) -> None:
    manifest = yaml.safe_load(run("--prices", feed, "--config-map", "muxel-catalog").out)
    assert (manifest["kind"], manifest["metadata"]["name"]) == ("ConfigMap", "muxel-catalog")
    assert price_of(manifest["data"]) == 0.05


def test_what_no_config_map_holds_is_refused_and_nothing_written(
    run: Any, feed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policies.write.MOST_BYTES", 1000)
    out = feed.with_name("out.yaml")
    ended = run("--prices", feed, "--config-map", "muxel-catalog", "--out", out)
    assert ended.status == 1
    assert "a ConfigMap holds 1000" in ended.err
    assert not out.exists()
    assert MOST_BYTES == 1024 * 1024


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ("", "--prices"),
        ("--prices nowhere.csv", "nowhere.csv"),
        ("--prices {feed} --policy nowhere", "--policy nowhere"),
        ("--prices {feed} --out nowhere/out.yaml", "--out nowhere/out.yaml"),
        ("--prices {feed} --force flux-9", "--force flux-9"),
        ("--prices {feed} --force recraft-v3/sculpture", "recraft-v3/sculpture"),
        ("--prices {feed} --max-price-change 0.5", "--max-price-change"),
        ("--prices {feed} --max-score-change nan", "--max-score-change"),
        ("--prices {feed} --config-map Catalog", "--config-map"),
        ("--prices {feed} --apply catalog", "--apply"),
        ("--prices {feed} --apply a/b --out c", "--out"),
    ],
)
def test_bad_usage_is_told_by_name_and_writes_nothing(run: Any, feed: Path, argv: str, named: str) -> None:
    ended = run(*argv.format(feed=feed).split())
    assert ended.status == 2
    assert named in ended.err
    assert "- id:" not in ended.out


def test_it_needs_no_network_library_unless_it_applies(feed: Path) -> None:
    heavy = ["aiohttp", "asyncio", "kubernetes", "opentelemetry", "PIL", "pybreaker", "uvloop"]
    script = (
        "import sys; from proxy.cli import main;"
        f"assert main(['catalog', 'refresh', '--prices', {str(feed)!r}]) == 0;"
        f"assert not set({heavy}) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, timeout=120)


# ---------------------------------------------------------------------------------------------------------- the cluster


@dataclass(slots=True)
class Api:
    """A cluster's API as far as one ConfigMap goes. ``seen`` are the requests: method, path and query, type, body."""

    status: int = 200
    tls: ssl.SSLContext | None = None  # None: plain HTTP
    keys: list[str | None] = field(default_factory=list)
    seen: list[tuple[str, str, str, Any]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(api: Api) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            api.keys.append(self.headers["Authorization"])
            api.seen.append((self.command, self.path, self.headers["Content-Type"], yaml.safe_load(body)))
            answer: dict[str, Any] = api.seen[-1][3]
            if api.status != 200:
                answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": api.status}
            content = json.dumps(answer).encode()
            self.send_response(api.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        if api.tls:
            server.socket = api.tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def kubeconfig(directory: Path, url: str) -> str:
    file = directory / "kubeconfig"
    cluster, user = {"server": url}, {"token": "of-a-service-account"}
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return str(file)


def test_apply_is_one_server_side_apply_of_that_config_map(feed: Path) -> None:
    api = Api()
    with serving(api):
        config = kubeconfig(feed.parent, api.url)
        ended = process("--prices", feed, "--apply", "media/muxel-catalog", KUBECONFIG=config)
    assert (ended.status, ended.err) == (0, "")
    assert "+25.0 %" in ended.out
    ((method, path, content_type, body),) = api.seen
    assert (method, content_type) == ("PATCH", "application/apply-patch+yaml")
    assert api.keys == ["Bearer of-a-service-account"]
    route, _, query = path.partition("?")
    assert route == "/api/v1/namespaces/media/configmaps/muxel-catalog"
    assert set(query.split("&")) == {"fieldManager=muxel-catalog-refresh", "force=true"}
    assert (body["apiVersion"], body["kind"], body["metadata"]["name"]) == ("v1", "ConfigMap", "muxel-catalog")
    assert price_of(body["data"]) == 0.05


def test_in_a_pod_it_speaks_to_the_cluster_around_it_by_the_mounted_token(feed: Path) -> None:
    account, authority = feed.with_name("account"), create_authority()
    account.mkdir()
    account.joinpath("token").write_text("of-a-service-account")
    account.joinpath("namespace").write_text("media")
    account.joinpath("ca.crt").write_bytes(authority.pem)
    api = Api(tls=authority.server_context("127.0.0.1"))
    with serving(api):
        around = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": api.url.rpartition(":")[2]}
        around |= {"KUBECONFIG": "", "MUXEL_SERVICE_ACCOUNT": str(account)}
        ended = process("--prices", feed, "--apply", "media/muxel-catalog", **around)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("deployment")
    assert [(method, path.partition("?")[0]) for method, path, _, _ in api.seen] == [
        ("PATCH", "/api/v1/namespaces/media/configmaps/muxel-catalog")
    ]
    (key,) = api.keys
    assert key is not None
    assert key.lower() == "bearer of-a-service-account"


@pytest.mark.parametrize("status", [403, 404, 500])
def test_what_the_api_refuses_is_status_1_in_a_line(feed: Path, status: int) -> None:
    api = Api(status)
    with serving(api):
        config = kubeconfig(feed.parent, api.url)
        ended = process("--prices", feed, "--apply", "media/muxel-catalog", KUBECONFIG=config)
    assert ended.status == 1
    assert f"muxel: ConfigMap media/muxel-catalog: the API answered {status}" in ended.err
    assert "Traceback" not in ended.err
    assert "of-a-service-account" not in ended.err


def test_no_cluster_at_all_is_status_1_in_a_line(feed: Path) -> None:
    api = Api()
    with serving(api):
        config = kubeconfig(feed.parent, api.url)  # whose port is free again
    for setting in (config, str(feed.with_name("none"))):
        ended = process("--prices", feed, "--apply", "media/muxel-catalog", KUBECONFIG=setting, HOME=str(feed.parent))
        assert ended.status == 1
        assert "the API cannot be reached" in ended.err
        assert "Traceback" not in ended.err
