"""What every test run knows: ``--regold`` writes what the code says now into the golden files, for review as a diff."""

import pytest
from hypothesis import settings

settings.register_profile("muxel", deadline=None)  # a busy machine is no failure
settings.load_profile("muxel")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regold", action="store_true", help="rewrite the expected part of the golden files")
    parser.addoption("--reloads", type=int, default=200, help="how many of them under load")
