"""The learned weights: how a score is summed, what a file may be, and that lexicon and weights agree on the tasks."""

import json
import zlib
from collections.abc import Mapping
from importlib.resources import files
from math import sqrt

import pytest

from adapters.ir import MediaRequest, Operation
from policies.classify import classify
from policies.lexicon import compile_lexicon, load_lexicon
from policies.weights import (
    CALM,
    NEUTRAL,
    REMEMBERED,
    VERSION,
    Weights,
    keep_tasks,
    load_weights,
    pieces_of,
    unpack,
)
from policies.weights import score as scores_of
from tests.policies.test_lexicon import SMALL

TASKS = ("general", "lettering")
LETTERS = str.maketrans("0123456789", "ghijklmnop")


def file_of(weights: Mapping[str, tuple[int, ...]], version: int = VERSION) -> bytes:
    """A file with one group, image. A key with a space in it is a pair, one that begins with ~ a piece of words."""
    kinds = [[key for key in weights if kind_of(key) == kind] for kind in ("unit", "pair", "piece")]
    keys = [key for kind in kinds for key in kind]
    text = "\n".join(key.removeprefix("~") for key in keys).encode()
    lanes = bytes(NEUTRAL + weight for key in keys for weight in weights[key])
    group = {
        "tasks": TASKS,
        "scale": 0.5,
        "temperature": 2.0,
        "text": len(text),
        "units": len(kinds[0]),
        "pairs": len(kinds[1]),
    }
    header = json.dumps({"version": version, "groups": {"image": group}})
    return header.encode() + b"\n" + zlib.compress(text + lanes)


def score(weights: Weights, units: list[str]) -> dict[str, float]:
    return dict(scores_of(weights, units))


def kind_of(key: str) -> str:
    return "piece" if key.startswith("~") else "pair" if " " in key else "unit"


def calmed(sum_of_bytes: float, found: int) -> float:
    """What the score of so many found units comes to."""
    return pytest.approx(sum_of_bytes * 0.5 / sqrt(found + CALM))  # type: ignore[no-any-return]


SIGNS = unpack(file_of({"neon": (-2, 4), "字": (0, 127), "neon sign": (-128, 100)}))["image"]


def test_a_score_is_the_sum_of_what_is_known() -> None:
    assert score(SIGNS, ["a", "neon"]) == {"general": calmed(-2, 1), "lettering": calmed(4, 1)}


def test_a_pair_is_heard_besides_its_words() -> None:
    assert score(SIGNS, ["neon", "sign"])["lettering"] == calmed(104, 2)
    assert score(SIGNS, ["sign", "neon"]) == score(SIGNS, ["neon"])


def test_a_unit_counts_once() -> None:
    assert score(SIGNS, ["neon", "", "neon", "", "neon"]) == score(SIGNS, ["neon"])


def test_what_is_unknown_has_no_score() -> None:
    assert score(SIGNS, []) == score(SIGNS, ["xyzzy"]) == {}


def test_a_task_an_operator_dropped_has_no_score() -> None:
    assert score(keep_tasks(SIGNS, {"lettering"}), ["neon", "字"]) == {"lettering": calmed(131, 2)}


def test_no_text_is_too_long_for_a_lane() -> None:
    many = {f"word{number}": (127, 127) for number in range(3_000)}
    scores = score(unpack(file_of(many))["image"], [*many])
    assert scores["general"] == scores["lettering"] == calmed(127 * 3_000, 3_000)


PIECES = unpack(file_of({"firma": (5, 5), "~logo": (0, 40), "~logo>": (0, 60), "~firm": (3, 0)}))["image"]


def test_a_word_that_was_not_learned_is_heard_by_its_pieces() -> None:
    assert score(PIECES, ["firmenlogo"])["lettering"] == calmed(round(100 / sqrt(3)), 1)
    assert score(PIECES, ["zzzz", "log"]) == {}


def test_a_word_that_was_learned_is_not_spelled_out() -> None:
    assert score(PIECES, ["firma"]) == {"general": calmed(5, 1), "lettering": calmed(5, 1)}


@pytest.mark.parametrize("word", ["ab1cd2", "#quoted_text", "一二三四五", "abc", "", ","])
def test_only_words_of_letters_have_pieces(word: str) -> None:
    assert pieces_of(word) == set()


def test_the_memory_of_spelled_words_is_bounded() -> None:
    for number in range(REMEMBERED + 1_000):
        score(PIECES, [f"{'abcdefghij'[number % 10]}logo{number:x}".translate(LETTERS)])
    info = PIECES.units.spell.cache_info()  # type: ignore[attr-defined]
    assert info.currsize == REMEMBERED


@pytest.mark.parametrize("data", [b"", b"weights", file_of({"neon": (0, 0)}, version=VERSION - 1)])
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=f"need version {VERSION}"):
        unpack(data)


def test_a_task_the_weights_do_not_know_still_wins_by_its_phrases() -> None:
    lexicon = compile_lexicon(SMALL, {"image": SIGNS})
    told = classify(MediaRequest(Operation.GENERATE, prompt="die cut sticker of a neon fox"), lexicon)
    assert told.task == "sticker"


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
    assert len(files("policies").joinpath("weights.bin").read_bytes()) < 1_000_000
    assert all(weights.units and weights.pairs for weights in load_weights().values())
