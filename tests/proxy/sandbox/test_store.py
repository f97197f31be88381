import pytest

from adapters.ir import Media
from proxy.sandbox import store
from proxy.sandbox.store import Files, RequestLog


def test_files_are_forgotten_after_their_time() -> None:
    now = 100.0
    files = Files(lambda: now)
    id = files.put(Media(data=b"picture"))
    now += store.FILE_SECONDS
    assert files.get(id) == Media(data=b"picture")
    now += 1
    assert files.get(id) is None


def test_the_oldest_files_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FILE_BYTES", 10)
    files = Files(lambda: 0.0)
    first, second, third = (files.put(Media(data=bytes(4))) for _ in range(3))
    assert files.get(first) is None
    assert files.get(second) is not None
    assert files.get(third) is not None


def test_a_file_too_large_to_keep_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FILE_BYTES", 10)
    files = Files(lambda: 0.0)
    assert files.get(files.put(Media(data=bytes(11)))) is None


def test_the_log_counts_on_after_it_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "REQUESTS", 3)
    log = RequestLog()
    for action in ("create", "poll", "poll", "poll", "create"):
        log.add("bfl", {"action": action})
    shown = log.of("bfl")
    assert (shown["count"], shown["creates"], len(shown["requests"])) == (5, 2, 3)
    assert log.of("nobody") == {"count": 0, "creates": 0, "requests": []}
