"""What the README says is so."""

import re
from pathlib import Path

from policies.load import load_documents
from proxy.ask import _KNOWN
from proxy.cli import _parser
from proxy.configuration import WIRE_FACTS
from proxy.verbs.wires import markdown

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_every_policy_shown_is_valid() -> None:
    shown = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert shown
    for number, text in enumerate(shown):
        load_documents({f"readme-{number}.yaml": text}, WIRE_FACTS)


def test_every_request_header_is_told_and_none_that_does_not_exist() -> None:
    asked = README.partition("### What a request may ask")[2].partition("##")[0]
    assert set(re.findall(r"`(x-muxel-[a-z-]+)`", asked)) == _KNOWN


def test_every_command_shown_exists() -> None:
    verbs = set(re.findall(r"^muxel ([a-z]+)", README, re.MULTILINE)) | set(re.findall(r"`muxel ([a-z]+)", README))
    known = _parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert verbs <= set(known or ())


def test_the_matrix_of_wires_is_what_the_verb_prints() -> None:
    shown = README.partition("<!-- muxel wires --markdown -->\n")[2].partition("<!-- -->")[0]
    assert shown.strip() == markdown()


def test_every_file_linked_is_there() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (root / target).exists(), target
