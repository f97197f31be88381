"""AdmissionReview in, AdmissionReview out: whether a ConfigMap with policies may be stored, and every reason why not.

``webhook`` serves it. Pure: it holds nothing and changes nothing, so a dry run needs no case of its own.

What is denied is what is wrong in the candidate itself, seen with the other sources as they now are. What the candidate
makes wrong elsewhere is a warning: to move a provider from one ConfigMap to another takes two writes, and whichever
comes first would be denied for ever otherwise. A deletion is never denied for the same reason, and because a namespace
that is being deleted would hang. What is let through and is not right as a whole changes nothing that is in force.
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from policies.compose import COMPOSED, LABEL, MOUNTED, Compiled, Source, documents_of, files_of
from policies.load import ConfigError, Problem
from policies.problems import excerpt
from policies.retiring import retiring

LONGEST_WARNING = 256  # characters; the API server cuts what is longer (Kubernetes 1.36)
MOST_WARNINGS = 15  # and all together at 4096

Compose = Callable[[Sequence[Source], Source | None], Compiled]  # (others, candidate), raises ConfigError


class BadReview(ValueError):
    """What arrived is no AdmissionReview that can be answered."""


@dataclass(frozen=True, slots=True)
class Known:
    """The sources as the controller last saw them, and the namespaces it reads."""

    sources: Sequence[Source]
    namespaces: frozenset[str]
    own: frozenset[str] = frozenset()  # NAMESPACE/NAME of what the controller itself writes


@dataclass(frozen=True, slots=True)
class Verdict:
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def review(body: Any, known: Known, compose: Compose, today: date) -> dict[str, Any]:
    """The answer to ``body``, an AdmissionReview of admission.k8s.io/v1. Raises BadReview."""
    request = _request(body)
    verdict = judge(request, known, compose, today)
    response: dict[str, Any] = {"uid": request["uid"], "allowed": not verdict.errors}
    if verdict.errors:
        count = len(verdict.errors)
        lines = "\n".join(verdict.errors)
        told = f"{count} problem{'s' * (count != 1)} in these policies:\n{lines}"
        response["status"] = {"code": 422, "reason": "Invalid", "message": told}
    if verdict.warnings:
        shown = verdict.warnings[:MOST_WARNINGS]
        if more := len(verdict.warnings) - len(shown):
            shown = (*shown, f"and {more} more")
        response["warnings"] = [excerpt(warning, LONGEST_WARNING) for warning in shown]
    return {"apiVersion": body["apiVersion"], "kind": "AdmissionReview", "response": response}


def judge(request: Mapping[str, Any], known: Known, compose: Compose, today: date) -> Verdict:
    """What is to be said of one write. ``request`` is the one of an AdmissionReview."""
    new, old = request.get("object"), request.get("oldObject")
    place = request.get("namespace") or "", request.get("name") or ""
    if request["operation"] not in ("CREATE", "UPDATE", "DELETE"):
        return Verdict()
    candidate = None if request["operation"] == "DELETE" else new
    kind = _label(candidate)
    source = source_of(candidate, place) if candidate and kind else None
    if source and source.id in known.own:
        return Verdict(errors=(f"{source.id} is written by the controller: it can be no source of its own",))
    if source and kind != COMPOSED:
        return _alone(source, kind, compose, today)
    if source and source.namespace not in known.namespaces:
        told = f"no controller reads the namespace {source.namespace}: these policies will not be in force"
        verdict = _alone(source, MOUNTED, compose, today)
        return Verdict(verdict.errors, (told, *verdict.warnings))
    if source:
        return _among(source, known, compose, today)
    if old and _label(old) == COMPOSED and place[0] in known.namespaces:
        return _without(source_of(old, place), known, compose)
    return Verdict()


def _among(source: Source, known: Known, compose: Compose, today: date) -> Verdict:
    """A candidate as one of all sources."""
    try:
        compiled = compose(known.sources, source)
    except ConfigError as error:
        others = tuple(other.id + "/" for other in known.sources if other.id != source.id)
        elsewhere = [problem for problem in error.problems if problem.file.startswith(others)] if others else []
        own = [str(problem) for problem in error.problems if problem not in elsewhere]
        return Verdict(tuple(own), tuple(_consequences(elsewhere, known, compose)))
    old = next((other for other in known.sources if other.id == source.id), None)
    gone = documents_of(old) - documents_of(source) if old else ()
    return Verdict(warnings=(*_gone(gone, compiled), *_retiring(source, compiled, today)))


def _alone(source: Source, kind: str, compose: Compose, today: date) -> Verdict:
    """A candidate that pods mount as it is, without any other."""
    warnings: tuple[str, ...] = ()
    if kind not in (COMPOSED, MOUNTED):
        warnings = (f'the label {LABEL} means nothing with the value "{excerpt(kind)}": give {COMPOSED} or {MOUNTED}',)
    try:
        compiled = compose((), source)
    except ConfigError as error:
        return Verdict(tuple(map(str, error.problems)), warnings)
    return Verdict(warnings=(*warnings, *_retiring(source, compiled, today)))


def _without(gone: Source, known: Known, compose: Compose) -> Verdict:
    """What a deletion, or a label taken away, does to the others."""
    rest = [source for source in known.sources if source.id != gone.id]
    try:
        return Verdict(warnings=tuple(_gone(documents_of(gone), compose(rest, None))))
    except ConfigError as error:
        return Verdict(warnings=tuple(_consequences(error.problems, known, compose)))


def _gone(documents: Iterable[tuple[str, str]], compiled: Compiled) -> Iterable[str]:
    """What takes the place of documents that are no more: what is shipped is in force again, unseen."""
    for kind, name in sorted(documents):
        match kind:
            case "RoutingPolicy" if name in compiled.config.policies:
                yield f'RoutingPolicy "{name}" will be the one that Muxel ships'
            case "RoutingPolicy":
                yield f'there will be no RoutingPolicy "{name}"'
            case "Provider" if name in compiled.config.catalog.providers:
                yield f'Provider "{name}" will be the one that Muxel ships'


def _consequences(problems: Sequence[Problem], known: Known, compose: Compose) -> Iterable[str]:
    """Warnings of what becomes, or stays, wrong in other sources."""
    try:
        compose(known.sources, None)
        before: frozenset[Problem] = frozenset()
    except ConfigError as error:
        before = frozenset(error.problems)
    for problem in problems:
        if problem not in before:
            yield f"after this the last good policies stay in force: {problem}"
    if any(problem in before for problem in problems):
        yield "other sources are not right, so this will not be in force before they are mended"


def _retiring(source: Source, compiled: Compiled, today: date) -> tuple[str, ...]:
    files = {f"{source.id}/{key}": text for key, text in files_of(source).items()}
    return tuple(str(problem) for problem in retiring(files, compiled.config.catalog, today))


# --------------------------------------------------------------------------------------------------- what was asked


def _request(body: Any) -> Mapping[str, Any]:
    match body:
        case {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": str(), "operation": str()} as request,
        }:
            return request  # type: ignore[no-any-return]
    raise BadReview("this is no AdmissionReview of admission.k8s.io/v1 with a request that has uid and operation")


def _label(found: Any) -> str:
    match found:
        case {"kind": "ConfigMap", "metadata": {"labels": {**labels}}} if isinstance(labels.get(LABEL), str):
            return str(labels[LABEL])
    return ""


def source_of(found: Mapping[str, Any], place: tuple[str, str] = ("", "")) -> Source:
    """A ConfigMap of the API as a source. ``place`` is where it will be, for one that is not stored yet. Raises
    BadReview."""
    try:
        metadata, text = found["metadata"], found.get("data") or {}
        binary = {key: base64.b64decode(value, validate=True) for key, value in (found.get("binaryData") or {}).items()}
        source = Source(
            namespace=metadata.get("namespace") or place[0],
            name=metadata.get("name") or place[1] or metadata.get("generateName") or "",
            uid=metadata.get("uid") or "",
            version=metadata.get("resourceVersion") or "",
            data={**text, **binary},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadReview(f"this is no ConfigMap: {error!r}") from None
    if not all(isinstance(value, str) for value in text.values()):
        raise BadReview("this is no ConfigMap: data must be text")
    return source
