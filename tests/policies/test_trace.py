"""What an explanation says of the rules is what the decision did, whatever the request and the rules."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import Ask, Media, MediaRequest, Operation, Tier
from policies.classify import Traits
from policies.match import first_match, trace
from policies.subject import Subject
from tests.policies.catalogs import policy

NAMES = st.sampled_from(["", "web", "web-eu", "crm", "retail"])
GLOBS = st.lists(st.sampled_from(["web", "web-*", "*", "crm", "*e*"]), min_size=1, max_size=2)
TASKS = ("portrait", "food", "landscape")
WHENS = (
    "tier == 'draft'",
    "request.width > 1000",
    "request.headers['x-team'] == 'web'",
    "'x-team' in request.headers && request.headers['x-team'].startsWith('web')",
    "now.getHours('Europe/Berlin') < 12",
    "request.prompt.contains('sea')",
    "traits.tasks['food'] > 0.3",
)
WINDOWS = st.fixed_dictionaries(
    {"timeZone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"])},
    optional={
        "days": st.lists(st.sampled_from(["mon", "wed", "sat", "sun"]), min_size=1, unique=True),
        "from": st.sampled_from(["00:00", "08:00", "22:30"]),
        "to": st.sampled_from(["06:00", "18:00", "24:00"]),
    },
)
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "operation": st.lists(st.sampled_from(["image.generate", "image.edit"]), min_size=1),
        "task": st.lists(st.sampled_from(TASKS), min_size=1),
        "tier": st.lists(st.sampled_from([tier.value for tier in Tier]), min_size=1),
        "caller": GLOBS,
        "app": GLOBS,
        "namespace": GLOBS,
        "headers": st.dictionaries(st.sampled_from(["x-team", "X-Crew"]), st.sampled_from(["web*", "*"]), min_size=1),
        "language": st.lists(st.sampled_from(["en", "de"]), min_size=1),
        "prompt": st.sampled_from(["sea", "^a ", "(light|boat)house$", r"\pN"]),
        "minConfidence": st.floats(0, 1),
        "maxConfidence": st.floats(0, 1),
        "minReferences": st.integers(0, 2),
        "maxReferences": st.integers(0, 2),
        "size": st.lists(st.sampled_from(["1024x1024", "1920x1080"]), min_size=1),
        "aspect": st.lists(st.sampled_from(["16:9", "wide", "tall", "square"]), min_size=1),
        "minPixels": st.integers(1, 3_000_000),
        "maxPixels": st.integers(1, 3_000_000),
        "during": st.lists(WINDOWS, min_size=1, max_size=2),
    },
)
RULES = st.lists(st.fixed_dictionaries({"match": MATCHES}, optional={"when": st.sampled_from(WHENS)}), max_size=6).map(
    lambda rules: [{"name": f"rule-{index}", **rule} for index, rule in enumerate(rules)]
)
SUBJECTS = st.builds(
    Subject,
    st.builds(
        MediaRequest,
        st.sampled_from([Operation.GENERATE, Operation.EDIT]),
        prompt=st.sampled_from(["", "a lighthouse", "the sea at 9", "ein Boothaus"]),
        size=st.sampled_from([None, (1024, 1024), (1920, 1080), (768, 1344)]),
        references=st.lists(st.just(Media(url="recorded:")), max_size=3).map(tuple),
        ask=st.builds(
            Ask,
            caller=NAMES,
            app=NAMES,
            namespace=NAMES,
            headers=st.dictionaries(st.sampled_from(["x-team", "x-crew"]), NAMES),
        ),
    ),
    st.builds(
        lambda task, confidence, language: Traits(task, confidence, "", ((task, confidence),), language=language),
        st.sampled_from(TASKS),
        st.floats(0, 1),
        st.sampled_from(["en", "de"]),
    ),
    st.sampled_from(Tier),
    st.floats(1.7e9, 1.9e9),
)


@given(rules=RULES, subject=SUBJECTS)
def test_the_trace_ends_where_the_first_match_is(rules: list[dict[str, Any]], subject: Subject) -> None:
    compiled = policy(rules=rules)
    found = first_match(compiled, subject)
    faults = list(subject.faults)
    told = trace(compiled, Subject(subject.request, subject.traits, subject.tier, subject.now))
    applied = [verdict.rule for verdict in told.verdicts if not verdict.failed]
    assert applied == ([found.name] if found else [])
    assert len(told.verdicts) + told.unseen == len(rules)
    assert [verdict.rule for verdict in told.verdicts] == [rule["name"] for rule in rules][: len(told.verdicts)]
    if found:
        assert told.verdicts[-1].rule == found.name
    failed = {verdict.rule for verdict in told.verdicts if verdict.failed.startswith("when: failed: ")}
    assert failed == {fault.rule for fault in faults}


@given(rules=RULES, subject=SUBJECTS)
def test_a_verdict_names_a_key_that_the_rule_has(rules: list[dict[str, Any]], subject: Subject) -> None:
    for verdict, rule in zip(trace(policy(rules=rules), subject).verdicts, rules, strict=False):
        key, _, why = verdict.failed.partition(": ")
        assert key in ("", *rule["match"], *(["when"] if "when" in rule else []))
        assert bool(key) is bool(why)
