"""Who may take the Lease, and what is then written into it."""

from typing import Any

import pytest

from proxy.controller.lease import DURATION, RENEW_WITHIN, RETRY, free, held, new, released, see

WALL = 1_764_000_000.25


def lease(holder: str | None, version: str = "7", seconds: int | None = 15) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "acquireTime": "then", "leaseTransitions": 3}
    return {"metadata": {"name": "muxel", "resourceVersion": version}, "spec": spec}


def test_a_holder_gives_up_before_others_may_take_over_and_has_several_tries_until_then() -> None:
    assert RENEW_WITHIN < DURATION
    assert RETRY * 3 < RENEW_WITHIN


@pytest.mark.parametrize(
    ("found", "waited", "may"),
    [
        (lease("other"), 0, False),
        (lease("other"), 14.9, False),
        (lease("other"), 15, True),
        (lease("me"), 0, True),
        (lease(""), 0, True),
        (lease(None, seconds=None), 0, True),
        (lease("other", seconds=60), 59, False),
        ({"metadata": {"resourceVersion": "1"}}, 0, True),
    ],
    ids=str,
)
def test_a_lease_is_free_once_it_has_not_changed_for_as_long_as_it_is_held(
    found: dict[str, Any], waited: float, may: bool
) -> None:
    seen = see(found, None, 100.0)
    assert free(see(found, seen, 100.0 + waited), "me", 100.0 + waited) is may


def test_every_renewal_of_another_starts_the_wait_anew() -> None:
    seen = see(lease("other", "7"), None, 100.0)
    seen = see(lease("other", "8"), seen, 114.0)
    assert not free(seen, "me", 120.0)


def test_the_clock_of_the_holder_is_not_looked_at() -> None:
    found = lease("other")
    found["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    assert not free(see(found, None, 100.0), "me", 100.0)


def test_a_renewal_keeps_what_a_takeover_counts() -> None:
    mine = held(lease("me"), "me", WALL)
    assert (mine["spec"]["acquireTime"], mine["spec"]["leaseTransitions"]) == ("then", 3)
    assert mine["spec"]["renewTime"] == "2025-11-24T16:00:00.250000Z"
    assert mine["metadata"]["resourceVersion"] == "7"  # so that of two who take it one is refused
    taken = held(lease("other"), "me", WALL)
    assert (taken["spec"]["holderIdentity"], taken["spec"]["leaseTransitions"]) == ("me", 4)
    assert taken["spec"]["acquireTime"] == taken["spec"]["renewTime"]


def test_the_first_to_hold_a_new_one_is_no_transition() -> None:
    assert held(new("muxel", "studio"), "me", WALL)["spec"]["leaseTransitions"] == 0


def test_a_released_lease_is_free_for_anybody_at_once() -> None:
    found = released(lease("me"), WALL)
    assert free(see(found, None, 100.0), "other", 100.0)
    assert found["spec"]["leaseTransitions"] == 3
