"""The ``muxel`` command: one verb a subcommand. ``--json`` prints one JSON object; errors go to standard error.

Exit status 0: done; 1: a problem was found; 2: bad usage. Verbs that need no network import neither the server nor the
client, so that they start fast.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

OPERATION = "image.generate"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; the exit status. Raises SystemExit for bad usage, as argparse does."""
    try:
        try:
            arguments = _parser().parse_args(argv)
            verb: Callable[[argparse.Namespace], int] = arguments.verb
            return verb(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Who read has seen enough. The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("muxel", description="Routes generative media requests by what the picture is.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _serve(verbs.add_parser("serve", help="serve callers and operators"))
    _controller(verbs.add_parser("controller", help="compile policies in a cluster, and judge them at admission"))
    _demo(verbs.add_parser("demo", help="a dozen prompts through sandbox and sidecar"))
    _sandbox(verbs.add_parser("sandbox", help="providers on loopback that draw what they are asked"))
    _check(verbs.add_parser("check", help="validate policies, catalogs, providers and manifests"))
    _test(verbs.add_parser("test", help="run the tests beside policies"))
    _explain(verbs.add_parser("explain", help="which model a prompt would get, and why"))
    _classify(verbs.add_parser("classify", help="what prompts are about, as JSON lines"))
    _replay(verbs.add_parser("replay", help="what recorded or made-up traffic would have cost"))
    _diff(verbs.add_parser("diff", help="what a change of configuration does to recorded traffic"))
    _models(verbs.add_parser("models", help="the catalog in force"))
    _schema(verbs.add_parser("schema", help="the JSON Schema of policies, catalogs and providers"))
    _catalog(verbs.add_parser("catalog", help="keep the catalog's prices and scores up to date"))
    _wires(verbs.add_parser("wires", help="the HTTP dialects spoken, and what each can do"))
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: the machinery behind it is slow to import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"muxel {version('muxel')}")
        parser.exit()


def _run(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A verb whose module is imported only when it runs."""

    def run(arguments: argparse.Namespace) -> int:
        from importlib import import_module

        verb: Callable[[argparse.Namespace], int] = getattr(import_module(module), name)
        return verb(arguments)

    return run


def _json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy", type=Path, action="append", metavar="PATH", help="a file or directory of documents; may be repeated"
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"must be a port from 0 to 65535; got {text!r}")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a time such as 2026-12-01T18:30+01:00; got {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _serve(parser: argparse.ArgumentParser) -> None:
    _policy(parser)
    parser.add_argument(
        "--watch",
        action="append",
        metavar="CONFIGMAPS",
        help="read through the Kubernetes API: NAMESPACE/NAME[,NAME...] or NAMESPACE?LABELS; the pod's own "
        "namespace where none is given; may be repeated; MUXEL_WATCH, separated by ;",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="for callers; MUXEL_LISTEN, 127.0.0.1:8080")
    parser.add_argument(
        "--admin-listen", metavar="HOST:PORT", help="probes and metrics; MUXEL_ADMIN_LISTEN, 127.0.0.1:9090"
    )
    parser.add_argument("--credentials", type=Path, metavar="DIR", help="directory of key files; MUXEL_CREDENTIALS")
    parser.add_argument(
        "--sandbox", metavar="WHEN", help="auto, always, never or a URL; MUXEL_SANDBOX, auto: without keys"
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="MUXEL_LOG_LEVEL, info")
    parser.set_defaults(verb=_run("proxy.verbs.server", "serve"))


def _controller(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", metavar="NAME", help="writes NAME-compiled and NAME-status; MUXEL_NAME, muxel")
    parser.add_argument("--namespace", metavar="NAME", help="where it writes; MUXEL_NAMESPACE, where it runs")
    parser.add_argument(
        "--namespaces", metavar="NAMES", help="whose sources it reads, by commas; MUXEL_NAMESPACES, its own"
    )
    parser.add_argument(
        "--admin-listen", metavar="HOST:PORT", help="probes and metrics; MUXEL_ADMIN_LISTEN, 127.0.0.1:9090"
    )
    parser.add_argument(
        "--webhook-listen", metavar="HOST:PORT", help="admission, behind TLS; MUXEL_WEBHOOK_LISTEN, none"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain in PEM; MUXEL_TLS_CERT")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key; MUXEL_TLS_KEY")
    parser.add_argument(
        "--webhook-configuration",
        metavar="NAME",
        help="instead of a certificate: the configuration to tell of one that is made; MUXEL_WEBHOOK_CONFIGURATION",
    )
    parser.add_argument("--webhook-host", metavar="NAME", help="that the API server calls by; MUXEL_WEBHOOK_HOST")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="MUXEL_LOG_LEVEL, info")
    parser.set_defaults(verb=_run("proxy.verbs.controller", "controller"))


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="exit when all pictures are back")
    parser.add_argument("--out", type=Path, default=Path("muxel-demo"), metavar="DIR", help="where the pictures go")
    parser.add_argument("--port", type=_port, default=8080, help="of the sidecar (8080); any where it is taken")
    parser.set_defaults(verb=_run("proxy.demo.run", "demo"))


def _sandbox(parser: argparse.ArgumentParser) -> None:
    _policy(parser)
    parser.add_argument("--listen", default="127.0.0.1:8088", metavar="HOST:PORT")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="latency and faults by provider and model, YAML")
    parser.set_defaults(verb=_run("proxy.verbs.server", "sandbox"))


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="files and directories, together one configuration; directories below are each checked as their own, those"
        " of tests alone with the one around them",
    )
    _json(parser)
    _sarif(parser)
    parser.set_defaults(verb=_run("proxy.verbs.catalog", "check"))


def _test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="files and directories with tests and what they test, over what Muxel ships; directories as for check",
    )
    parser.add_argument(
        "--policy", type=Path, action="append", metavar="PATH", help="more configuration, whose tests are not run"
    )
    _json(parser)
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    _sarif(parser)
    parser.set_defaults(verb=_run("proxy.verbs.policytest", "test"))


def _sarif(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sarif", type=Path, metavar="FILE", help="write what is wrong as SARIF, for code scanning")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT")
    parser.add_argument("--op", default=OPERATION, metavar="OPERATION", help=f"{OPERATION} unless said")
    parser.add_argument("--tier", help="draft, standard or premium")
    parser.add_argument("--size", metavar="WxH")
    parser.add_argument("--max-cost", type=float, metavar="USD")
    parser.add_argument("--max-latency", type=float, metavar="SECONDS")
    for name in ("caller", "app", "namespace"):
        parser.add_argument(f"--{name}", default="", metavar="NAME", help=f"as x-muxel-{name} would say")
    parser.add_argument("--header", action="append", metavar="NAME=VALUE", help="that rules look at; may be repeated")
    parser.add_argument("--at", type=_moment, metavar="TIME", help="such as 2026-12-01T18:30+01:00; now unless said")
    _policy(parser)
    _json(parser)
    parser.set_defaults(verb=_run("proxy.verbs.catalog", "explain"))


def _classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--in", dest="source", default="-", metavar="FILE.jsonl", help="JSON lines with a prompt; - is stdin"
    )
    parser.set_defaults(verb=_run("proxy.verbs.classify", "classify"))


def _replay(parser: argparse.ArgumentParser) -> None:
    _traffic(parser)
    _policy(parser)
    parser.add_argument("--baseline", metavar="MODEL|USD", help="what every picture was bought at before")
    parser.add_argument("--prices", metavar="FILE", help="a catalog to choose from instead, or a shipped one's name")
    _json(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw what came of it")
    parser.set_defaults(verb=_run("proxy.verbs.replay", "replay"))


def _diff(parser: argparse.ArgumentParser) -> None:
    for name in ("old", "new"):
        parser.add_argument(name, type=Path, metavar=name.upper(), help=f"the {name} configuration, file or directory")
    _traffic(parser)
    form = parser.add_mutually_exclusive_group()
    _json(form)
    form.add_argument("--markdown", action="store_true", help="print a comment for a pull request")
    parser.add_argument("--show-prompts", action="store_true", help="examples have the beginning of their prompts")
    limits = parser.add_argument_group("limits", "status 1 where one is passed; percentages such as 5%%")
    for name, what in _LIMITS.items():
        limits.add_argument(f"--max-{name}", type=_percentage, metavar="PERCENT", help=what)
    limits.add_argument(
        "--no-floor-risk", action="store_true", help="no floor is lowered or passed under, and nothing is left unserved"
    )
    limits.add_argument("--no-new-refusals", action="store_true", help="no rule refuses what was served")
    parser.set_defaults(verb=_run("proxy.verbs.diff", "diff"))


_LIMITS = {
    "changed": "requests that change model",
    "cost": "more than before; a negative one has to be saved: --max-cost=-5%%",
    "latency": "more than before, of p50 and p95",
}


def _percentage(text: str) -> float:
    """ "5%", "+3%" or "0.5", each of them per cent, as a share."""
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = float("nan")
    if not -1 <= share < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a percentage such as 5%; got {text!r}")
    return share


def _traffic(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--traffic", required=True, metavar="FILE", help="recorded .jsonl, a .yaml spec, a shipped spec's name, or -"
    )
    parser.add_argument("--providers", metavar="NAMES", help="those with a key, separated by commas; all unless said")


def _models(parser: argparse.ArgumentParser) -> None:
    _policy(parser)
    _json(parser)
    parser.set_defaults(verb=_run("proxy.verbs.catalog", "models"))


def _schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kind", nargs="?", default="", metavar="KIND", help="RoutingPolicy, ...; all of them unless said"
    )
    parser.set_defaults(verb=_run("proxy.verbs.schema", "schema"))


def _catalog(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _refresh(verbs.add_parser("refresh", help="prices and scores of today's feeds, as a catalog that overlays"))


def _refresh(parser: argparse.ArgumentParser) -> None:
    for kind in ("prices", "scores"):
        parser.add_argument(
            f"--{kind}", type=Path, action="append", metavar="FILE", help=f"a feed of {kind}; may be repeated"
        )
    _policy(parser)
    parser.add_argument("--previous", type=Path, metavar="PATH", help="what the last refresh wrote, if there was one")
    parser.add_argument("--max-price-change", type=_factor, default=3.0, metavar="FACTOR", help="3, either way")
    parser.add_argument("--max-score-change", type=_share, default=0.15, metavar="DIFFERENCE", help="0.15")
    parser.add_argument(
        "--force", action="append", metavar="ID", help="take a refused MODEL@PROVIDER, MODEL/TASK or MODEL all the same"
    )
    parser.add_argument("--config-map", type=_name, metavar="NAME", help="write it inside a ConfigMap manifest")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, metavar="FILE|DIR", help="where to; standard output, but for --json")
    where.add_argument("--apply", type=_namespaced, metavar="NAMESPACE/NAME", help="into this ConfigMap of the cluster")
    _json(parser)
    parser.set_defaults(verb=_run("proxy.verbs.refresh", "refresh_catalog"))


def _factor(text: str) -> float:
    return _bounded(text, 1.0, float("inf"))


def _share(text: str) -> float:
    return _bounded(text, 0.0, 1.0)


def _bounded(text: str, least: float, most: float) -> float:
    with suppress(ValueError):
        if least <= (number := float(text)) <= most:
            return number
    raise argparse.ArgumentTypeError(f"must be a number from {least:g} to {most:g}; got {text!r}")


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"must be a Kubernetes name; got {text!r}")
    return text


def _namespaced(text: str) -> str:
    namespace, slash, name = text.partition("/")
    if not slash:
        raise argparse.ArgumentTypeError(f"must be NAMESPACE/NAME; got {text!r}")
    return f"{_name(namespace)}/{_name(name)}"


def _wires(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    parser.add_argument("--markdown", action="store_true", help="the table of the README")
    parser.set_defaults(verb=_run("proxy.verbs.wires", "wires"))


if __name__ == "__main__":
    sys.exit(main())
