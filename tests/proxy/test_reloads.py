"""Starts that find a broken configuration, by what they were told to do then; and what is kept for them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.load import ConfigError
from proxy.lastgood import FILE, LastGood, read, save
from tests.proxy.conftest import Build
from tests.proxy.test_exchange import until
from tests.proxy.test_serve import ONLY_FLUX, ONLY_GPT, POLICY, chosen, reloaded, told
from tests.proxy.test_watch import Mount

GOOD = POLICY % ("default", ONLY_FLUX)
OTHER = POLICY % ("default", ONLY_GPT)
BROKEN = POLICY % ("default", "{objective: cheepest}")


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "policies")


def lines(metrics: str, name: str) -> list[str]:
    return [line for line in metrics.splitlines() if line.startswith(name)]


@pytest.mark.parametrize("settings", [{}, {"on_invalid_start": "fail"}], ids=["unset", "fail"])
async def test_a_broken_start_fails_unless_told_otherwise(build: Build, mount: Mount, settings: dict[str, Any]) -> None:
    mount.write({"policy.yaml": BROKEN})
    with pytest.raises(ConfigError, match="cheepest"):
        await build(policy=(mount.directory,), **settings)


async def test_a_broken_start_takes_the_last_good_files_and_says_so_until_they_are_mended(
    build: Build, mount: Mount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {
        "policy": (mount.directory,),
        "state_dir": tmp_path / "state",
        "on_invalid_start": "lastGood",
    }
    mount.write({"policy.yaml": GOOD})
    first = await build("", **settings)
    model, good_hash = await chosen(first)

    mount.write({"policy.yaml": BROKEN})
    world = await build("", **settings)
    assert await chosen(world) == (model, good_hash)
    status, readiness = await told(world, "/readyz")
    assert status == 200
    assert (readiness["ready"], readiness["fallback"]) == (True, "lastGood")
    assert (readiness["policy_hash"], readiness["last_reload_successful"]) == (good_hash, False)
    assert "cheepest" in readiness["problems"][0]
    _, metrics = await told(world, "/metrics")
    assert "muxel_config_last_reload_successful 0.0" in metrics
    assert 'muxel_config_fallback{source="lastGood"} 1.0' in metrics
    assert lines(metrics, "muxel_config_hash{") == [f'muxel_config_hash{{hash="{good_hash}"}} 1.0']
    refusals = [record.__dict__["fields"] for record in caplog.records if "refused" in record.getMessage()]
    assert ("lastGood", good_hash) in [(fields["fallback"], fields["in_force"]) for fields in refusals]

    await reloaded(world, 2.0)
    mount.write({"policy.yaml": OTHER})
    await reloaded(world, 3.0)
    assert (await chosen(world))[0] == "gpt-image-2-medium"
    _, readiness = await told(world, "/readyz")
    assert (readiness["fallback"], readiness["problems"], readiness["last_reload_successful"]) == ("", [], True)
    _, metrics = await told(world, "/metrics")
    assert "muxel_config_last_reload_successful 1.0" in metrics
    assert lines(metrics, "muxel_config_fallback{") == []


async def test_a_start_on_the_last_good_files_ends_its_alarm_when_just_those_are_there_again(
    build: Build, mount: Mount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "muxel.serve")
    file = str(mount.directory / "policy.yaml")
    save(tmp_path / "state", LastGood({file: GOOD.encode()}, "of another version", 1.0))
    mount.write({"policy.yaml": BROKEN})
    world = await build("", policy=(mount.directory,), state_dir=tmp_path / "state", on_invalid_start="lastGood")
    before = await chosen(world)
    await reloaded(world, 2.0)
    mount.write({"policy.yaml": GOOD})
    await reloaded(world, 3.0)
    assert await chosen(world) == before
    _, readiness = await told(world, "/readyz")
    assert (readiness["fallback"], readiness["problems"], readiness["last_reload_successful"]) == ("", [], True)
    assert "configuration mended" in caplog.text


async def test_a_broken_start_takes_what_is_shipped_alone_where_told_to(build: Build, mount: Mount) -> None:
    mount.write({"policy.yaml": BROKEN, "other.yaml": POLICY % ("nightly", ONLY_GPT)})
    world = await build(policy=(mount.directory,), on_invalid_start="default")
    _, readiness = await told(world, "/readyz")
    assert (readiness["ready"], readiness["fallback"]) == (True, "default")
    current = world.muxel.services.state.current
    assert current is not None
    assert set(current.policies) == {"default"}
    assert all(source.startswith("shipped/") for source in current.sources)
    await reloaded(world, 2.0)
    mount.write({"policy.yaml": GOOD, "other.yaml": POLICY % ("nightly", ONLY_GPT)})
    await reloaded(world, 3.0)
    assert (await told(world, "/readyz"))[1]["fallback"] == ""
    assert set(world.muxel.services.state.current.policies) == {"default", "nightly"}  # type: ignore[union-attr]


async def test_a_missing_path_is_a_broken_start_too(build: Build, mount: Mount) -> None:
    world = await build(policy=(mount.directory,), on_invalid_start="default")
    _, readiness = await told(world, "/readyz")
    assert readiness["problems"] == [f"{mount.directory}:1:1: no such file or directory"]
    await reloaded(world, 2.0)
    mount.write({"policy.yaml": GOOD})
    await reloaded(world, 3.0)
    assert (await chosen(world))[0] == "flux-2-pro"


@pytest.mark.parametrize("kept", [None, "{", '{"hash": "x", "at": 1, "files": {"a.yaml": "kind: 1"}}'], ids=str)
async def test_where_no_last_good_one_can_be_used_the_start_fails_with_its_own_problems(
    build: Build, mount: Mount, tmp_path: Path, kept: str | None
) -> None:
    if kept is not None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / FILE).write_text(kept)
    mount.write({"policy.yaml": BROKEN})
    with pytest.raises(ConfigError, match="cheepest"):
        await build(policy=(mount.directory,), state_dir=tmp_path / "state", on_invalid_start="lastGood")


async def test_each_good_reload_is_kept_and_a_bad_one_is_not(build: Build, mount: Mount, tmp_path: Path) -> None:
    state = tmp_path / "state"
    mount.write({"policy.yaml": GOOD})
    world = await build(policy=(mount.directory,), state_dir=state)
    file = str(mount.directory / "policy.yaml")
    kept = read(state)
    assert kept
    assert kept.files == {file: GOOD.encode()}
    await reloaded(world, 2.0)
    mount.write({"policy.yaml": BROKEN})
    await reloaded(world, 3.0)
    assert read(state) == kept
    mount.write({"policy.yaml": OTHER})
    await reloaded(world, 4.0)

    async def kept_now() -> bool:  # beside the loop, after the reload is told
        return read(state) != kept

    await until(kept_now)
    now = read(state)
    assert now
    assert now.files == {file: OTHER.encode()}
    assert now.hash == (await chosen(world))[1]


async def test_a_state_directory_that_cannot_be_written_stops_nothing(
    build: Build, mount: Mount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    mount.write({"policy.yaml": GOOD})
    world = await build(policy=(mount.directory,), state_dir=tmp_path / "state")
    assert (await chosen(world))[0] == "flux-2-pro"
    assert "cannot be kept" in caplog.text


def test_what_is_saved_is_read_again_and_is_for_us_alone(tmp_path: Path) -> None:
    good = LastGood({"/etc/a.yaml": "ä: 1\n".encode(), "configmap/s/n/k.yaml": b""}, "0123456789ab", 12.5)
    save(tmp_path / "new" / "state", good)
    assert read(tmp_path / "new" / "state") == good
    assert (tmp_path / "new" / "state" / FILE).stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "new" / "state").iterdir()] == [FILE]
    assert json.loads((tmp_path / "new" / "state" / FILE).read_text())["files"]["/etc/a.yaml"] == "ä: 1\n"


def test_a_save_that_is_cut_short_leaves_the_last_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = LastGood({"a.yaml": b"1"}, "one", 1.0)
    save(tmp_path, first)

    def dies(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def cut(call: str, by: Callable[..., None]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, by)
            with pytest.raises(OSError, match="No space"):
                save(tmp_path, LastGood({"a.yaml": b"2"}, "two", 2.0))

    cut("fsync", dies)
    cut("replace", dies)
    assert read(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
