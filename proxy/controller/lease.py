"""Which of several replicas writes: the one that holds the Lease. The rules, as values; ``run`` does the asking.

As client-go has it: a replica waits until the Lease it sees has not changed for its whole duration by the replica's own
clock, so clocks need not agree; the holder renews, and takes itself for the leader no longer than ``RENEW_WITHIN``
after the last renewal that succeeded, which is shorter than the time for which the others wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

DURATION = 15.0  # seconds that others wait for the holder
RENEW_WITHIN = 10.0  # seconds for which a holder that cannot renew goes on
RETRY = 2.0  # seconds between looks; client-go's defaults, all three


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease as it was first seen, by the monotonic clock of this replica."""

    version: str
    holder: str
    seconds: float  # for which it is held
    since: float


def see(lease: Mapping[str, Any], before: Seen | None, now: float) -> Seen:
    """What is known of the Lease after looking at ``now``."""
    version = lease["metadata"]["resourceVersion"]
    if before is not None and before.version == version:
        return before
    spec = lease.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds")
    return Seen(version, spec.get("holderIdentity") or "", DURATION if seconds is None else float(seconds), now)


def free(seen: Seen, identity: str, now: float) -> bool:
    """Whether ``identity`` may take or renew it."""
    return seen.holder in ("", identity) or now >= seen.since + seen.seconds


def held(lease: Mapping[str, Any], identity: str, wall: float) -> dict[str, Any]:
    """The Lease with ``identity`` as its holder, to be written over the one that was read."""
    old = lease.get("spec") or {}
    stays = old.get("holderIdentity") == identity
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": int(DURATION),
        "acquireTime": old.get("acquireTime") if stays else _time(wall),
        "renewTime": _time(wall),
        "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if stays or not old else 1),
    }
    return {**lease, "spec": spec}


def released(lease: Mapping[str, Any], wall: float) -> dict[str, Any]:
    """The Lease for anybody to take at once."""
    spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _time(wall)}
    return {**lease, "spec": spec}


def new(name: str, namespace: str) -> dict[str, Any]:
    """A Lease that nobody holds and that is not stored yet."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
    }


def _time(wall: float) -> str:
    """A MicroTime."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
