"""deploy/Dockerfile, as far as it can be judged without building it."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """(keyword, arguments), comments gone and continued lines joined."""
    lines = (line for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    words = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(keyword, re.sub(r"\s+", " ", rest)) for keyword, rest in words]


@pytest.fixture
def dockerfile() -> list[Instruction]:
    return instructions()


@pytest.fixture
def image(dockerfile: list[Instruction]) -> dict[str, str]:
    """The last stage, the last instruction of each keyword."""
    last = max(index for index, (keyword, _) in enumerate(dockerfile) if keyword == "FROM")
    return dict(dockerfile[last:])


def copied() -> list[str]:
    """What is copied from the build context."""
    sources = [rest.split()[:-1] for keyword, rest in instructions() if keyword == "COPY" and "--from=" not in rest]
    return [source for group in sources for source in group]


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_exists_and_is_in_the_build_context(source: str) -> None:
    assert (ROOT / source).exists()
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert f"!{source}" in rules


def test_nothing_else_reaches_the_build_context() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied())


def test_it_runs_as_a_numeric_user_that_is_not_root(image: dict[str, str]) -> None:
    user, _, group = image["USER"].partition(":")
    assert user.isdigit()
    assert group.isdigit()
    assert "0" not in (user, group)


def test_every_stage_has_the_one_base_that_a_release_pins(dockerfile: list[Instruction]) -> None:
    assert dockerfile[0] == ("ARG", "PYTHON_IMAGE=python:3.13-slim-bookworm")
    assert {rest.split()[0] for keyword, rest in dockerfile if keyword == "FROM"} == {"${PYTHON_IMAGE}"}


def test_the_image_serves_and_needs_no_shell_to_do_so(image: dict[str, str]) -> None:
    assert image["ENTRYPOINT"] == '["muxel"]'
    assert image["CMD"] == '["serve"]'
    assert "HEALTHCHECK" not in image  # probes are HTTP


def test_every_installation_is_held_to_the_lock(dockerfile: list[Instruction]) -> None:
    commands = [
        command
        for keyword, rest in dockerfile
        if keyword == "RUN"
        for command in rest.split("&&")
        if " install " in command
    ]
    assert len(commands) == 2
    assert all("--constraint requirements.lock" in command for command in commands)


def test_pip_and_the_development_tools_stay_behind(dockerfile: list[Instruction], image: dict[str, str]) -> None:
    assert "pip uninstall" in image["RUN"]
    assert not any("[dev]" in rest or "--requirement" in rest for _, rest in dockerfile)
    assert image["COPY"] == "--from=build /opt/muxel /opt/muxel"


def test_a_read_only_root_finds_its_bytecode(dockerfile: list[Instruction], image: dict[str, str]) -> None:
    assert "PYTHONDONTWRITEBYTECODE=1" in image["ENV"]
    assert any("compileall" in rest and "unchecked-hash" in rest for keyword, rest in dockerfile if keyword == "RUN")


def test_no_secret_is_handed_to_the_build(dockerfile: list[Instruction]) -> None:
    names = [rest.partition("=")[0] for keyword, rest in dockerfile if keyword in ("ARG", "ENV")]
    assert not [
        name for name in names for part in ("*KEY*", "*TOKEN*", "*SECRET*", "*PASSWORD*") if fnmatch(name, part)
    ]


def test_the_lock_pins_all_that_the_image_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*project["project"]["dependencies"], *project["build-system"]["requires"]}
    pinned = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in (ROOT / "requirements.lock").read_text().splitlines())
    }
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])
