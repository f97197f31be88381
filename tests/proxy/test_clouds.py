"""Cloud accounts: found by the clouds' own libraries, renewed in time, and signed for as those libraries sign."""

import asyncio
import logging
from collections.abc import Callable, Mapping

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from adapters.ir import Auth, UpstreamCall
from policies.catalog import Cloud, Credential, Provider
from proxy.auth import Keyring
from proxy.clouds import Clouds, Renew, Sign, aws
from proxy.tasks import spawn

AWS = Credential(cloud=Cloud.AWS, region="us-east-1", service="bedrock")
URL = "https://bedrock-runtime.us-east-1.amazonaws.com/model/stability.sd3-5-large-v1%3A0/invoke"
CALL = UpstreamCall("POST", URL, {"Content-Type": "application/json"}, b'{"prompt": "x"}')


def provider(credential: Credential) -> Provider:
    return Provider("bedrock", "bedrock", URL.partition("/model")[0], credential, None, None, (), 5.0, 60.0)


def found(sign: Sign) -> Callable[[Credential], Renew]:
    return lambda credential: lambda: sign


def stamped(call: UpstreamCall, headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "Authorization": "Bearer token"}


async def test_a_bedrock_call_is_signed_as_botocore_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    keyring = Keyring({}, None, Clouds({Cloud.AWS: aws}))
    assert not keyring.has(AWS)
    await keyring.clouds.refresh([AWS])
    assert keyring.has(AWS)
    ours = keyring.headers(provider(AWS), Auth("Authorization", "Bearer"), CALL)
    assert ours["X-Amz-Security-Token"] == "session"
    theirs = AWSRequest("POST", URL, headers={**CALL.headers, "X-Amz-Date": ours["X-Amz-Date"]}, data=CALL.body)
    theirs.context["timestamp"] = ours["X-Amz-Date"]
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "secret", "session"), "bedrock", "us-east-1")
    theirs.headers["X-Amz-Security-Token"] = "session"
    signature = signer.signature(signer.string_to_sign(theirs, signer.canonical_request(theirs)), theirs)
    assert f"Signature={signature}" in ours["Authorization"]


async def test_a_key_in_the_environment_wins_over_the_cloud() -> None:
    credential = Credential(env="AWS_BEARER_TOKEN_BEDROCK", cloud=Cloud.AWS, region="us-east-1", service="bedrock")
    keyring = Keyring({"AWS_BEARER_TOKEN_BEDROCK": "bearer"}, None, Clouds({Cloud.AWS: found(stamped)}))
    await keyring.clouds.refresh([credential])
    assert (
        keyring.headers(provider(credential), Auth("Authorization", "Bearer"), CALL)["Authorization"] == "Bearer bearer"
    )


async def test_no_signature_leaves_for_another_host() -> None:
    keyring = Keyring({}, None, Clouds({Cloud.AWS: found(stamped)}))
    await keyring.clouds.refresh([AWS])
    elsewhere = UpstreamCall("GET", "https://elsewhere.example/poll")
    assert "Authorization" not in keyring.headers(provider(AWS), Auth("Authorization", "Bearer"), elsewhere)


async def test_an_account_that_fails_keeps_what_it_had_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Sign | None] = [stamped, None, None]

    def find(credential: Credential) -> Renew:
        def renew() -> Sign:
            answer = answers.pop(0)
            if answer is None:
                raise RuntimeError("the secret is s3cr3t")
            return answer

        return renew

    clouds = Clouds({Cloud.AWS: find})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await clouds.refresh([AWS])
    assert clouds.sign(AWS) is stamped
    assert len(caplog.records) == 1
    assert "s3cr3t" not in str(vars(caplog.records[0]))


async def test_accounts_are_followed_until_told_to_stop() -> None:
    clouds, stop, looked = Clouds({Cloud.AWS: found(stamped)}), asyncio.Event(), asyncio.Event()

    def accounts() -> list[Credential]:
        looked.set()
        return [AWS]

    task = spawn(clouds.follow(accounts, stop), name="follow")
    await looked.wait()
    stop.set()
    await task
    assert clouds.sign(AWS) is stamped
