"""The verbs about the configuration in force: check, explain, models."""

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adapters.fields import read_choice, read_size
from adapters.ir import Ask, InvalidRequest, MediaRequest, Operation, Tier
from policies.catalog import Deployment, Model, Price
from policies.classify import classify as classify_request
from policies.classify import load_lexicon
from policies.decide import decide
from policies.explain import as_dict
from policies.explain import explain as explain_lines
from policies.load import Config, ConfigError
from policies.problems import Problem
from proxy.configuration import load_config
from proxy.policytest.sarif import of_problems, sarif
from proxy.state import unreadable
from proxy.verbs.output import OK, PROBLEM, USAGE, fail, print_json, refuse, table
from proxy.verbs.trees import configurations, missing


def check(arguments: argparse.Namespace) -> int:
    """Every problem of the documents at the paths, at file:line:column; 1 if there is any.

    The paths are one configuration, read as ``serve`` would read it and with the tests beside it; manifests lie in
    trees, in which there may be more of them.
    """
    if told := missing(arguments.paths):
        return fail(told, USAGE)
    together, *below = configurations(arguments.paths)
    config, problems = _read(together, tests=True)
    for paths in below:
        problems += _read(paths, tests=True)[1]
    if problems:
        config, problems = None, ConfigError(problems).problems  # each once, in reading order
    if arguments.sarif:
        try:
            arguments.sarif.write_bytes(sarif(of_problems(problems)))
        except OSError as error:
            return fail(f"--sarif {error.filename}: {error.strerror}", USAGE)
    if arguments.json:
        rows = [asdict(problem) for problem in problems]
        print_json({"ok": not problems, "hash": config.hash if config else None, "problems": rows})
        return PROBLEM if problems else OK
    if config is None:
        return refuse(problems)
    catalog = config.catalog
    sizes = f"{len(config.policies)} policies, {len(catalog.models)} models, {len(catalog.deployments)} deployments"
    print(f"ok: {sizes}, hash {config.hash}")
    return OK


def explain(arguments: argparse.Namespace) -> int:
    """The decision for one prompt, as though every provider had a key; 1 if nothing is eligible."""
    try:
        request = _asked(arguments)
    except InvalidRequest as error:
        return fail(error.message, USAGE)
    config = _config(arguments.policy or [])
    if isinstance(config, int):
        return config
    policy = config.policies["default"]
    lexicon = config.lexicon()
    begun = time.perf_counter_ns()
    decision = decide(
        request, classify_request(request, lexicon), policy, config.catalog, {}, time.time(), credentials=None
    )
    decide_us = (time.perf_counter_ns() - begun) / 1000
    if arguments.json:
        print_json(as_dict(decision, config.hash, decide_us))
    else:
        print("\n".join(explain_lines(decision)))
    return OK if decision.candidates else PROBLEM


def _asked(arguments: argparse.Namespace) -> MediaRequest:
    for name in ("max_cost", "max_latency"):
        value = getattr(arguments, name)
        if value is not None and not 0 <= value < float("inf"):
            raise InvalidRequest(name, f"--{name.replace('_', '-')} must be a number that is not negative")
    options = {"--op": arguments.op, "--tier": arguments.tier}
    tier = read_choice(options, "--tier", tuple(Tier))
    ask = Ask(tier=Tier(tier) if tier else None, max_cost=arguments.max_cost, max_latency=arguments.max_latency)
    size = read_size(arguments.size, "--size") if arguments.size else None
    operation = Operation(read_choice(options, "--op", tuple(Operation)) or Operation.GENERATE)
    return MediaRequest(operation, prompt=arguments.prompt, size=size, ask=ask)


def models(arguments: argparse.Namespace) -> int:
    """The models in force with quality, deployments and prices."""
    config = _config(arguments.policy or [])
    if isinstance(config, int):
        return config
    deployments: dict[str, list[Deployment]] = {}
    for deployment in config.catalog.deployments:
        deployments.setdefault(deployment.model.id, []).append(deployment)
    ordered = sorted(config.catalog.models.values(), key=lambda model: model.id)
    if arguments.json:
        print_json({"models": [_model_row(model, deployments[model.id]) for model in ordered]})
        return OK
    table(
        ("model", "vendor", "quality", "price", "deployments", "operations"),
        (
            (
                model.id,
                model.vendor,
                f"{score.score:.2f}" if (score := model.quality_for("general")) else "unknown",
                " ".join(sorted({_short_price(host.price) for host in deployments[model.id]})),
                " ".join(host.provider.name for host in deployments[model.id]),
                _short_operations(model, deployments[model.id]),
            )
            for model in ordered
        ),
    )
    print("* no wire can send it yet: listed, never chosen")
    return OK


def _model_row(model: Model, deployments: Sequence[Deployment]) -> dict[str, Any]:
    return {
        "id": model.id,
        "vendor": model.vendor,
        "operations": sorted(model.operations),
        "not_yet_sendable": sorted(_unsendable(deployments)),
        "quality": {
            task: {
                "score": score.score, "p25": score.p25, "source": score.source, "as_of": score.as_of,
                "votes": score.votes, "estimated": score.estimated,
            }
            for task, score in sorted(model.quality.items())
        },
        "deployments": [
            {
                "provider": host.provider.name,
                "remote": host.remote,
                "wire": host.provider.wire,
                "price": _price_row(host.price),
            }
            for host in deployments
        ],
    }  # fmt: skip


def _price_row(price: Price | None) -> dict[str, Any] | None:
    if price is None:
        return None
    return {
        "unit": price.unit,
        "usd": {name: usd for name, _, usd in price.table},
        "per_reference": price.per_reference,
        "estimated": price.estimated,
        "source": price.source,
        "as_of": price.as_of,
    }


def _unsendable(deployments: Iterable[Deployment]) -> frozenset[Operation]:
    return frozenset[Operation]().union(*(host.unsendable for host in deployments))


def _short_operations(model: Model, deployments: Iterable[Deployment]) -> str:
    unsendable = _unsendable(deployments)
    return " ".join(f"{operation}*" if operation in unsendable else operation for operation in sorted(model.operations))


def _short_price(price: Price | None) -> str:
    if price is None:
        return "unknown"
    low, high = (bound(usd for _, _, usd in price.table) for bound in (min, max))
    if price.unit == "megapixel":
        return f"${price.table[0][2]:g}+{price.table[1][2]:g}/MP"
    return f"${low:g}" if low == high else f"${low:g}..{high:g}"


# --------------------------------------------------------------------------------------------- reading what is in force


def _config(paths: Sequence[Path]) -> Config | int:
    """The configuration in force; the exit status, once it is on standard error why, where there is none."""
    if told := missing(paths):
        return fail(f"--policy {told}", USAGE)
    config, problems = _read(paths)
    return config or refuse(problems)


def _read(paths: Sequence[Path], *, tests: bool = False) -> tuple[Config | None, tuple[Problem, ...]]:
    try:
        return load_config(paths, load_lexicon().tasks() if paths else None, tests=tests), ()
    except ConfigError as error:
        return None, error.problems
    except OSError as error:
        return None, (unreadable(error),)
