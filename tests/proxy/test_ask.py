"""The headers by which one request asks something of Muxel."""

import pytest

from adapters.ir import Ask, InvalidRequest, Tier
from proxy.ask import caller_of, read_ask


def test_all_of_them_are_read() -> None:
    headers = {
        "x-muxel-tier": "Premium", "x-muxel-max-cost": "$0.05", "x-muxel-max-latency": "12.5", "x-muxel-model": "flux",
        "x-muxel-policy": "night", "x-muxel-session": "s1", "x-muxel-priority": "high", "x-muxel-dry-run": "1",
        "x-muxel-caller": "shop", "x-muxel-app": "web", "x-muxel-namespace": "retail",
    }  # fmt: skip
    assert read_ask(headers) == Ask(
        Tier.PREMIUM, 0.05, 12.5, "flux", "night", "s1", "high", True, "shop", "web", "retail", headers
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-muxel-tier", "best"),
        ("x-muxel-max-cost", "cheap"),
        ("x-muxel-max-cost", "-1"),
        ("x-muxel-max-cost", "nan"),
        ("x-muxel-max-latency", "inf"),
        ("x-muxel-priority", "urgent"),
        ("x-muxel-dry-run", "maybe"),
        ("x-muxel-max-price", "0.05"),  # misspelt: a ceiling that is not one must not be ignored
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_ask({name: value})
    assert caught.value.field == name


def test_a_caller_is_its_name_or_a_digest_and_never_its_credential() -> None:
    assert caller_of({"x-muxel-caller": "shop", "authorization": "Bearer k"}) == "shop"
    assert caller_of({}) == ""
    digest = caller_of({"x-goog-api-key": "very-secret"})
    assert digest == caller_of({"x-key": "very-secret"})
    assert "secret" not in digest
    assert digest != caller_of({"x-key": "other"})
