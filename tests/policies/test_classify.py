"""What the classifier must get right, as data: labelled prompts, and cases for signals, language and tier."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ir import Media, MediaRequest, Operation, Tier
from policies.classify import Lexicon, Traits, classify, load_lexicon

HERE = Path(__file__).parent / "classify"
CASES = yaml.safe_load((HERE / "cases.yaml").read_text("utf-8"))
LEXICON = load_lexicon()


def read_prompts(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / name).read_text("utf-8").splitlines()]


def as_request(case: dict[str, Any]) -> MediaRequest:
    return MediaRequest(
        operation=Operation(case.get("operation", "image.generate")),
        prompt=case["prompt"],
        negative_prompt=case.get("negative_prompt", ""),
        size=tuple(case["size"]) if "size" in case else None,
        aspect=tuple(case["aspect"]) if "aspect" in case else None,
        quality=case.get("quality", ""),
        background=case.get("background", ""),
        references=(Media(url="https://example.com/a.png"),) * case.get("references", 0),
    )


def traits_of(prompt: str, **fields: Any) -> Traits:
    return classify(as_request({"prompt": prompt, **fields}), LEXICON)


def share_right(cases: list[dict[str, Any]]) -> float:
    right = [case for case in cases if classify(as_request(case), LEXICON).task == case["task"]]
    return len(right) / len(cases)


def test_labelled_prompts_are_mostly_right() -> None:
    cases = read_prompts("prompts.jsonl")
    assert len(cases) >= 150
    assert share_right(cases) >= 0.97


def test_traps_are_nearly_all_seen_through() -> None:
    traps = [case for case in read_prompts("prompts.jsonl") if "trap" in case]
    assert len(traps) >= 30
    assert share_right(traps) >= 0.95


def test_prompts_never_tuned_on_are_right_four_times_in_five() -> None:
    assert share_right(read_prompts("unseen.jsonl")) >= 0.8  # 0.85 when they were first tried; do not tune on them


@pytest.mark.parametrize("group", ["image", "edit", "video"])
def test_every_task_has_labelled_prompts(group: str) -> None:
    labelled = {case["task"] for case in read_prompts("prompts.jsonl")}
    operation = {"image": Operation.GENERATE, "edit": Operation.EDIT, "video": Operation.VIDEO_GENERATE}[group]
    assert set(LEXICON.groups[operation].tasks) <= labelled


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    traits = classify(as_request(case), LEXICON)
    assert set(case.get("signals", [])) <= set(traits.signals)
    assert not [word for word in case.get("lacks", []) if word in " ".join(traits.signals)]
    assert traits.task == case.get("task", traits.task)
    assert traits.language == case.get("language", traits.language)
    if "tier" in case:
        assert traits.tier == (case["tier"] and Tier(case["tier"]))


def test_doubt_names_every_plausible_task() -> None:
    traits = traits_of("photo of a pizza and a burger on a poster for a concert")
    assert {"poster", "food"} <= {task for task, _ in traits.tasks}
    assert traits.tasks[0] == (traits.task, traits.confidence)
    assert traits.runner_up == traits.tasks[1][0]
    assert traits.confidence < 0.6


def test_a_plain_order_is_sure() -> None:
    assert traits_of("infographic about the water cycle").confidence > 0.7


def test_silence_is_the_default_with_little_confidence() -> None:
    traits = traits_of("xyzzy")
    assert (traits.task, traits.runner_up, traits.signals) == ("general", "", ())
    assert traits.confidence < 0.5


def test_what_stands_first_is_what_it_is() -> None:
    assert traits_of("poster for a show about the anatomy of bees, with room for a photo").task == "poster"


def test_repeating_a_word_buys_nothing() -> None:
    assert traits_of("logo, anime").tasks == traits_of("logo, anime, anime, anime, anime").tasks


def test_an_operation_that_is_a_task_still_reads_tier_and_language() -> None:
    traits = traits_of("listo para imprimir, con el fondo de la foto", operation="image.upscale")
    assert (traits.task, traits.confidence, traits.tier, traits.language) == ("upscale", 1.0, Tier.PREMIUM, "es")


def test_only_the_first_two_thousand_characters_are_read() -> None:
    assert traits_of("x " * 1_000 + "oil painting").task == "general"
    assert traits_of("x " * 900 + "oil painting").task == "art"


HOSTILE = ['"', "'a ", "'a'", "“", '""', '"  :', "no ", "写着", "海报", "a", "called “x”", "(", "\n", "\ud800", "İ"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_prompt_is_read_like_any_other(piece: str) -> None:
    traits = traits_of(piece * 100_000, negative_prompt=piece * 100_000)
    assert len(traits.signals) <= 12


@settings(max_examples=200, deadline=None)
@given(prompt=st.text(max_size=300), operation=st.sampled_from(Operation))
def test_any_text_gives_probabilities_of_known_tasks(prompt: str, operation: Operation) -> None:
    traits = classify(MediaRequest(operation, prompt=prompt), LEXICON)
    known = {*LEXICON.groups[operation].tasks, *LEXICON.operations.values()}
    assert {traits.task, *(task for task, _ in traits.tasks)} <= known
    assert 0 < sum(share for _, share in traits.tasks) <= 1.001
    assert 1 <= len(traits.tasks) <= 4


@given(words=st.lists(st.from_regex(r"[xqz]{6,12}", fullmatch=True), min_size=1, max_size=20))
def test_no_word_of_a_caller_is_in_a_signal(words: list[str]) -> None:
    prompt = f'portrait of {" ".join(words)}, a sign that says "{" ".join(words)}", not {words[0]}'
    signals = " ".join(traits_of(prompt, negative_prompt=" ".join(words)).signals)
    assert not [word for word in words if word in signals]


def test_the_same_request_always_gets_the_same_traits() -> None:
    request = as_request({"prompt": "cyberpunk street, neon sign, woman in a coat", "size": [1024, 1536]})
    other: Lexicon = load_lexicon()
    assert classify(request, LEXICON) == classify(request, LEXICON) == classify(request, other)
