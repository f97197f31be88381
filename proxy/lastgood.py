"""The last good set of files, kept on disk for a start that finds a broken one.

``reloads`` saves it after each good load and asks for it at a start, where ``on_invalid_start`` is ``lastGood``. The
directory should outlive the container: an emptyDir does that, a volume outlives the pod. The files are policies, which
hold no secrets, only where to find them.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

FILE = "last-good.json"


@dataclass(frozen=True, slots=True)
class LastGood:
    """Files by the name they had, the hash of the configuration they made, and when (seconds since the epoch)."""

    files: Mapping[str, bytes]
    hash: str
    at: float


def save(directory: Path, good: LastGood) -> None:
    """Whole or not at all, whatever ends the process meanwhile. Creates the directory. Raises OSError."""
    texts = {name: content.decode("utf-8") for name, content in good.files.items()}  # or it would not have loaded
    content = orjson.dumps({"hash": good.hash, "at": good.at, "files": texts}, option=orjson.OPT_INDENT_2)
    directory.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=directory, prefix=f".{FILE}.")  # readable by us alone
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, directory / FILE)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def read(directory: Path) -> LastGood | None:
    """What was saved last; None where nothing was, or what there is cannot be read."""
    try:
        saved = orjson.loads((directory / FILE).read_bytes())
        files = {str(name): str(text).encode() for name, text in saved["files"].items()}
        return LastGood(files, str(saved["hash"]), float(saved["at"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
