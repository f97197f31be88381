"""Recording: what is written and what never is, how much of it, and that replay and diff read it."""

import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from adapters.ir import Ask, Lora, Media, MediaRequest, Operation, Webhook
from policies.classify import classify, load_lexicon
from policies.decision import Session
from policies.load import Config
from proxy import record
from proxy.cli import main
from proxy.metrics import Metrics
from proxy.record import Recorder
from proxy.serve import running
from proxy.settings import Settings, SettingsError
from proxy.traffic import read_traffic, without_media
from tests.policies.catalogs import policy, studio
from tests.proxy.conftest import Build, World
from tests.proxy.test_exchange import until

GENERATE = "/v1/images/generations"
SECRET = "sk-a-key-of-the-caller"
PICTURE = Media(data=b"the bytes of a picture")
RULES = policy(
    rules=[{"name": "red", "match": {"headers": {"X-Team": "red", "authorization": "*"}}, "objective": "best"}]
)
CONFIG = Config(studio(), {"default": RULES}, "hash", ())
FOX = MediaRequest(
    Operation.GENERATE,
    prompt="a fox in Zanzibar",
    size=(1024, 1536),
    ask=Ask(caller="shop", headers={"x-team": "red", "authorization": SECRET, "x-other": "private"}),
)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorder that writes, and what it has written once it is closed."""

    recorder: Recorder

    def note(self, request: MediaRequest = FOX, name: str = "0" * 16, session: Session | None = None) -> None:
        self.recorder.note(name, request, classify(request, load_lexicon()), session, CONFIG)

    async def lines(self) -> list[dict[str, Any]]:
        await self.recorder.close()
        text = self.recorder.path.read_bytes()
        list(read_traffic(text.splitlines()))
        return [json.loads(line) for line in text.splitlines()]

    def counts(self) -> dict[str, int]:
        samples = next(iter(self.recorder.metrics.recorded.collect())).samples
        return {one.labels["outcome"]: int(one.value) for one in samples if one.name.endswith("_total")}


Begin = Callable[..., Recording]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    begun: list[Recorder] = []

    def start(**options: Any) -> Recording:
        usual: dict[str, Any] = {"prompts": "hash", "share": 1.0, "max_bytes": 1_000_000, "key": b"k" * 32}
        recorder = Recorder(path=tmp_path / "traffic.jsonl", metrics=Metrics(), **usual | options)
        recorder.start()
        begun.append(recorder)
        return Recording(recorder)

    yield start
    for recorder in begun:
        await recorder.close()


# ---------------------------------------------------------------------------------------------------- what is written


async def test_a_line_has_a_digest_and_traits_in_place_of_the_words(begin: Begin) -> None:
    recording = begin()
    recording.note()
    recording.note(replace(FOX, negative_prompt="Zanzibar"))
    recording.note(replace(FOX, prompt="another fox"))
    first, second, third = await recording.lines()
    assert first["prompt_hash"] == second["prompt_hash"] != third["prompt_hash"]
    assert len(first["prompt_hash"]) == 32
    assert first["prompt_length"] == len(FOX.prompt)
    assert first["traits"]["task"] == classify(FOX, load_lexicon()).task
    assert b"Zanzibar" not in recording.recorder.path.read_bytes()


async def test_the_digest_depends_on_the_key_so_that_nobody_can_try_words(begin: Begin) -> None:
    digests = []
    for key in (b"a" * 32, b"a" * 32, b"b" * 32):
        recording = begin(key=key)
        recording.note()
        digests.append((await recording.lines())[-1]["prompt_hash"])
    assert digests[0] == digests[1] != digests[2]


async def test_words_are_kept_where_the_operator_says_so(begin: Begin) -> None:
    recording = begin(prompts="keep")
    recording.note(replace(FOX, negative_prompt="text"))
    recording.note(replace(FOX, prompt=""))
    kept, wordless = await recording.lines()
    assert (kept["prompt"], kept["negative_prompt"]) == (FOX.prompt, "text")
    assert "traits" not in kept
    assert "traits" in wordless  # without a prompt nothing else says what it is about


async def test_of_headers_only_those_are_written_that_a_rule_looks_at_and_never_a_key(begin: Begin) -> None:
    recording = begin(prompts="keep")
    recording.note()
    (line,) = await recording.lines()
    assert line["headers"] == {"x-team": "red"}
    written = recording.recorder.path.read_text()
    assert SECRET not in written
    assert "private" not in written


async def test_pictures_weights_and_webhooks_are_counted_and_not_kept(begin: Begin) -> None:
    request = replace(
        FOX,
        operation=Operation.EDIT,
        references=(PICTURE, PICTURE),
        style_references=(Media(url="https://a.test/x.png"),),
        mask=PICTURE,
        loras=(Lora("https://weights.test/mine"),),
        webhook=Webhook("https://app.test/hook"),
        extras={"bfl": {"input": "x" * 1000}},
    )
    bare = without_media(request)
    assert not any(picture.data for picture in bare.pictures)
    assert bare.extras == {}
    recording = begin()
    recording.note(request)
    (line,) = await recording.lines()
    assert (line["references"], line["style_references"], line["loras"], line["mask"]) == (2, 1, 1, True)
    assert ".test" not in json.dumps(line)


async def test_a_session_is_written_by_its_name_and_the_model_it_has_settled_on(begin: Begin) -> None:
    recording = begin()
    token = replace(FOX, ask=replace(FOX.ask, session="sealed.abcdef"))
    recording.note(token, session=Session("tale", "canvas-2", seed=7))
    recording.note(replace(FOX, ask=replace(FOX.ask, session="mine")))
    sealed, named = await recording.lines()
    assert (sealed["session"], sealed["session_model"]) == ("tale", "canvas-2")
    assert named["session"] == "mine"
    assert "session_model" not in named
    (first, _) = read_traffic(recording.recorder.path.read_bytes().splitlines())
    assert first.session == Session("tale", "canvas-2")


async def test_a_dry_run_is_no_traffic(begin: Begin) -> None:
    recording = begin()
    recording.note(replace(FOX, ask=replace(FOX.ask, dry_run=True)))
    assert await recording.lines() == []


async def test_what_no_line_can_hold_is_counted_and_spoils_nothing(begin: Begin) -> None:
    recording = begin()
    recording.note(replace(FOX, ask=replace(FOX.ask, caller="\udcff")))
    recording.note(replace(FOX, ask=replace(FOX.ask, max_cost=1e15)))
    recording.note()
    assert len(await recording.lines()) == 1
    assert recording.counts() == {"failed": 2, "written": 1}


# ------------------------------------------------------------------------------------------------------- how much of it


async def test_the_share_is_kept_and_the_same_decision_is_always_in_or_out(begin: Begin) -> None:
    names = [os.urandom(8).hex() for _ in range(2_000)]
    written = []
    for _ in range(2):
        recording = begin(share=0.25)
        recording.recorder.path.write_bytes(b"")
        inside = [name for name in names if recording.recorder._in_share(name)]
        for name in names:
            recording.note(name=name)
        assert len(await recording.lines()) == len(inside)
        written.append(inside)
    assert written[0] == written[1]
    assert 0.19 < len(written[0]) / len(names) < 0.31
    none = begin(share=0.0)
    assert not any(none.recorder._in_share(name) for name in names)


async def test_beyond_the_cap_the_file_is_put_aside_once(begin: Begin) -> None:
    recording = begin(max_bytes=1_000)
    for _ in range(40):
        recording.note()
    path = recording.recorder.path
    await recording.recorder.close()
    aside = path.with_name("traffic.jsonl.1")
    assert sorted(file.name for file in path.parent.iterdir()) == ["traffic.jsonl", "traffic.jsonl.1"]
    for file in (path, aside):
        assert 0 < file.stat().st_size <= 1_000
        assert list(read_traffic(file.read_bytes().splitlines()))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert recording.counts() == {"written": 40}


async def test_a_line_longer_than_the_cap_is_written_all_the_same(begin: Begin) -> None:
    recording = begin(max_bytes=10)
    recording.note()
    assert len(await recording.lines()) == 1


async def test_what_comes_too_fast_is_dropped_and_counted(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WAITING", 3)
    recording = begin()
    for _ in range(5):
        recording.note()
    assert len(await recording.lines()) == 3
    assert recording.counts() == {"dropped": 2, "written": 3}


async def test_long_prompts_do_not_pile_up(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "HELD", 1_000)
    recording = begin()
    for _ in range(3):
        recording.note(replace(FOX, prompt="x" * 900))
    assert len(await recording.lines()) == 2
    assert recording.counts()["dropped"] == 1


async def test_a_disk_that_fails_is_told_once_and_tried_again(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recording, opened = begin(), Recorder._open
    recording.note()
    await until_counted(recording, "written", 1)

    def full(self: Recorder) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Recorder, "_open", full)
    assert recording.recorder._file is not None
    recording.recorder._file.close()
    for _ in range(2):
        recording.note()
    await until_counted(recording, "failed", 2)
    monkeypatch.setattr(Recorder, "_open", opened)
    recording.note()
    assert len(await recording.lines()) == 2
    assert sum("No space left" in one.getMessage() for one in caplog.records) == 1


async def test_a_line_that_a_crash_cut_off_is_taken_away(begin: Begin, tmp_path: Path) -> None:
    whole = b'{"prompt":"a hare"}\n'
    (tmp_path / "traffic.jsonl").write_bytes(whole + b'{"prompt":"a f' + b"x" * 100_000)
    recording = begin()
    recording.note()
    hare, _ = await recording.lines()
    assert hare == {"prompt": "a hare"}


async def until_counted(recording: Recording, outcome: str, count: int) -> None:
    async def counted() -> bool:
        return recording.counts().get(outcome) == count

    await until(counted)


# ------------------------------------------------------------------------------------------------------- a whole Muxel

POLICY = """\
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec:
  rules:
    - {name: red, match: {headers: {x-team: red}}, tier: premium}
    - {name: no-fire, match: {caller: [arsonist]}, refuse: "no"}
  tests:
    - {name: red is premium, request: {prompt: a fox, headers: {x-team: red}}, expect: {tier: premium, rule: red}}
"""
STRICTER = POLICY.replace("spec:", "spec:\n  objective: best")


@pytest.mark.parametrize("prompts", ["hash", "keep"])
async def test_what_a_muxel_records_replay_and_diff_read(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], prompts: str
) -> None:
    file = tmp_path / "recorded.jsonl"
    world = await build(POLICY, record=file, record_prompts=prompts)
    await ask(world)

    async def recorded() -> bool:
        return file.read_bytes().count(b"\n") == 4

    await until(recorded)
    written = file.read_text()
    assert SECRET not in written
    assert ("Zanzibar" in written) is (prompts == "keep")
    first, second, job, refused = map(json.loads, written.splitlines())
    assert (first["headers"], first["size"], first["n"]) == ({"x-team": "red"}, "512x512", 2)
    assert (second["pin"], second["tier"], refused["caller"]) == ("gpt-image-2-medium", "draft", "arsonist")
    assert job["size"] == "256x256"

    (tmp_path / "stricter.yaml").write_text(STRICTER)
    assert main(["replay", "--traffic", str(file), "--policy", str(tmp_path / "policy.yaml"), "--json"]) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert (replayed["asked"], replayed["unserved"]) == (4, {"refused by rule no-fire": 1})
    sides = [str(tmp_path / name) for name in ("policy.yaml", "stricter.yaml")]
    assert main(["diff", *sides, "--traffic", str(file), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["requests"] == 4
    assert compared["changed"] >= 2
    assert main(["diff", sides[0], sides[0], "--traffic", str(file), "--max-changed", "0%"]) == 0
    assert main(["test", sides[0]]) == 0


async def ask(world: World) -> None:
    """Two pictures, a pinned draft, a job, a refusal, a dry run."""
    fox = {"prompt": "studio product photo of a clove jar from Zanzibar", "size": "512x512"}
    key = f"Bearer {SECRET}"
    assert (await world.post(GENERATE, fox | {"n": 2}, x_team="red", authorization=key)).status == 200
    pinned = {"x_muxel_model": "gpt-image-2-medium", "x_muxel_tier": "draft"}
    assert (await world.post(GENERATE, fox, authorization=key, **pinned)).status == 200
    body = {"prompt": fox["prompt"], "width": 256, "height": 256}
    assert (await world.post("/bfl/v1/flux-2-pro", body, x_key=SECRET)).status == 200
    assert (await world.post(GENERATE, fox, x_muxel_caller="arsonist")).status == 400
    assert (await world.post(GENERATE, fox, x_muxel_dry_run="true")).status == 200


async def test_the_drain_writes_what_is_left_and_the_metric_counts_it(tmp_path: Path) -> None:
    file = tmp_path / "recorded.jsonl"
    settings = Settings(listen="127.0.0.1:0", admin_listen="127.0.0.1:0", sandbox="always", record=file)
    async with running(settings, {}) as muxel:
        recorder = muxel.services.recorder
        assert recorder is not None
        current = muxel.services.state.current
        assert current is not None
        recorder.note("a", FOX, classify(FOX, load_lexicon()), None, current)
    assert len(list(read_traffic(file.read_bytes().splitlines()))) == 1
    assert b'muxel_recorded_requests_total{outcome="written"} 1.0' in muxel.services.metrics.exposition()


async def test_without_the_setting_nothing_is_recorded(world: World) -> None:
    assert world.muxel.services.recorder is None


async def test_a_file_that_cannot_be_written_is_the_end_of_the_start(tmp_path: Path) -> None:
    settings = Settings(listen="127.0.0.1:0", admin_listen="127.0.0.1:0", record=tmp_path / "nowhere" / "a.jsonl")
    with pytest.raises(SettingsError, match=r"^record cannot be written: .*No such file"):
        async with running(settings, {}):
            pass
