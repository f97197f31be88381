"""Every golden case of every wire, see ``golden``; ``pytest --regold`` rewrites what the cases expect."""

from pathlib import Path

import pytest
import yaml

from adapters.registry import WIRES
from tests.wires import golden

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_wire_says_what_its_case_expects(path: Path, request: pytest.FixtureRequest) -> None:
    source = path.read_text(encoding="utf-8")
    expected = yaml.safe_load(source)
    actual = golden.run(WIRES[path.parent.name], expected)
    if request.config.getoption("--regold"):
        path.write_text(golden.dump(actual, source), encoding="utf-8")
    else:
        assert golden.comparable(actual) == golden.comparable(expected)
