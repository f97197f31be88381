"""Keys: found by reference, rotated in place, shown to their own provider only."""

import os
from pathlib import Path

import pytest

from adapters.ir import Auth, UpstreamCall
from policies.catalog import Credential, Provider
from proxy.auth import Keyring, may_see_key

BFL = Provider(
    "bfl", "bfl", "https://api.bfl.ai/v1", Credential(env="BFL_API_KEY"), None, None, ("*.bfl.ai",), 5.0, 60.0
)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://api.bfl.ai/v1/flux-2-pro", True),
        ("https://gateway.eu.bfl.ai/poll?id=1", True),
        ("http://gateway.eu.bfl.ai/poll?id=1", False),  # a trusted host, but in the clear
        ("https://gateway.eu.bfl.ai:8443/poll", False),
        ("https://bfl.ai.attacker.test/poll", False),
        ("https://notbfl.ai/poll", False),
        ("https://api.bfl.ai@attacker.test/poll", False),
        ("https://delivery.example.test/sample.png", False),
        ("ftp://api.bfl.ai/poll", False),
        ("not a url", False),
    ],
)
def test_only_the_providers_own_hosts_see_its_key(url: str, allowed: bool) -> None:
    assert may_see_key(BFL, url) is allowed
    headers = Keyring({"BFL_API_KEY": "secret"}, None).headers(BFL, Auth("x-key"), UpstreamCall("GET", url))
    assert (headers.get("x-key") == "secret") is allowed


def test_a_port_makes_another_origin() -> None:
    local = Provider("vllm", "openai_images", "http://vllm:8000/v1", Credential(), None, None, (), 5.0, 60.0)
    assert may_see_key(local, "http://vllm:8000/other")
    assert not may_see_key(local, "http://vllm:8001/v1")


def test_the_scheme_stands_before_the_key_and_a_provider_may_move_it() -> None:
    keyring = Keyring({"BFL_API_KEY": "k"}, None)
    call = UpstreamCall("POST", "https://api.bfl.ai/v1/x", {"content-type": "application/json"})
    assert keyring.headers(BFL, Auth("Authorization", "Bearer"), call) == {
        "content-type": "application/json",
        "Authorization": "Bearer k",
    }


def test_a_rotated_file_is_read_again(tmp_path: Path) -> None:
    keyring = Keyring({}, tmp_path)
    reference = Credential(file="openai/api-key")
    assert keyring.key(reference) is None
    (tmp_path / "openai").mkdir()
    path = tmp_path / "openai" / "api-key"
    path.write_text("first\n")
    assert keyring.key(reference) == "first"
    (tmp_path / "next").write_text("second\n")
    os.replace(tmp_path / "next", path)
    assert keyring.key(reference) == "second"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"rotated", "rotated"), (None, "at start"), (b"\n", "at start"), (b"\xff", "at start")],
)
def test_a_file_with_a_key_wins_over_the_environment(tmp_path: Path, content: bytes | None, expected: str) -> None:
    if content is not None:
        (tmp_path / "bfl").write_bytes(content)
    keyring = Keyring({"BFL_API_KEY": "at start"}, tmp_path)
    assert keyring.key(Credential("bfl", "BFL_API_KEY")) == expected


def test_without_a_directory_the_environment_has_the_keys() -> None:
    assert Keyring({"BFL_API_KEY": "k"}, None).key(Credential("bfl", "BFL_API_KEY")) == "k"


def test_an_empty_file_or_variable_is_a_missing_key_however_often_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "bfl").write_text("\n")
    keyring = Keyring({"BFL_API_KEY": ""}, tmp_path)
    assert [keyring.key(Credential("bfl", "BFL_API_KEY")) for _ in range(2)] == [None, None]


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../outside"])
def test_a_reference_never_leaves_its_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("x")
    (tmp_path / "keys").mkdir()
    assert Keyring({}, tmp_path / "keys").key(Credential(file=name)) is None


def test_usable_are_those_that_have_what_they_need_and_the_answer_is_kept_while_it_holds() -> None:
    environ: dict[str, str] = {}
    keyring = Keyring(environ, None)
    free = Provider("vllm", "openai_images", "http://vllm:8000/v1", Credential(), None, None, (), 5.0, 60.0)
    providers = {"bfl": BFL, "vllm": free}
    before = keyring.usable(providers, 10.0)
    assert before == {"vllm"}
    environ["BFL_API_KEY"] = "k"
    assert keyring.usable(providers, 10.5) is before
    assert keyring.usable(providers, 11.0) == {"vllm", "bfl"}
