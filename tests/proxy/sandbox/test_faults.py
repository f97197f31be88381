from random import Random

import pytest

from proxy.sandbox.faults import (
    Fault,
    FaultError,
    Faults,
    Kind,
    Latency,
    Rule,
    read_fault_header,
    read_faults,
    shipped_faults,
)


@pytest.mark.parametrize(("p50", "p95"), [(0.15, 0.4), (2.0, 9.0), (1.0, 1.0)])
def test_sampled_latencies_have_the_percentiles_asked_for(p50: float, p95: float) -> None:
    rng = Random(4)
    samples = sorted(Latency(p50=p50, p95=p95).sample(rng) for _ in range(4000))
    assert samples[2000] == pytest.approx(p50, rel=0.06)
    assert samples[3800] == pytest.approx(p95, rel=0.1)


def test_latencies_repeat_with_the_seed() -> None:
    latency = Latency(p50=0.2, p95=0.5)
    assert latency.sample(Random(9)) == latency.sample(Random(9)) != latency.sample(Random(10))
    assert Latency(p50=0, p95=0).sample(Random(9)) == 0


def test_later_rules_override_only_what_they_name() -> None:
    faults = read_faults(
        """
        - {latency: {p50: 1, p95: 2}, error: 0.5}
        - {provider: bfl, model: "*max*", latency: {p50: 3, p95: 4}}
        """
    )
    heavy, other = faults.of("bfl", "flux-2-max"), faults.of("bfl", "flux-2-pro")
    assert (heavy.latency.p50, heavy.error) == (3, 0.5)
    assert (other.latency.p50, other.error) == (1, 0.5)


def test_a_rule_put_at_run_time_lies_on_top_until_it_is_cleared() -> None:
    faults = Faults([Rule(retry_after=9)])
    faults.put({"provider": "bfl", "down": True})
    faults.put({"provider": "openai", "throttle": 1})
    assert faults.of("bfl", "x").pick(Random(), "") == Fault(Kind.DOWN)
    assert faults.of("openai", "x").pick(Random(), "") == Fault(Kind.THROTTLE, 9)
    faults.put({"provider": "bfl", "denied": 1})
    assert faults.of("bfl", "x").pick(Random(), "") == Fault(Kind.DENIED)
    faults.clear("bfl")
    assert faults.of("bfl", "x").pick(Random(), "") is None
    faults.clear()
    assert faults.show() == {"rules": [{"retry_after": 9}], "put": {}}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.LATENCY])
def test_a_share_is_that_of_the_requests(kind: Kind) -> None:
    rule, rng = Rule.model_validate({kind.value: 0.3}), Random(1)
    met = [rule.pick(rng, "") for _ in range(1000)]
    assert {fault.kind for fault in met if fault} == {kind}
    assert 250 < sum(fault is not None for fault in met) < 350


def test_words_are_refused_in_any_case() -> None:
    rule = shipped_faults().of("openai", "gpt-image-2")
    assert rule.pick(Random(), "a Forbidden-Sandbox-Word") == Fault(Kind.REFUSE)
    assert rule.pick(Random(), "a cat") is None


def test_the_shipped_rules_are_quick_and_without_faults() -> None:
    for model in ("gpt-image-2", "flux-2-pro", "flux-2-max", "gemini-3-pro-image", "anything"):
        rule = shipped_faults().of("any", model)
        assert 0 < rule.latency.p50 < rule.latency.p95 < 1
        assert rule.pick(Random(), "a cat") is None
        assert rule.pick_poll(Random()) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("down: 1", "must be a list"),
        ("- nothing", r"file\[0\]: must be an object"),
        ("- {}\n- {dwon: 1}", r"file\[1\]: dwon: Extra inputs"),
        ("- {error: 2}", r"file\[0\]: error: .*less than or equal to 1"),
        ("- {latency: {p50: 3, p95: 1}}", r"file\[0\]: latency: .*p95 must not be below p50"),
        ("- [", "file: "),
    ],
)
def test_a_rule_that_cannot_be_used_is_named(text: str, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        read_faults(text, "file")


def test_a_rule_put_at_run_time_names_its_provider() -> None:
    with pytest.raises(FaultError, match="provider is required"):
        Faults().put({"down": 1})


@pytest.mark.parametrize(
    ("value", "fault"),
    [("down", Fault(Kind.DOWN)), ("throttle=7", Fault(Kind.THROTTLE, 7)), (" error=502 ", Fault(Kind.ERROR, 502))],
)
def test_a_header_names_a_fault_and_its_value(value: str, fault: Fault) -> None:
    assert read_fault_header(value) == fault


@pytest.mark.parametrize("value", ["", "sulk", "throttle=soon"])
def test_a_header_that_names_no_fault_is_an_error(value: str) -> None:
    with pytest.raises(FaultError, match="x-sandbox-fault must be"):
        read_fault_header(value)
