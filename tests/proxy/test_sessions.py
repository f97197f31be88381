"""Session tokens: what they carry, whose they are, and a storyboard from end to end."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import Artifact, Ask, Done, InvalidRequest, Media, MediaRequest, Operation
from policies.decide import decide
from policies.decision import Decision, Session
from proxy.jobs import Sealed, Sealer
from proxy.sessions import HEADER, PREFIX, open_session, token
from tests.policies.catalogs import policy, studio, traits
from tests.proxy.conftest import Build

SEALER = Sealer(b"k" * 32)
LOOK = Media(url="https://pictures.test/look.png")
HERO = Media(data=b"the hero")
FIRST = MediaRequest(Operation.GENERATE, "a fox", ask=Ask(session="fox tale", caller="shop"))
RULES = policy(rules=[{"name": "house", "rewrite": {"promptSuffix": ", in gouache"}}], session={"token": True})


def decided(request: MediaRequest) -> Decision:
    return decide(request, traits(), RULES, studio(), {}, 0.0)


def sealed(request: MediaRequest = FIRST, done: Done | None = None, sealer: Sealer = SEALER) -> str:
    decision = decided(request)
    return token(request, decision, decision.candidates[0], done, sealer)


def opened(text: str, caller: str = "shop", sealer: Sealer = SEALER, **fields: object) -> Session | None:
    request = replace(FIRST, ask=Ask(session=text, caller=caller), **fields)  # type: ignore[arg-type]
    return open_session(request, sealer)


def test_any_replica_with_the_key_can_open_what_the_first_frame_settled() -> None:
    done = Done((Artifact(HERO, seed=11), Artifact(HERO, seed=12)))
    session = opened(sealed(FIRST, done), sealer=Sealer(b"k" * 32))
    assert session == Session("fox tale", decided(FIRST).candidates[0].deployment.model.id, 11, "house")


def test_the_callers_own_seed_goes_before_the_providers() -> None:
    session = opened(sealed(replace(FIRST, seed=0), Done((Artifact(HERO, seed=11),))))
    assert session is not None
    assert session.seed == 0


@pytest.mark.parametrize(
    ("styles", "kept"),
    [
        ((LOOK,), (LOOK.url,)),
        ((LOOK, HERO), ()),  # one without a URL cannot be given back, and half a look is another one
        ((Media(url="https://pictures.test/" + "x" * 1000),), ()),
    ],
)
def test_style_references_are_kept_where_they_are_small(styles: tuple[Media, ...], kept: tuple[str, ...]) -> None:
    decision = decided(FIRST)
    text = token(replace(FIRST, style_references=styles), decision, decision.candidates[0], None, SEALER)
    session = opened(text)
    assert session is not None
    assert session.style_urls == kept
    assert len(text) < 2000


@pytest.mark.parametrize(
    ("references", "strayed"), [((HERO,), False), ((), False), ((LOOK,), True), ((HERO, HERO), True)]
)
def test_other_references_than_the_first_frames_are_noticed(references: tuple[Media, ...], strayed: bool) -> None:
    session = opened(sealed(replace(FIRST, references=(HERO,))), references=references)
    assert session is not None
    assert session.strayed is strayed


def test_a_token_is_handed_back_as_it_came() -> None:
    text = sealed()
    assert sealed(replace(FIRST, ask=Ask(session=text, caller="shop"))) == text


def test_a_token_is_of_no_use_to_another_caller_or_under_another_key() -> None:
    for caller, sealer in (("thief", SEALER), ("shop", Sealer(b"o" * 32))):
        with pytest.raises(InvalidRequest) as caught:
            opened(sealed(), caller, sealer)
        assert caught.value.field == HEADER


def test_a_job_id_is_no_session() -> None:
    job = SEALER.seal(Sealed("k", "bfl", "m", 1.0), "shop")
    with pytest.raises(InvalidRequest):
        opened(PREFIX + job)


def test_a_name_is_no_token_whatever_bytes_it_has() -> None:
    assert opened("fox tale") is None
    assert opened("caf\udce9") is None
    strange = replace(FIRST, ask=Ask(session="caf\udce9", caller="caf\udce9"))
    session = opened(sealed(strange), "caf\udce9")
    assert session is not None
    assert session.name == "caf\udce9"


@given(st.text(max_size=200))
def test_no_text_of_a_caller_raises_anything_else(text: str) -> None:
    with pytest.raises(InvalidRequest):
        opened(PREFIX + text)


STORYBOARD = """
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec: {session: {token: true}}
"""


async def test_a_storyboard_keeps_its_model_whatever_the_frames_show(build: Build) -> None:
    world = await build(STORYBOARD)
    path, frames = "/v1/images/generations", ("a fox in the snow", "poster with the words FOX", "quick draft of a den")
    first = await world.post(path, {"prompt": frames[0], "size": "1024x1024"}, x_muxel_tier="premium")
    given = first.headers[HEADER]
    assert given.startswith(PREFIX)
    for frame in frames[1:]:
        reply = await world.post(path, {"prompt": frame, "size": "1024x1024"}, x_muxel_session=given)
        assert reply.headers["x-muxel-model"] == first.headers["x-muxel-model"]
        assert reply.headers[HEADER] == given


async def test_a_token_nobody_can_open_is_refused_and_without_the_policy_none_is_given(build: Build) -> None:
    world = await build()
    body = {"prompt": "a fox", "size": "1024x1024"}
    plain = await world.post("/v1/images/generations", body, x_muxel_session="fox tale")
    assert (plain.status, HEADER in plain.headers) == (200, False)
    reply = await world.post("/v1/images/generations", body, x_muxel_session=PREFIX + "nonsense")
    assert reply.status == 400
    assert (await reply.json())["error"]["param"] == HEADER
