"""The watch and the snapshot against real directories, changed the way the kubelet changes a mounted ConfigMap."""

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from watchfiles._rust_notify import WatchfilesRustInternalError

from proxy import watch as watching
from proxy.snapshot import Seen, StillChanging, fingerprint, snapshot
from proxy.tasks import spawn
from proxy.watch import subpath_mounts, watch

NEVER = 600.0  # seconds; a poll that plays no part
OFTEN = 0.05
SOON = 20.0  # seconds a test waits for what should take a fraction of one


class Mount:
    """A ConfigMap volume: AtomicWriter's steps, in its order."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.version = 0

    def write(self, files: Mapping[str, str]) -> None:
        self.directory.mkdir(exist_ok=True)
        data, old = self.directory / "..data", None
        if data.is_symlink():
            old = data.readlink()
        self.version += 1
        new = f"..2026_11_20_10_00_00.{self.version}"
        (self.directory / new).mkdir()
        for name, text in files.items():
            (self.directory / new / name).write_text(text)
        (self.directory / "..data_tmp").symlink_to(new)
        os.rename(self.directory / "..data_tmp", data)
        for name in files:
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        if old is not None:
            shutil.rmtree(self.directory / old, ignore_errors=True)


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    mount = Mount(tmp_path / "policies")
    mount.write({"a.yaml": "one", "b.yaml": "one"})
    return mount


@asynccontextmanager
async def watched(
    *paths: Path, poll_seconds: float = NEVER, reload: Callable[[], None] = lambda: None
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A running watch past its first reload; yields what waits for the next one."""
    calls: asyncio.Queue[None] = asyncio.Queue()
    stop = asyncio.Event()

    def reloaded() -> None:
        calls.put_nowait(None)
        reload()

    async def next_reload() -> None:
        await asyncio.wait_for(calls.get(), SOON)

    running = spawn(watch(paths, reloaded, poll_seconds=poll_seconds, stop=stop), name="watch")
    await next_reload()
    try:
        yield next_reload
    finally:
        stop.set()
        await asyncio.wait_for(running, SOON)
    assert calls.empty(), "more reloads than changes"


async def test_a_kubelet_swap_is_one_reload(mount: Mount) -> None:
    async with watched(mount.directory) as next_reload:
        for text in ("two", "three"):
            mount.write({"a.yaml": text, "b.yaml": text})
            await next_reload()
            assert set(snapshot([mount.directory]).values()) == {text.encode()}


async def test_looking_without_a_change_is_no_reload(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, looks = asyncio.get_running_loop(), asyncio.Queue[None]()

    def counted(paths: Sequence[Path]) -> tuple[Seen, ...]:
        loop.call_soon_threadsafe(looks.put_nowait, None)
        return fingerprint(paths)

    monkeypatch.setattr(watching, "fingerprint", counted)
    async with watched(mount.directory, poll_seconds=OFTEN):
        for _ in range(3):
            await asyncio.wait_for(looks.get(), SOON)


async def test_a_file_named_alone_is_seen_to_change_with_its_volume(mount: Mount) -> None:
    async with watched(mount.directory / "a.yaml") as next_reload:
        mount.write({"a.yaml": "two", "b.yaml": "two"})
        await next_reload()


async def test_a_plain_file_edited_in_place_or_renamed_over_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("one")
    async with watched(file) as next_reload:
        with file.open("a") as text:
            text.write(", two")
        await next_reload()
        (tmp_path / ".policy.yaml.new").write_text("three, by an editor")
        os.rename(tmp_path / ".policy.yaml.new", file)
        await next_reload()


@pytest.mark.parametrize("poll_seconds", [NEVER, OFTEN])
async def test_a_directory_may_be_missing_at_the_start_deleted_and_recreated(
    tmp_path: Path, poll_seconds: float
) -> None:
    mount = Mount(tmp_path / "policies")
    async with watched(mount.directory, poll_seconds=poll_seconds) as next_reload:
        mount.write({"a.yaml": "one"})
        await next_reload()
        shutil.rmtree(mount.directory)
        await next_reload()
        mount.write({"a.yaml": "two"})
        await next_reload()
        assert snapshot([mount.directory]) == {str(mount.directory / "a.yaml"): b"two"}


async def test_a_version_that_is_gone_is_an_error_to_tell_and_not_the_end_of_the_watch(mount: Mount) -> None:
    async with watched(mount.directory) as next_reload:
        shutil.rmtree(mount.directory / (mount.directory / "..data").readlink())
        await next_reload()
        with pytest.raises(StillChanging, match="policies"):
            snapshot([mount.directory])
        mount.write({"a.yaml": "two"})
        await next_reload()
        assert snapshot([mount.directory]) == {str(mount.directory / "a.yaml"): b"two"}


async def test_without_file_events_the_poll_alone_sees_the_change(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise WatchfilesRustInternalError("Too many open files (os error 24)")

    monkeypatch.setattr(watching, "RustNotify", exhausted)
    async with watched(mount.directory, poll_seconds=OFTEN) as next_reload:
        mount.write({"a.yaml": "two", "b.yaml": "two"})
        await next_reload()


async def test_a_reload_that_raises_does_not_end_the_watch(mount: Mount, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise RuntimeError("a bug in the loader")

    async with watched(mount.directory, reload=fails) as next_reload:
        mount.write({"a.yaml": "two"})
        await next_reload()
    assert "still watching" in caplog.text


async def test_an_awaitable_reload_is_awaited(mount: Mount) -> None:
    done = asyncio.Event()
    stop = asyncio.Event()

    async def reload() -> None:
        done.set()

    running = spawn(watch([mount.directory], reload, poll_seconds=OFTEN, stop=stop), name="watch")
    await asyncio.wait_for(done.wait(), SOON)
    stop.set()
    await asyncio.wait_for(running, SOON)


async def test_a_cancelled_watch_leaves_no_thread_behind(mount: Mount) -> None:
    reloaded, stop = asyncio.Event(), asyncio.Event()
    running = asyncio.get_running_loop().create_task(
        watch([mount.directory], reloaded.set, poll_seconds=NEVER, stop=stop)
    )
    await asyncio.wait_for(reloaded.wait(), SOON)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(SOON):
        await asyncio.get_running_loop().shutdown_default_executor()


def test_a_reader_never_sees_half_of_a_swap(mount: Mount) -> None:
    swaps = 200
    failed: list[Exception] = []

    def write() -> None:
        try:
            for number in range(swaps):
                mount.write({name: str(number) for name in ("a.yaml", "b.yaml", "c.yaml")})
        except Exception as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        with suppress(StillChanging):
            seen.add(tuple(snapshot([mount.directory]).values()))
    writer.join()
    assert not failed
    assert {len(set(texts)) for texts in seen} == {1}, "files of two versions in one snapshot"
    assert len(seen) > 1, "the reader saw no swap at all"
    assert set(snapshot([mount.directory]).values()) == {str(swaps - 1).encode()}


def test_a_key_is_there_as_soon_as_the_swap_is_whatever_the_visible_links_say(mount: Mount) -> None:
    mount.write({"a.yaml": "two", "new.yaml": "two"})
    (mount.directory / "new.yaml").unlink()
    assert {Path(path).name for path in snapshot([mount.directory])} == {"a.yaml", "new.yaml"}


def test_a_snapshot_shows_policies_by_the_paths_people_know(mount: Mount, tmp_path: Path) -> None:
    alone = tmp_path / "policy.txt"
    alone.write_text("mine")
    mount.write({"a.yaml": "one", "b.yaml": "one", "README.md": "prose", ".hidden.yaml": "an editor's"})
    assert snapshot([mount.directory, alone]) == {
        str(mount.directory / "a.yaml"): b"one",
        str(mount.directory / "b.yaml"): b"one",
        str(alone): b"mine",
    }


def test_a_snapshot_of_a_missing_path_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        snapshot([tmp_path / "nowhere"])


def test_a_fingerprint_changes_with_every_swap_even_of_the_same_content(mount: Mount) -> None:
    before = fingerprint([mount.directory])
    assert fingerprint([mount.directory]) == before
    mount.write({"a.yaml": "one", "b.yaml": "one"})
    assert fingerprint([mount.directory]) != before


POD = "/var/lib/kubelet/pods/5c3c/volumes/kubernetes.io~configmap/policies"


def mountinfo(root: str, point: Path) -> str:
    escaped = str(point).replace(" ", "\\040")
    return (
        "1033 1018 0:102 / / ro,relatime master:300 - overlay overlay rw\n"
        f"1041 1033 8:1 {root} {escaped} ro,relatime - ext4 /dev/root rw\n"
    )


def test_a_subpath_mount_is_found_by_file_by_directory_and_by_version(tmp_path: Path) -> None:
    directory = tmp_path / "muxel policies"
    directory.mkdir()
    file = directory / "policy.yaml"
    file.write_text("pinned")
    one_file = mountinfo(f"{POD}/..2026_11_20_10_00_00.1/policy.yaml", file)
    assert subpath_mounts([directory], one_file) == (file,)
    assert subpath_mounts([file], one_file) == (file,)
    one_version = mountinfo(f"{POD}/..2026_11_20_10_00_00.1/team", directory)
    assert subpath_mounts([directory], one_version) == (directory,)
    assert subpath_mounts([directory / "of-team"], one_version) == (directory,)


def test_a_volume_mounted_whole_is_no_subpath_mount(mount: Mount) -> None:
    assert subpath_mounts([mount.directory, mount.directory / "a.yaml"], mountinfo(POD, mount.directory)) == ()
    with_secret_inside = mountinfo("/", mount.directory / "credentials")
    (mount.directory / "credentials").mkdir()
    assert subpath_mounts([mount.directory], with_secret_inside) == ()


def test_the_mounts_of_this_process_can_be_read() -> None:
    if (table := Path("/proc/self/mountinfo")).exists():
        subpath_mounts([Path("/etc")], table.read_text())
