"""Loading again and again: what is parsed, and what is known already."""

from pathlib import Path

import pytest

from policies.load import ConfigError
from proxy.configuration import Loader

POLICY = """
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec: {objective: %s}
"""


def test_only_files_whose_bytes_have_changed_are_parsed_again(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY % "cheapest")
    load = Loader([tmp_path])
    first = load()
    file.write_text(POLICY % "cheapest")
    assert load() is first
    file.write_text(POLICY % "fastest")
    second = load()
    assert second.policies["default"].objective == "fastest"
    assert load() is second


def test_a_bad_file_is_told_each_time_and_the_good_one_before_it_is_still_known(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY % "cheapest")
    load = Loader([tmp_path])
    good = load()
    file.write_text(POLICY % "cheepest")
    for _ in range(2):
        with pytest.raises(ConfigError, match="cheepest"):
            load()
    file.write_text(POLICY % "cheapest")
    assert load() is good


def test_another_file_with_the_same_bytes_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(POLICY % "cheapest")
    load = Loader([tmp_path])
    assert str(tmp_path / "a.yaml") in load().sources
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    assert str(tmp_path / "b.yaml") in load().sources
