"""What a rule is asked about: one request with all that is known of it before any rule.

``decide`` makes one for each request; ``conditions`` and ``when`` read it.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from adapters.ir import MediaRequest, Tier
from policies.classify import Traits

PROMPT_SEARCHED = 32_000  # characters of a prompt that rules look at: the most that any shipped model takes


class Fault(NamedTuple):
    """A rule that could not be judged, and was passed over. ``text`` holds nothing the caller wrote."""

    rule: str
    text: str


@dataclass(slots=True)
class Subject:
    """``now`` is seconds since the epoch. ``faults`` is filled while rules are asked."""

    request: MediaRequest
    traits: Traits
    tier: Tier
    now: float
    faults: list[Fault] = field(default_factory=list)
