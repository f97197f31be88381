"""The verb schema: the JSON Schema of the documents, for editors."""

import argparse
import sys

import orjson

from policies.problems import did_you_mean
from policies.published import published
from policies.schema import KINDS
from proxy.verbs.output import OK, USAGE, fail


def schema(arguments: argparse.Namespace) -> int:
    """That of one kind, or of all of them in one."""
    if arguments.kind and arguments.kind not in KINDS:
        hint = did_you_mean(arguments.kind, KINDS) or f"; there are {', '.join(KINDS)}"
        return fail(f"there is no kind {arguments.kind!r}{hint}", USAGE)
    told = orjson.dumps(published(arguments.kind), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.buffer.write(told)
    sys.stdout.flush()
    return OK
