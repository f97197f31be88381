"""The headers by which one request asks something of Muxel."""

import pytest

from adapters.ir import Ask, InvalidRequest, Tier
from proxy.ask import Home, caller_of, read_ask


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


@pytest.mark.parametrize(
    ("home", "headers", "expected"),
    [
        (Home(), {}, ("", "")),
        (Home(), {"x-muxel-app": "web", "x-muxel-namespace": "retail"}, ("web", "retail")),
        (Home("crm"), {}, ("crm", "")),
        (Home("crm"), {"x-muxel-app": "web", "x-muxel-namespace": "retail"}, ("web", "retail")),
        (Home("crm", "sales"), {}, ("crm", "sales")),
        (Home("crm", "sales"), {"x-muxel-tier": "draft"}, ("crm", "sales")),
        (Home("crm", "sales"), {"x-muxel-app": " crm ", "x-muxel-namespace": "sales"}, ("crm", "sales")),
        (Home("crm", "sales"), {"x-muxel-app": "", "x-muxel-namespace": ""}, ("crm", "sales")),
        (Home("", "sales"), {"x-muxel-app": "web"}, ("web", "sales")),
    ],
)
def test_app_and_namespace_are_the_sidecars_own_or_else_what_a_header_says(
    home: Home, headers: dict[str, str], expected: tuple[str, str]
) -> None:
    ask = read_ask(headers, home)
    assert (ask.app, ask.namespace) == expected


@pytest.mark.parametrize(
    ("name", "value"), [("x-muxel-namespace", "finance"), ("x-muxel-namespace", "Sales"), ("x-muxel-app", "web")]
)
def test_a_header_cannot_lie_to_a_sidecar(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_ask({name: value}, Home("crm", "sales"))
    assert (caught.value.field, caught.value.status) == (name, 403)


def test_a_caller_is_its_name_or_a_digest_and_never_its_credential() -> None:
    assert caller_of({"x-muxel-caller": "shop", "authorization": "Bearer k"}) == "shop"
    assert caller_of({}) == ""
    digest = caller_of({"x-goog-api-key": "very-secret"})
    assert digest == caller_of({"x-key": "very-secret"})
    assert "secret" not in digest
    assert digest != caller_of({"x-key": "other"})
