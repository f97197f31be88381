"""The ``muxel`` command: one verb a subcommand. ``--json`` prints one JSON object; errors go to standard error.

Exit status 0: done; 1: a problem was found; 2: bad usage. Verbs that need no network import neither the server nor the
client, so that they start fast.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
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


def _wires(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    parser.add_argument("--markdown", action="store_true", help="the table of the README")
    parser.set_defaults(verb=_run("proxy.verbs.wires", "wires"))


if __name__ == "__main__":
    sys.exit(main())
