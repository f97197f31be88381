"""An operator's lexicon: what it can say, and that a wrong one is named by its field."""

import re
from copy import deepcopy
from typing import Any

import pytest

from adapters.ir import MediaRequest, Operation
from policies.classify import classify
from policies.lexicon import compile_lexicon, load_lexicon

SMALL: dict[str, Any] = {
    "groups": {
        "image": {"default": "general", "prior": 1.5, "temperature": 0.7},
        "edit": {"default": "change", "prior": 1, "temperature": 0.7},
        "video": {"default": "film", "prior": 1, "temperature": 0.7},
    },
    "operations": {"image.upscale": "change"},
    "features": {"quoted_text": {"lettering": 3}},
    "families": {"camera_words": {"votes": {"general": 1}, "phrases": ["bokeh"]}},
    "announcers": ["that says"],
    "tiers": {"draft": ["rough cut"]},
    "ignored": ["the", "a"],
    "tasks": {
        "general": {"group": "image", "phrases": {}},
        "lettering": {"group": "image", "phrases": {2: ["font"]}},
        "sticker": {"group": "image", "phrases": {4: ["die cut sticker", "贴纸"], 2: ["sticker"]}},
        "change": {"group": "edit", "phrases": {}},
        "film": {"group": "video", "phrases": {}},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    document = deepcopy(SMALL)
    *parents, last = path.split("/")
    node: Any = document
    for key in parents:
        node = node[int(key) if key.isdigit() else key]
    node[int(last) if last.isdigit() else last] = value
    return document


def task_of(prompt: str, document: dict[str, Any]) -> str:
    return classify(MediaRequest(Operation.GENERATE, prompt=prompt), compile_lexicon(document)).task


@pytest.mark.parametrize("prompt", ["Die-cut stickers of a cat", "a sticker", "猫的贴纸"])
def test_a_task_of_an_operators_own_is_heard(prompt: str) -> None:
    assert task_of(prompt, SMALL) == "sticker"


def test_a_phrase_of_weight_nought_keeps_a_shorter_one_from_being_heard() -> None:
    assert task_of("a bumper sticker", SMALL) == "sticker"
    assert task_of("a bumper sticker", changed("tasks/general/phrases/0", ["bumper sticker"])) == "general"


def test_a_weight_below_nought_speaks_against() -> None:
    document = changed("tasks/sticker/phrases", {2: ["sticker"], -3: ["framed"]})
    assert task_of("a framed sticker", document) == "general"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tasks", [], "tasks: must be a mapping"),
        ("tasks/sticker/group", "audio", "tasks.sticker.group: must be one of image, edit, video; got 'audio'"),
        ("tasks/sticker/phrases/2", "sticker", "tasks.sticker.phrases.2: must be a list"),
        ("tasks/sticker/phrases/2", [True], "tasks.sticker.phrases.2: True must be text; put it in quotes"),
        ("tasks/sticker/phrases/2", ["the"], "tasks.sticker.phrases.2: 'the' has a mark in it, or an ignored word"),
        ("tasks/sticker/phrases/2", ["the cat"], "tasks.sticker.phrases.2: 'the cat' has a mark in it, or an ignored"),
        ("tasks/sticker/phrases/2", ["cut, out"], "tasks.sticker.phrases.2: 'cut, out' has a mark in it"),
        ("tasks/sticker/phrases/2", ["Die-Cut Sticker"], "'Die-Cut Sticker' is listed twice for the same task"),
        ("tasks/sticker/phrases", {"much": ["sticker"]}, "tasks.sticker.phrases.much: must be a number; got 'much'"),
        ("groups/image/default", "film", "groups.image.default: must be a task of this group; got 'film'"),
        ("groups/image/temperature", 0, "groups.image.temperature: must be above 0"),
        ("groups/image/prior", None, "groups.image.prior: must be a number"),
        ("features/quoted_text", {"letering": 3}, "features.quoted_text.letering: there is no such task"),
        ("families/camera_words/votes", None, "families.camera_words.votes: must be a mapping"),
        ("operations", {"image.shrink": "change"}, "operations.image.shrink: must map an operation to a task"),
        ("operations", {"image.upscale": "enlarge"}, "operations.image.upscale: must map an operation to a task"),
        ("tiers", {"cheap": ["rough"]}, "tiers.cheap: must be one of draft, standard, premium"),
        ("ignored", "the", "ignored: must be a list"),
    ],
)
def test_a_wrong_lexicon_is_named_by_its_field(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        compile_lexicon(changed(path, value))


def test_the_shipped_lexicon_can_hear_each_of_its_tasks() -> None:
    lexicon = load_lexicon()
    for operation in (Operation.GENERATE, Operation.EDIT, Operation.VIDEO_GENERATE):
        heard: set[str] = {lexicon.groups[operation].default}
        stack = list(lexicon.groups[operation].roots.values())
        while stack:
            node = stack.pop()
            heard |= {task for task, weight in (node.entry.votes if node.entry else ()) if weight > 0}
            stack.extend(node.next.values())
        assert heard == set(lexicon.groups[operation].tasks)
