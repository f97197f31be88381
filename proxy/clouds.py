"""Keys and tokens of cloud accounts, kept fresh beside the event loop.

``auth`` asks it to sign; ``serve`` runs ``follow``. The clouds' own libraries find the credentials by their own rules
(environment, files, workload identity, metadata service) and are imported only where a provider names that cloud: they
wait and use the network, so they run in a thread. Must not know wires or what is sent.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from adapters.ir import UpstreamCall
from policies.catalog import Cloud, Credential

_log = logging.getLogger("muxel.clouds")
REFRESH_SECONDS = 60.0  # how often each account is looked at; its library renews only what is about to end
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

Sign = Callable[[UpstreamCall, Mapping[str, str]], dict[str, str]]
Renew = Callable[[], Sign]


def aws(credential: Credential) -> Renew:
    """Signature Version 4 by botocore, over the default chain of AWS. Raises what botocore raises."""
    from botocore.session import Session

    found = Session().get_credentials()
    if found is None:
        raise LookupError("the default chain of AWS has no credentials")
    return lambda: _signature_v4(found.get_frozen_credentials(), credential)


def _signature_v4(keys: Any, credential: Credential) -> Sign:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    def sign(call: UpstreamCall, headers: Mapping[str, str]) -> dict[str, str]:
        request = AWSRequest(call.method, call.url, headers=dict(headers), data=call.body)
        SigV4Auth(keys, credential.service or "bedrock", credential.region).add_auth(request)
        return dict(request.headers.items())

    return sign


def google(credential: Credential) -> Renew:
    """An OAuth token by google-auth, over Application Default Credentials. Raises what google-auth raises."""
    from google.auth import default
    from google.auth.credentials import TokenState
    from google.auth.transport.requests import Request

    found, _ = default(scopes=[_SCOPE])

    def renew() -> Sign:
        if found.token_state is not TokenState.FRESH:
            found.refresh(Request())  # type: ignore[no-untyped-call]
        bearer = {"Authorization": f"Bearer {found.token}"}
        return lambda call, headers: {**headers, **bearer}

    return renew


FINDERS: Mapping[Cloud, Callable[[Credential], Renew]] = {Cloud.AWS: aws, Cloud.GOOGLE: google}


@dataclass(slots=True)
class _Account:
    renew: Renew | None = None
    sign: Sign | None = None
    problem: str = ""


class Clouds:
    """The cloud accounts of a process, by credential reference. ``finders`` stand in for the clouds in tests."""

    def __init__(self, finders: Mapping[Cloud, Callable[[Credential], Renew]] = FINDERS) -> None:
        self._finders = finders
        self._accounts: dict[Credential, _Account] = {}

    def sign(self, credential: Credential) -> Sign | None:
        """How to sign; None where the account has no credentials, or none yet."""
        account = self._accounts.get(credential)
        return account.sign if account else None

    async def refresh(self, credentials: Iterable[Credential]) -> None:
        """Looks at each account once. A failure leaves the credentials as they were, until the cloud refuses them."""
        for credential in credentials:
            account = self._accounts.setdefault(credential, _Account())
            try:
                account.sign = await asyncio.to_thread(self._renewed, credential, account)
                problem = ""
            except Exception as error:  # each library has its own; the text may hold what is secret
                problem = str(error) if isinstance(error, LookupError | ImportError) else type(error).__name__
            if problem and problem != account.problem:
                told = {"cloud": credential.cloud, "problem": problem}
                _log.warning("no credentials from %s", credential.cloud, extra={"fields": told})
            account.problem = problem

    def _renewed(self, credential: Credential, account: _Account) -> Sign:
        if account.renew is None:
            assert credential.cloud is not None
            account.renew = self._finders[credential.cloud](credential)
        return account.renew()

    async def follow(self, credentials: Callable[[], Iterable[Credential]], stop: asyncio.Event) -> None:
        """Refreshes until ``stop``; ``credentials`` are those of the configuration in force."""
        while not stop.is_set():
            await self.refresh(list(credentials()))
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await stop.wait()
