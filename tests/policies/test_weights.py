"""The learned weights: how a score is summed, what a file may be, and that lexicon and weights agree on the tasks."""

import json
import zlib
from collections.abc import Mapping
from importlib.resources import files

import pytest

from adapters.ir import MediaRequest, Operation
from policies.classify import classify
from policies.lexicon import compile_lexicon, load_lexicon
from policies.weights import NEUTRAL, keep_tasks, load_weights, score, unpack
from tests.policies.test_lexicon import SMALL

TASKS = ("general", "lettering")


def file_of(weights: Mapping[str, tuple[int, ...]], version: int = 1) -> bytes:
    """A file with one group, image. A key with a space in it is a pair; units come first."""
    keys = sorted(weights, key=lambda key: " " in key)
    text = "\n".join(keys).encode()
    lanes = bytes(NEUTRAL + weight for key in keys for weight in weights[key])
    group = {
        "tasks": TASKS,
        "scale": 0.5,
        "temperature": 2.0,
        "text": len(text),
        "units": sum(" " not in key for key in keys),
    }
    header = json.dumps({"version": version, "groups": {"image": group}})
    return header.encode() + b"\n" + zlib.compress(text + lanes)


SIGNS = unpack(file_of({"neon": (-2, 4), "字": (0, 127), "neon sign": (-128, 100)}))["image"]


def test_a_score_is_the_sum_of_what_is_known() -> None:
    assert score(SIGNS, ["a", "neon"]) == {"general": -1.0, "lettering": 2.0}


def test_a_pair_is_heard_besides_its_words() -> None:
    assert score(SIGNS, ["neon", "sign"])["lettering"] == pytest.approx(104 * 0.5 / 2**0.5)
    assert score(SIGNS, ["sign", "neon"]) == score(SIGNS, ["neon"])


def test_a_unit_counts_once() -> None:
    assert score(SIGNS, ["neon", "", "neon", "", "neon"]) == score(SIGNS, ["neon"])


def test_what_is_unknown_has_no_score() -> None:
    assert score(SIGNS, []) == score(SIGNS, ["xyzzy"]) == {}


def test_a_task_an_operator_dropped_has_no_score() -> None:
    assert score(keep_tasks(SIGNS, {"lettering"}), ["neon", "字"]) == {"lettering": pytest.approx(131 * 0.5 / 2**0.5)}


def test_no_text_is_too_long_for_a_lane() -> None:
    many = {f"word{number}": (127, 127) for number in range(3_000)}
    scores = score(unpack(file_of(many))["image"], [*many])
    assert scores["general"] == scores["lettering"] == pytest.approx(127 * 0.5 * 3_000**0.5)


@pytest.mark.parametrize("data", [b"", b"weights", file_of({"neon": (0, 0)}, version=2)])
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="need version 1"):
        unpack(data)


def test_a_task_the_weights_do_not_know_still_wins_by_its_phrases() -> None:
    lexicon = compile_lexicon(SMALL, {"image": SIGNS})
    told = classify(MediaRequest(Operation.GENERATE, prompt="die cut sticker of a neon fox"), lexicon)
    assert (told.task, told.runner_up) == ("sticker", "lettering")


def test_the_weights_speak_where_the_lexicon_is_silent() -> None:
    request = MediaRequest(Operation.GENERATE, prompt="neon sign")
    assert classify(request, compile_lexicon(SMALL)).task == "general"
    assert classify(request, compile_lexicon(SMALL, {"image": SIGNS})).task == "lettering"


def test_the_shipped_weights_know_every_task_of_the_lexicon() -> None:
    for operation in (Operation.GENERATE, Operation.EDIT, Operation.VIDEO_GENERATE):
        group = load_lexicon().groups[operation]
        assert group.weights
        assert {*group.weights.tasks} == {*group.tasks}


def test_the_shipped_weights_are_compact() -> None:
    assert len(files("policies").joinpath("weights.bin").read_bytes()) < 600_000
    assert all(weights.units and weights.pairs for weights in load_weights().values())
