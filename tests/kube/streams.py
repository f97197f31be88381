"""The events of one watch on the fake API server. Called by ``api_server``, whose docstring has the contract."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass

from tests.kube.selectors import Matches
from tests.kube.store import Change, Object, Refused, Resource, Store


@dataclass(frozen=True, slots=True)
class Asked:
    """What a watch asks for. ``version`` 0: from now, with everything there is first."""

    resource: Resource
    namespace: str
    matches: Matches
    version: int
    bookmarks: bool
    seconds: float


async def events(store: Store, asked: Asked, bookmark_seconds: float) -> AsyncIterator[Object]:
    if asked.version and asked.version < store.compacted:
        told = f"too old resource version: {asked.version} ({store.compacted})"
        yield {"type": "ERROR", "object": Refused(410, "Expired", told).status}
        return
    position = asked.version or store.version
    if not asked.version:
        for one in store.all(asked.resource, asked.namespace):
            if asked.matches(one):
                yield {"type": "ADDED", "object": one}
    clock = asyncio.get_running_loop().time
    ends, due = clock() + asked.seconds, clock() + bookmark_seconds
    while True:
        news, until = store.news, max(position, store.version)
        for event in _since(store, asked, position, until):
            yield event
        position = until
        if store.version > position:
            continue  # written while that was being sent
        last = clock() >= ends
        if asked.bookmarks and (last or clock() >= due):
            yield _bookmark(asked.resource, position)
            due = clock() + bookmark_seconds
        if last:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(ends, due) - clock())):
                await news.wait()


def _since(store: Store, asked: Asked, position: int, until: int) -> Iterator[Object]:
    for change in store.after(position):
        if change.version <= until and change.resource.label == asked.resource.label:
            event = _seen(change, asked)
            if event:
                yield event


def _seen(change: Change, asked: Asked) -> Object | None:
    """The change as one who selects sees it."""
    one = change.after or change.before
    assert one is not None
    if asked.namespace not in ("", one["metadata"]["namespace"]):
        return None
    before = change.before is not None and asked.matches(change.before)
    after = change.after is not None and asked.matches(change.after)
    if before and not after:
        gone = dict(one, metadata=one["metadata"] | {"resourceVersion": str(change.version)})
        return {"type": "DELETED", "object": gone}
    if after:
        return {"type": "MODIFIED" if before else "ADDED", "object": change.after}
    return None


def _bookmark(resource: Resource, version: int) -> Object:
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    return {
        "type": "BOOKMARK",
        "object": {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata},
    }
