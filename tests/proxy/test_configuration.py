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


def test_every_missing_path_is_told_with_the_mistakes_in_the_others(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY % "cheepest")
    with pytest.raises(ConfigError) as caught:
        Loader([tmp_path / "one", file, tmp_path / "two"])()
    assert [(problem.file, problem.line) for problem in caught.value.problems] == [
        (str(tmp_path / "one"), 1),
        (str(file), 5),
        (str(tmp_path / "two"), 1),
    ]


def test_a_path_that_comes_back_is_read(tmp_path: Path) -> None:
    load = Loader([tmp_path / "policy.yaml"])
    with pytest.raises(ConfigError, match="no such file or directory"):
        load()
    (tmp_path / "policy.yaml").write_text(POLICY % "fastest")
    assert load().policies["default"].objective == "fastest"
    (tmp_path / "policy.yaml").unlink()
    with pytest.raises(ConfigError, match="no such file or directory"):
        load()


def test_a_file_and_a_config_maps_key_of_one_name_are_not_silently_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configmap").mkdir()
    Path("configmap/a.yaml").write_text(POLICY % "cheapest")
    watched = {"configmap/a.yaml": (POLICY % "fastest").encode()}
    with pytest.raises(ConfigError, match=r"configmap/a\.yaml:1:1: is a file and a ConfigMap's key as well"):
        Loader([Path("configmap")], watched=lambda: (watched, ()))()
