"""The request as it is sent: what its session brings back and what a rule adds, before anything is chosen for it.

``decide`` judges and prices this form, ``exchange`` sends it: whatever a rule adds counts against limits and ceilings.
Pure.
"""

from dataclasses import replace
from typing import Any

from adapters.ir import MediaRequest
from policies.decision import Rewrite, Session
from policies.session import resume

_VIDEO = "video."
_DEFAULTS = ("negative_prompt", "quality", "seed", "steps", "guidance", "format", "compression", "background")


def prepared(request: MediaRequest, session: Session | None, rewrite: Rewrite | None) -> MediaRequest:
    """What the caller said goes before what its session settled, and that before a rule's defaults."""
    request = resume(request, session)
    if rewrite is None:
        return request
    changed: dict[str, Any] = {
        name: value
        for name in _DEFAULTS
        if (value := getattr(rewrite, name)) not in (None, "") and getattr(request, name) in (None, "")
    }
    if rewrite.prompt_prefix or rewrite.prompt_suffix:
        changed["prompt"] = f"{rewrite.prompt_prefix}{request.prompt}{rewrite.prompt_suffix}"
    if rewrite.duration is not None and request.duration is None and request.operation.startswith(_VIDEO):
        changed["duration"] = rewrite.duration
    return replace(request, **changed, **_size(request, rewrite))


def _size(request: MediaRequest, rewrite: Rewrite) -> dict[str, Any]:
    """A size says all; aspect and resolution each stand for themselves."""
    if request.size:
        return {}
    if rewrite.size and request.aspect is None and not request.resolution:
        return {"size": rewrite.size}
    return {
        "aspect": request.aspect or rewrite.aspect,
        "resolution": request.resolution or rewrite.resolution,
    }
