"""The verb diff: what a change of configuration does to recorded traffic, and whether that is within limits."""

import argparse
import time
from pathlib import Path

from policies.classify import load_lexicon
from policies.load import Config, ConfigError
from policies.problems import Problem
from proxy.configuration import load_config
from proxy.replay.changes import Compared, as_dict, examples, lines, rows
from proxy.replay.compare import Comparison, compare
from proxy.replay.guard import Guard, Verdict, judge
from proxy.replay.markdown import markdown
from proxy.replay.outcome import Side
from proxy.traffic import TrafficError
from proxy.verbs.output import OK, PROBLEM, USAGE, fail, print_json, refuse, table
from proxy.verbs.traffic import Unusable, credentials, source, watched
from proxy.verbs.trees import missing


def diff(arguments: argparse.Namespace) -> int:
    """1 where a limit is passed, where a side does not load, and where there is nothing to compare."""
    sides: list[Path] = [arguments.old, arguments.new]
    if told := missing(sides):
        return fail(told, USAGE)
    try:
        old, new = _both(sides, load_lexicon().tasks())
        asked = source(arguments.traffic)
        now, keys = time.time(), credentials(arguments.providers, old, new)
        before, after = (Side(config, now, keys) for config in (old, new))
        found = compare(watched(asked.traffic), before, after, show_prompts=arguments.show_prompts)
    except ConfigError as error:
        return refuse(error.problems)
    except TrafficError as error:
        return fail(f"{arguments.traffic}: {error}", PROBLEM)
    except Unusable as error:
        return fail(str(error), USAGE)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}", USAGE)
    if not found.requests:
        return fail(f"{arguments.traffic}: there is no request to compare", PROBLEM)
    verdicts = judge(found, _guard(arguments))
    told_of = Compared(asked.about, str(arguments.old), str(arguments.new), old.hash, new.hash)
    _tell(arguments, found, told_of, verdicts)
    return OK if all(verdict.ok for verdict in verdicts) else PROBLEM


def _both(paths: list[Path], tasks: frozenset[str]) -> tuple[Config, Config]:
    """Raises ConfigError with the problems of both sides, and OSError."""
    configs: list[Config] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            configs.append(load_config([path], tasks))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    old, new = configs
    return old, new


def _guard(arguments: argparse.Namespace) -> Guard:
    return Guard(
        max_changed=arguments.max_changed,
        max_cost=arguments.max_cost,
        max_latency=arguments.max_latency,
        no_floor_risk=arguments.no_floor_risk,
        no_new_refusals=arguments.no_new_refusals,
    )


def _tell(arguments: argparse.Namespace, found: Comparison, told: Compared, verdicts: tuple[Verdict, ...]) -> None:
    if arguments.json:
        print_json(as_dict(found, told, verdicts))
    elif arguments.markdown:
        print(markdown(found, told, verdicts), end="")
    else:
        print("\n".join(lines(found, told, verdicts)))
        if found.moves:
            print()
            table(("task", "from", "to", "requests", "$ per 1,000", "why"), rows(found))
            print()
            print("\n".join(examples(found)))
