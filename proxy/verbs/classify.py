"""The verb classify: what prompts are about, as JSON lines."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from adapters.fields import read_choice, read_object, read_size, read_text
from adapters.ir import InvalidRequest, MediaRequest, Operation
from policies.classify import classify as classify_request
from policies.lexicon import Lexicon, load_lexicon
from proxy.verbs.output import OK, PROBLEM, USAGE, fail


def classify(arguments: argparse.Namespace) -> int:
    """JSON lines in, the same objects with task, confidence, runner_up and signals out; 1 at the first bad line."""
    if arguments.source == "-":
        return _classify_lines(sys.stdin.buffer)
    try:
        with Path(arguments.source).open("rb") as lines:
            return _classify_lines(lines)
    except BrokenPipeError:
        raise  # that was the output
    except OSError as error:
        return fail(f"{arguments.source}: {error.strerror}", USAGE)


def _classify_lines(lines: BinaryIO) -> int:
    lexicon = load_lexicon()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = read_object(line)
            sys.stdout.buffer.write(orjson.dumps(_classified(row, lexicon), option=orjson.OPT_APPEND_NEWLINE))
        except InvalidRequest as error:
            sys.stdout.flush()
            return fail(f"line {number}: {error.message}", PROBLEM)
    sys.stdout.flush()
    return OK


def _classified(row: Mapping[str, Any], lexicon: Lexicon) -> dict[str, Any]:
    size = read_text(row, "size")
    request = MediaRequest(
        Operation(read_choice(row, "operation", tuple(Operation)) or Operation.GENERATE),
        prompt=read_text(row, "prompt", required=True),
        negative_prompt=read_text(row, "negative_prompt"),
        size=read_size(size, "size") if size else None,
    )
    traits = classify_request(request, lexicon)
    return {
        **row,
        "task": traits.task,
        "confidence": round(traits.confidence, 4),
        "runner_up": traits.runner_up,
        "signals": list(traits.signals),
    }
