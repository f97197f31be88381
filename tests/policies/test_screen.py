"""What is kept between decisions: bounded, and never taken for the answer to another question."""

from dataclasses import replace

from adapters.ir import MediaRequest, Operation
from policies.match import NO_RULE
from policies.screen import ROOM, SCREENS, Admission, Screen, Sheet, Terms, screen, sheet
from tests.policies.catalogs import policy, studio

WORDS = MediaRequest(Operation.GENERATE, prompt="a lighthouse")
ANYBODY = Admission(NO_RULE, None, None, frozenset(), 20_000)
TERMS = Terms(ANYBODY, ("portrait",), 0.35, None)


def test_a_sheet_is_made_once_for_all_prompts_of_a_shape() -> None:
    kept = screen(policy(), studio())
    first = sheet(kept, WORDS, TERMS)
    assert sheet(kept, replace(WORDS, prompt="another lighthouse", seed=7), TERMS) is first
    assert sheet(kept, replace(WORDS, prompt="x" * 1_001), TERMS) is not first, "beyond the limit of one deployment"
    assert sheet(kept, replace(WORDS, n=2), TERMS) is not first
    assert sheet(kept, WORDS, TERMS._replace(floor=0.36)) is not first
    assert sheet(kept, replace(WORDS, quality="high", style_references=()), TERMS) is first, "no formula reads them"


def test_screens_are_kept_for_a_pair_and_only_a_few_of_them() -> None:
    rules, among = policy(), studio()
    first = screen(rules, among)
    assert screen(rules, among) is first
    assert screen(policy(), among) is not first
    for _ in range(SCREENS):
        screen(policy(), among)
    assert screen(rules, among) is not first


def test_no_cache_outgrows_its_room() -> None:
    kept = screen(policy(), studio())
    seen: list[Sheet] = []
    for n in range(ROOM * 2 + 1):
        terms = Terms(ANYBODY._replace(day=n), (f"task {n}",), n / 10_000, None)
        seen.append(sheet(kept, replace(WORDS, n=n + 1), terms))
    assert len({id(one) for one in seen}) == len(seen)
    assert _sizes(kept) == {"sheets": 1, "grades": 1, "bars": 1, "offers": 1, "poor": 1, "unable": 1}


def _sizes(kept: Screen) -> dict[str, int]:
    return {name: len(getattr(kept, name)) for name in ("sheets", "grades", "bars", "offers", "poor", "unable")}
