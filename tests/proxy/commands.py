"""A verb run in the process of the test."""

import pytest

from proxy.cli import main
from tests.proxy.test_cli import Ended


def ran(capsys: pytest.CaptureFixture[str], *argv: object) -> Ended:
    """Its status, and what it wrote to either stream."""
    try:
        status = main([str(word) for word in argv])
    except SystemExit as end:
        status = int(end.code or 0)
    return Ended(status, *capsys.readouterr())
