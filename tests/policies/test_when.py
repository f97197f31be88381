"""Conditions in CEL: what they see, what is wrong with them, and that none of them can hurt."""

import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import Ask, Media, MediaRequest, Operation, Tier
from policies import schema
from policies.classify import Traits
from policies.decide import decide
from policies.match import trace
from policies.subject import PROMPT_SEARCHED, Subject
from policies.when import VARIABLES, Engineless, compile_when, mistakes
from policies.when import _environment as environment
from tests.policies.catalogs import policy, studio
from tests.policies.test_load import problems

EVENING = datetime(2026, 7, 3, 17, 30, tzinfo=UTC).timestamp()  # a Friday; half past seven in Berlin
PICTURE = Media(data=b"png")
REQUEST = MediaRequest(
    Operation.INPAINT,
    prompt="a lighthouse",
    model="auto",
    n=2,
    size=(1536, 1024),
    references=(PICTURE,),
    mask=PICTURE,
    ask=Ask(caller="shop", app="web", namespace="retail", headers={"x-team": "brand"}),
)
SEEN = Traits("food", 0.7, "product_photo", (("food", 0.7), ("product_photo", 0.25)), language="de")
SUBJECT = Subject(REQUEST, SEEN, Tier.STANDARD, EVENING)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("request.operation == 'image.inpaint'", True),
        ("request.model == 'auto'", True),
        ("request.prompt.contains('light')", True),
        ("request.prompt.matches('^a .*house$')", True),
        ("request.prompt_length == 12", True),
        ("request.width == 1536 && request.height == 1024", True),
        ("request.n * request.width * request.height > 3000000", True),
        ("request.references == 1 && request.masked", True),
        ("request.language == 'de'", True),
        ("request.headers['x-team'] == 'brand'", True),
        ("'x-crew' in request.headers && request.headers['x-crew'] == 'brand'", False),
        ("request.caller == 'shop' && request.app == 'web' && request.namespace == 'retail'", True),
        ("traits.task == 'food' && traits.confidence > 0.6 && traits.runner_up == 'product_photo'", True),
        ("traits.tasks['product_photo'] > 0.2", True),
        ("traits.tasks.exists(task, task.startsWith('product_') && traits.tasks[task] > 0.2)", True),
        ("tier in ['draft', 'premium']", False),
        ("now.getHours('Europe/Berlin') == 19 && now.getDayOfWeek() == 5", True),
        ("now < timestamp('2026-01-01T00:00:00Z')", False),
        ("request . n > 1", True),
    ],
)
def test_an_expression_sees_the_request_its_traits_and_the_time(expression: str, expected: bool) -> None:
    assert compile_when(expression)(SUBJECT) is expected


def test_a_request_without_a_size_has_edges_of_zero() -> None:
    subject = Subject(MediaRequest(Operation.GENERATE), SEEN, Tier.DRAFT, 0.0)
    assert compile_when("request.width == 0 && request.height == 0")(subject) is True
    assert compile_when("request.operation != '' && !request.masked && request.caller == ''")(subject) is True


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("request.headers['x-crew'] == 'a'", "a map has no such key"),
        ("traits.tasks[request.prompt] > 0.5", "a map has no such key"),
        ("request.n / (request.n - 2) > 1", "it divides by zero"),
        ("request.n % (request.n - 2) > 1", "it divides by zero"),
        ("request.n * 9223372036854775807 > 1", "a number is too large"),
        ("int(request.prompt) > 1", "a value cannot be converted"),
        ("timestamp(request.prompt) > now", "a value cannot be converted"),
        ("now.getHours(request.prompt) > 1", "there is no such time zone"),
        ("request.app.matches('(' + request.app)", "a regular expression is wrong"),
        ("[1, 2][request.n] > 1", "a list has no such place"),
    ],
)
def test_what_fails_does_not_hold_and_says_why_in_words_that_are_not_the_callers(expression: str, why: str) -> None:
    assert compile_when(expression)(SUBJECT) == why


def test_a_runaway_expression_is_stopped_by_its_budget() -> None:
    numbers = f"[{', '.join(map(str, range(100)))}]"
    endless = "request.n > 0"
    for name in "abcd":
        endless = f"{numbers}.all({name}, {endless})"
    evaluate = compile_when(endless)
    begun = time.thread_time()
    assert evaluate(SUBJECT) == "it took too many steps"
    assert time.thread_time() - begun < 1.0


def test_bytes_that_are_no_text_are_no_way_around_a_rule() -> None:
    ask = Ask(caller="sh\udcffop", headers={"x-team": "br\udcffand"})
    subject = Subject(MediaRequest(Operation.GENERATE, prompt="\ud800 lighthouse", ask=ask), SEEN, Tier.DRAFT, 0.0)
    evaluate = compile_when(
        "request.caller != '' && request.headers['x-team'] != '' && request.prompt.endsWith('lighthouse')"
    )
    assert evaluate(subject) is True


def test_the_prompt_is_seen_as_far_as_a_match_searches_it() -> None:
    subject = Subject(MediaRequest(Operation.GENERATE, prompt="x" * PROMPT_SEARCHED + "y"), SEEN, Tier.DRAFT, 0.0)
    assert compile_when("!request.prompt.contains('y')")(subject) is True
    assert compile_when(f"request.prompt_length == {PROMPT_SEARCHED + 1}")(subject) is True


def test_every_variable_is_in_the_field_s_description() -> None:
    told = set(re.findall(r"[a-z_.]+", str(schema.Rule.model_fields["when"].description)))
    assert {name for name in VARIABLES if name not in told} == set()


def test_match_and_when_must_both_hold_and_the_explanation_says_which_did_not() -> None:
    def verdict(when: str, **match: Any) -> str:
        return trace(policy(rules=[{"name": "one", "match": match, "when": when}]), SUBJECT).verdicts[0].failed

    assert verdict("request.n == 2", task=["food"]) == ""
    assert verdict("request.n == 2", task=["portrait"]) == "task: food is not portrait"
    assert verdict("request.n == 3", task=["food"]) == "when: is false"
    assert verdict("request.headers['x'] == ''") == "when: failed: a map has no such key"


def test_a_rule_that_fails_is_passed_over_and_the_decision_tells() -> None:
    rules = policy(
        rules=[
            {"name": "broken", "when": "request.headers['x-crew'] == 'a'", "refuse": "no"},
            {"name": "next", "when": "tier == 'standard'", "mark": "reached"},
        ]
    )
    decision = decide(REQUEST, SEEN, rules, studio(), {}, EVENING)
    assert (decision.rule, decision.mark, decision.refusal) == ("next", "reached", "")
    assert decision.faults == (("broken", "a map has no such key"),)
    assert "rule broken was passed over: its when failed, a map has no such key" in decision.notes


def test_a_policy_with_when_says_what_to_install_where_the_engine_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    environment.cache_clear()
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    text = (
        "apiVersion: muxel.dev/v1alpha1\nkind: RoutingPolicy\nmetadata: {name: p}\n"
        "spec:\n  rules:\n    - name: r\n      when: tier == 'draft'\n"
    )
    assert problems({"p.yaml": text}) == [
        "p.yaml:7:13: spec.rules[0].when needs the CEL engine, which is not installed:"
        " install cel-expr-python, or Muxel with its extra cel"
    ]
    assert policy(rules=[{"name": "r", "match": {"tier": ["draft"]}}])  # without a when nothing is needed
    with pytest.raises(Engineless):
        policy(rules=[{"name": "r", "when": "tier == 'draft'"}])


PIECES = st.sampled_from(
    [
        "tier",
        "request.n",
        "request.",
        "'a'",
        '"',
        "(",
        ")",
        "[",
        "&&",
        "==",
        ">",
        " ",
        "\n",
        "😀",
        "1",
        ".matches(",
        "\0",
        "ä",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=30))
def test_whatever_is_written_is_checked_without_a_crash_and_blamed_inside_itself(expression: str) -> None:
    try:
        expression.encode()
    except UnicodeEncodeError:
        return  # no file holds such a text
    wrong = mistakes(expression)
    assert all(0 <= one.offset <= len(expression) and one.message for one in wrong)
    if not wrong:
        assert compile_when(expression)(SUBJECT) in (True, False) or isinstance(compile_when(expression)(SUBJECT), str)


@pytest.mark.parametrize("before", ["'ä' != 'b'", "'😀' != 'b'", "'日本' !=\n 'b'", "'\t' != 'b'"])
def test_blame_falls_on_the_very_letter(before: str) -> None:
    (wrong,) = mistakes(f"{before} && tiers == 'x'")
    assert wrong.offset == len(f"{before} && ")


def test_a_sound_expression_has_no_mistakes() -> None:
    assert mistakes("tier == 'draft' && request.headers.exists(name, name.startsWith('x-'))") == ()
