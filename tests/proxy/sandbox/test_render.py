from io import BytesIO
from random import Random

import pytest
from PIL import Image, ImageChops, ImageDraw

from adapters.ir import InvalidRequest, Margins, Media, MediaRequest, Operation
from proxy.sandbox.graphics import abstract, infographic, logo, poster
from proxy.sandbox.outdoors import architecture, landscape
from proxy.sandbox.paint import luminance, palette_of, words_of
from proxy.sandbox.render import develop, quoted, render, seed_of, size_of
from proxy.sandbox.scenes import Scene, scene_of
from proxy.sandbox.subjects import food, portrait, product


def draw(prompt: str, width: int = 192, height: int = 160, seed: int = 1, **fields: object) -> Image.Image:
    request = MediaRequest(Operation.GENERATE, prompt=prompt, **fields)  # type: ignore[arg-type]
    data = render(request, width=width, height=height, seed=seed, model="flux-2-pro", provider="bfl")
    return Image.open(BytesIO(data))


def png(image: Image.Image) -> Media:
    out = BytesIO()
    image.save(out, "PNG")
    return Media(data=out.getvalue(), mime="image/png")


@pytest.mark.parametrize(
    ("asked", "kind"),
    [("", "PNG"), ("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")],
    ids=lambda value: value or "none",
)
@pytest.mark.parametrize("size", [(64, 64), (333, 97), (90, 300), (1, 7)])
def test_a_picture_has_the_size_and_the_format_asked_for(asked: str, kind: str, size: tuple[int, int]) -> None:
    image = draw('a red barn that says "Farm"', *size, format=asked)
    image.load()
    assert (image.format, image.size, image.mode) == (kind, size, "RGB")


@pytest.mark.parametrize(("asked", "mode"), [("png", "RGBA"), ("webp", "RGBA"), ("jpeg", "RGB")])
def test_a_transparent_background_is_left_out_where_the_format_can(asked: str, mode: str) -> None:
    image = draw("a perfume bottle, product photo", format=asked, background="transparent")
    assert image.mode == mode
    if mode == "RGBA":
        alpha = image.getchannel("A")
        assert alpha.getpixel((2, 2)) == 0
        assert alpha.getpixel((96, 100)) == 255


def test_the_same_seed_draws_the_same_bytes_and_another_seed_another_picture() -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a quiet lake")
    first, again, other = (
        render(request, width=96, height=96, seed=seed, model="m", provider="p") for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_without_a_seed_the_prompt_is_the_seed_and_every_picture_counts_up() -> None:
    asked = MediaRequest(Operation.GENERATE, prompt="a", seed=40)
    assert [seed_of(asked, index) for index in range(3)] == [40, 41, 42]
    one, same, other = (MediaRequest(Operation.GENERATE, prompt=prompt) for prompt in ("a", "a", "b"))
    assert seed_of(one, 0) == seed_of(same, 0) != seed_of(other, 0)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (1024, 1024)),
        ({"size": (640, 480)}, (640, 480)),
        ({"aspect": (16, 9), "resolution": "512"}, (683, 384)),
        ({"references": (png(Image.new("RGB", (120, 80))),)}, (120, 80)),
        ({"references": (png(Image.new("RGB", (120, 80))),), "size": (64, 64)}, (64, 64)),
        ({"references": (Media(data=b"no picture"),)}, (1024, 1024)),
    ],
)
def test_the_size_is_the_one_asked_for_else_that_of_the_picture_given(
    fields: dict[str, object], size: tuple[int, int]
) -> None:
    assert size_of(MediaRequest(Operation.EDIT, prompt="x", **fields)) == size  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ('a sign that says "Open  late"', ("Open late",)),
        ("two: \u201cone\u201d and \u00abtwo\u00bb", ("one", "two")),
        ("a mug with 'Best Dad' on it", ("Best Dad",)),
        ("the cat's toy and the dog's bone", ()),
        ("nothing here", ()),
    ],
)
def test_words_in_quotation_marks_are_found(prompt: str, words: tuple[str, ...]) -> None:
    assert quoted(prompt) == words


def test_quoted_words_are_drawn_large_and_stand_out() -> None:
    plain = draw("a poster of jazz", 400, 400)
    lettered = draw('a poster of jazz "JAZZ"', 400, 400)
    band = (0, 120, 400, 256)  # the poster's place for words
    changed = ImageChops.difference(plain.crop(band), lettered.crop(band)).convert("L")
    assert sum(changed.histogram()[90:]) > 0.04 * 400 * 136  # glyphs, in an ink far from what was behind them
    above = ImageChops.difference(plain.crop((0, 0, 400, 100)), lettered.crop((0, 0, 400, 100)))
    assert above.getbbox() is None


def test_a_long_text_is_wrapped_into_the_picture() -> None:
    image = draw(f'a poster "{"everyone is welcome here " * 5}"', 300, 300)
    plain = draw("a poster ", 300, 300)
    left, _, right, _ = (
        ImageChops.difference(image.crop((0, 80, 300, 200)), plain.crop((0, 80, 300, 200))).getbbox() or (0,) * 4
    )
    assert left > 5
    assert right < 295


def test_an_edit_starts_from_the_picture_given_and_changes_it() -> None:
    half = Image.new("RGB", (200, 100), "black")
    half.paste("white", (100, 0, 200, 100))
    edited = draw("make it dreamy", 200, 100, references=(png(half),)).convert("L")
    left, right = edited.getpixel((30, 50)), edited.getpixel((170, 50))
    assert isinstance(left, int | float)
    assert isinstance(right, int | float)
    assert left + 60 < right
    assert (left, right) != (0, 255)


def test_every_further_reference_is_seen_in_an_edit() -> None:
    base = png(Image.new("RGB", (240, 240), "grey"))
    one = draw("mix", 240, 240, references=(base,))
    two = draw("mix", 240, 240, references=(base, png(Image.new("RGB", (50, 50), "red"))))
    assert ImageChops.difference(one, two).getbbox() is not None
    pixel = two.getpixel((215, 25))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 200 > 60 > pixel[1]


def test_no_pixel_outside_the_mask_is_changed_and_those_inside_are() -> None:
    base = Image.effect_mandelbrot((200, 160), (-2, -1, 1, 1), 40).convert("RGB")
    mask = Image.new("L", base.size)
    ImageDraw.Draw(mask).rectangle((60, 40, 140, 120), fill=255)
    image = draw('a city "Sale"', 200, 160, references=(png(base),), mask=png(mask))
    difference = ImageChops.difference(base, image)
    outside = ImageChops.multiply(difference, Image.merge("RGB", (ImageChops.invert(mask),) * 3))
    assert outside.getbbox() is None
    assert difference.getbbox() is not None


@pytest.mark.parametrize("size", [(1, 1), (9, 200), (40, 12)])
def test_a_tiny_picture_can_be_edited_too(size: tuple[int, int]) -> None:
    given = png(Image.new("RGB", size, "olive"))
    assert draw('"A" and "B"', *size, references=(given, given)).size == size
    assert draw('"A" and "B"', *size, references=(given,), mask=png(Image.new("L", size, 255))).size == size


def test_a_mask_that_marks_nothing_changes_nothing() -> None:
    base = Image.new("RGB", (64, 64), "teal")
    image = draw("x", 64, 64, references=(png(base),), mask=png(Image.new("L", (64, 64))))
    assert ImageChops.difference(base, image).getbbox() is None


def test_a_reference_that_is_no_picture_is_the_callers_fault() -> None:
    with pytest.raises(InvalidRequest, match="cannot be decoded"):
        draw("x", references=(Media(data=b"not a picture"),))


@pytest.mark.parametrize(
    ("prompt", "scene"),
    [
        ("misty mountains at sunset", landscape),
        ("packshot of a perfume bottle", product),
        ("portrait of a woman by the ocean, soft light, face", portrait),
        ("minimal logo for an ocean and sea charity", logo),
        ("infographic about forests", infographic),
        ("a bowl of ramen", food),
        ("brutalist building", architecture),
        ("movie poster", poster),
        ("synesthesia", abstract),
    ],
)
def test_the_scene_follows_from_the_words(prompt: str, scene: Scene) -> None:
    assert scene_of(words_of(prompt)) is scene


def test_the_palette_follows_colour_names_and_mood() -> None:
    red = palette_of(words_of("red sneakers"), Random(0)).accent
    blue = palette_of(words_of("blue sneakers"), Random(0)).accent
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    night, snow = (palette_of(words_of(mood), Random(0)) for mood in ("starry night", "winter snow"))
    assert luminance(night.top) < 0.2 < luminance(snow.top)


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_a_partial_picture_is_blurred_at_full_size_in_the_same_format(share: float) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="city", format="webp")
    whole = render(request, width=128, height=96, seed=1, model="m", provider="p")
    partial = Image.open(BytesIO(develop(whole, share)))
    assert (partial.format, partial.size) == ("WEBP", (128, 96))
    assert ImageChops.difference(partial.convert("RGB"), Image.open(BytesIO(whole)).convert("RGB")).getbbox()


# ------------------------------------------------------------------------------------------------- on a given picture

GIVEN = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
LEFT_HALF = Image.new("L", GIVEN.size, 0)
LEFT_HALF.paste(255, (0, 0, 48, 64))


def retouched(operation: Operation, **fields: object) -> bytes:
    request = MediaRequest(operation, "a beach at noon", references=(png(GIVEN),), **fields)  # type: ignore[arg-type]
    width, height = size_of(request)
    return render(request, width=width, height=height, seed=1, model="m", provider="p")


def test_an_upscale_is_larger_by_the_scale_and_the_same_picture() -> None:
    image = Image.open(BytesIO(retouched(Operation.UPSCALE, scale=3.0)))
    assert image.size == (288, 192)
    difference = ImageChops.difference(image.resize(GIVEN.size).convert("RGB"), GIVEN)
    assert max(highest for _, highest in difference.getextrema()) < 24


def test_an_outpaint_keeps_the_given_pixels_and_adds_its_margins() -> None:
    image = Image.open(BytesIO(retouched(Operation.OUTPAINT, margins=Margins(left=10, top=4, right=20, bottom=6))))
    assert image.size == (126, 74)
    assert image.crop((10, 4, 106, 68)).tobytes() == GIVEN.tobytes()


def test_an_erase_changes_only_what_the_mask_covers() -> None:
    image = Image.open(BytesIO(retouched(Operation.ERASE, mask=png(LEFT_HALF))))
    assert image.crop((56, 0, 96, 64)).tobytes() == GIVEN.crop((56, 0, 96, 64)).tobytes()
    assert image.crop((0, 0, 40, 64)).tobytes() != GIVEN.crop((0, 0, 40, 64)).tobytes()


def test_what_is_cut_out_has_nothing_around_it() -> None:
    image = Image.open(BytesIO(retouched(Operation.REMOVE_BACKGROUND)))
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0))[3] == 0  # type: ignore[index]
    assert image.getpixel((48, 32)) == (*GIVEN.getpixel((48, 32)), 255)  # type: ignore[misc]


def test_another_background_leaves_the_subject_as_it_was() -> None:
    image = Image.open(BytesIO(retouched(Operation.REPLACE_BACKGROUND)))
    assert image.getpixel((48, 32)) == GIVEN.getpixel((48, 32))
    assert image.getpixel((1, 1)) != GIVEN.getpixel((1, 1))


def test_a_traced_picture_is_svg_of_its_size() -> None:
    data = retouched(Operation.VECTORIZE)
    assert data.startswith(b'<svg xmlns="http://www.w3.org/2000/svg" width="96" height="64"')
    assert data.count(b"<path") > 20
