"""What a session does to a request of it: what its first frame settled is brought back, and told where it cannot be.

``decide`` and ``rewrite`` call it; ``proxy.sessions`` seals what is carried from one request to the next. Pure.
"""

from collections.abc import Iterable
from dataclasses import replace

from adapters.ir import Media, MediaRequest
from policies.decision import Candidate, Code, Rejection, Rewrite, Session
from policies.match import Policy

_CODES = {code: position for position, code in enumerate(Code)}


def resume(request: MediaRequest, session: Session | None) -> MediaRequest:
    """The request with the session's seed and style references, where it has none of its own."""
    if session is None or not (session.style_urls or session.seed is not None):
        return request
    return replace(
        request,
        seed=session.seed if request.seed is None else request.seed,
        style_references=request.style_references or tuple(Media(url=url) for url in session.style_urls),
    )


def rewrite_of(session: Session | None, policy: Policy) -> Rewrite | None:
    """That of the rule which its first frame was under, as it now is."""
    name = session.style if session else ""
    return next((rule.rewrite for rule in policy.rules if name and rule.name == name), None)


def notes_on(session: Session | None, chosen: Candidate | None, rejected: Iterable[Rejection]) -> tuple[str, ...]:
    """What a session could not keep, and why. The rejection that is told is the one that came closest to a choice."""
    notes = []
    if session and session.model and chosen and chosen.deployment.model.id != session.model:
        own = [rejection for rejection in rejected if rejection.deployment.model.id == session.model]
        nearest = max(own, key=lambda rejection: _CODES[rejection.code], default=None)
        cause = f"{nearest.code.value}, {nearest.detail}" if nearest else "no longer in the catalog"
        notes.append(f"the session left {session.model}: {cause}")
    if session and session.strayed:
        notes.append("other references than those the session began with")
    return tuple(notes)
