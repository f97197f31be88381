"""What the wires share: reading, sizes, pictures, masks, multipart."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adapters import fields, forms, imaging
from adapters.ir import InvalidRequest, Media, MediaRequest, Operation


def picture(mode: str, colour: Any, kind: str = "PNG", size: tuple[int, int] = (4, 2)) -> bytes:
    out = BytesIO()
    Image.new(mode, size, colour).save(out, kind)
    return out.getvalue()


def request(**asked: Any) -> MediaRequest:
    return MediaRequest(Operation.GENERATE, **asked)


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a picture of that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------ reading a caller's fields


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not valid JSON: Input is a zero-length, empty document: line 1 column 1 (char 0)"),
        (b"[]", "the body must be a JSON object, not an array"),
        (b"null", "the body must be a JSON object, not null"),
        (b"true", "the body must be a JSON object, not a boolean"),
        (b"1e3", "the body must be a JSON object, not a number"),
        (b'"x"', "the body must be a JSON object, not a string"),
    ],
)
def test_a_body_that_is_no_object_is_named_for_what_it_is(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        fields.read_object(body)
    assert (caught.value.field, caught.value.message) == ("body", message)


@pytest.mark.parametrize(
    ("value", "number"), [(3, 3), ("3", 3), (3.0, 3), ("3.0", 3), (None, None), ("", None), (0, 0), (-5, -5)]
)
def test_a_whole_number_is_read_from_json_and_from_text(value: Any, number: int | None) -> None:
    assert fields.read_integer({"seed": value}, "seed", -5, 5) == number


@pytest.mark.parametrize("value", [True, "three", "nan", "inf", 6, -6, 1e400, 2.5, [], {}, "9" * 500])
def test_what_is_no_whole_number_in_range_names_its_field(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^seed must be ") as caught:
        fields.read_integer({"seed": value}, "seed", -5, 5)
    assert caught.value.field == "seed"


@pytest.mark.parametrize(("value", "flag"), [(True, True), ("TRUE", True), ("0", False), (None, None), ("", None)])
def test_a_flag_is_read_from_json_and_from_text(value: Any, flag: bool | None) -> None:
    assert fields.read_flag({"stream": value}, "stream") is flag


@pytest.mark.parametrize("value", ["yes", 1, [True]])
def test_what_is_no_flag_names_its_field(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^stream must be true or false"):
        fields.read_flag({"stream": value}, "stream")


def test_a_text_over_its_limit_is_told_both_numbers() -> None:
    with pytest.raises(InvalidRequest, match="prompt is 4 characters long; the limit is 3"):
        fields.read_text({"prompt": "kite"}, "prompt", limit=3)


# ------------------------------------------------------------------------------------------------- sizes and aspects


@pytest.mark.parametrize("value", ["", "1024", "1024x", "x1024", "0x8", "8x0", "1e3x8", "-8x8", "٨x8", "99999999x8"])
def test_what_is_no_size_names_its_field(value: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^size"):
        fields.read_size(value, "size")


@pytest.mark.parametrize("value", ["", "16", "16:", "0:9", "16:0", "a:b", "12345:1", "²:1"])
def test_what_is_no_aspect_names_its_field(value: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^aspect"):
        fields.read_aspect(value, "aspect")


@pytest.mark.parametrize(
    ("pair", "choice"),
    [((1920, 1080), "16:9"), ((1, 1), "1:1"), ((1080, 1920), "9:16"), ((5, 1), "16:9"), ((10, 9), "1:1")],
)
def test_the_nearest_aspect_is_nearest_by_factor(pair: tuple[int, int], choice: str) -> None:
    assert fields.nearest_aspect(pair, ("1:1", "16:9", "9:16")) == choice


@pytest.mark.parametrize(
    ("asked", "size"),
    [((1500, 1000), "1536x1024"), ((300, 200), "768x512"), ((9000, 6000), "1536x1024"), ((1000, 1010), "1:1")],
)
def test_the_nearest_size_is_the_nearest_in_shape_and_then_has_the_pixels(asked: tuple[int, int], size: str) -> None:
    assert fields.nearest_size(asked, ["1:1", "768x512", "1536x1024", "512x768"]) == size


@pytest.mark.parametrize(
    ("asked", "choices", "resolution"),
    [
        ({"resolution": "2K"}, ("1K", "2K", "4K"), "2K"),
        ({"resolution": "4K"}, ("1K", "2K"), "2K"),
        ({"size": (1920, 1080)}, ("4K", "2K", "1K"), "2K"),
        ({"size": (1100, 1100)}, ("1K", "2K"), "1K"),  # a tenth more is not worth four times the pixels
        ({"aspect": (1, 1)}, ("1K", "2K"), ""),
        ({"resolution": "2K"}, (), ""),
    ],
)
def test_the_nearest_resolution_has_the_pixels_asked_for(
    asked: dict[str, Any], choices: tuple[str, ...], resolution: str
) -> None:
    assert fields.nearest_resolution(request(**asked), choices) == resolution


@pytest.mark.parametrize(
    ("asked", "pixels"),
    [
        ({"size": (640, 480), "resolution": "4K"}, (640, 480)),
        ({"aspect": (16, 9), "resolution": "1K"}, (1365, 768)),
        ({"resolution": "2K"}, (2048, 2048)),
        ({"aspect": (1, 1)}, (1024, 1024)),
        ({}, None),
    ],
)
def test_pixels_come_from_the_size_or_from_aspect_and_resolution(
    asked: dict[str, Any], pixels: tuple[int, int] | None
) -> None:
    assert request(**asked).dimensions() == pixels


edges = st.integers(1, fields.MAX_EDGE)


@given(size=st.tuples(edges, edges), multiple=st.sampled_from([1, 8, 16, 64]))
def test_a_snapped_size_is_within_every_limit(size: tuple[int, int], multiple: int) -> None:
    width, height = fields.snap(size, multiple, 64, 3840, 8_294_400)
    assert width % multiple == height % multiple == 0
    assert min(width, height) >= 64
    assert max(width, height) <= 3840
    assert width * height <= 8_294_400


@given(width=st.integers(64, 3840), ratio=st.floats(1, 3))
def test_a_snapped_size_has_the_pixels_it_must_have_where_its_shape_allows_it(width: int, ratio: float) -> None:
    snapped = fields.snap((width, round(width / ratio)), 16, 1, 3840, 8_294_400, 655_360)
    assert 655_360 <= snapped[0] * snapped[1] <= 8_294_400
    assert max(snapped) <= 3840


@given(size=st.tuples(st.integers(4, 200).map(lambda n: n * 16), st.integers(4, 130).map(lambda n: n * 16)))
def test_a_size_that_fits_is_not_touched(size: tuple[int, int]) -> None:
    assert fields.snap(size, 16, 64, 3840, 8_294_400) == size


# ------------------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("value", ["-__--w==", "+//++w==", "-__--w", "data:image/webp;base64,-__--w=="])
def test_base64_is_read_in_either_alphabet_and_without_padding(value: str) -> None:
    assert imaging.read_base64(value, "image").data == b"\xfb\xff\xfe\xfb"


@pytest.mark.parametrize("value", ["", None, 7, "%", "a", "data:image/png,x", "data:image/png;base64", "data:;base64,"])
def test_what_is_no_base64_names_its_field(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^image ") as caught:
        imaging.read_base64(value, "image")
    assert caught.value.field == "image"


def test_a_picture_string_is_a_url_a_data_uri_or_base64() -> None:
    png = picture("RGB", "#cc2200")
    encoded = imaging.encode_base64(png)
    assert imaging.read_picture("https://example.com/a.png", "image") == Media(url="https://example.com/a.png")
    assert imaging.read_picture(encoded, "image") == Media(data=png, mime="image/png")
    assert imaging.read_picture(f"data:image/png;base64,{encoded}", "image") == Media(data=png, mime="image/png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
def test_every_kind_of_picture_is_known_by_its_bytes_and_measured(kind: str) -> None:
    data = picture("RGB", "#cc2200", kind)
    assert imaging.sniff_mime(data) == f"image/{kind.lower()}"
    assert imaging.picture_size(data) == (4, 2)


def test_other_kinds_are_not_parsed_at_all() -> None:
    assert imaging.picture_size(picture("RGB", "#cc2200", "TIFF")) == (0, 0)
    assert imaging.sniff_mime(b"%!PS-Adobe-3.0 EPSF-3.0") == ""


def test_a_vector_is_known_and_has_no_pixels() -> None:
    svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
    assert imaging.sniff_mime(svg) == "image/svg+xml"
    assert imaging.picture_size(svg) == (0, 0)


def test_a_transparent_pixel_is_one_to_change() -> None:
    image = Image.new("RGBA", (2, 1), "#000000ff")
    image.putpixel((0, 0), (0, 0, 0, 0))
    out = BytesIO()
    image.save(out, "PNG")
    mask = imaging.mask_from_alpha(out.getvalue(), "mask")
    with Image.open(BytesIO(mask.data)) as grey:
        assert (grey.mode, grey.getpixel((0, 0)), grey.getpixel((1, 0))) == ("L", 255, 0)


def test_the_transparency_of_a_palette_counts() -> None:
    image = Image.new("P", (1, 1), 0)
    out = BytesIO()
    image.save(out, "PNG", transparency=0)
    with Image.open(BytesIO(imaging.mask_from_alpha(out.getvalue(), "mask").data)) as grey:
        assert grey.getpixel((0, 0)) == 255


@given(st.binary(min_size=4, max_size=4))
def test_a_mask_survives_the_way_to_transparency_and_back(levels: bytes) -> None:
    out = BytesIO()
    Image.frombytes("L", (4, 1), levels).save(out, "PNG")
    back = imaging.mask_from_alpha(imaging.mask_to_alpha(out.getvalue()).data, "mask")
    with Image.open(BytesIO(back.data)) as grey:
        assert grey.tobytes() == levels


def test_a_black_mask_for_change_is_turned_over() -> None:
    mask = imaging.mask_from_grey(picture("L", 0), "mask", white_is_change=False)
    with Image.open(BytesIO(mask.data)) as grey:
        assert grey.getextrema() == (255, 255)


@pytest.mark.parametrize(("white_is_change", "levels"), [(True, b"\0\0\xff\xff"), (False, b"\xff\xff\0\0")])
def test_a_binary_mask_has_nothing_between_black_and_white(white_is_change: bool, levels: bytes) -> None:
    out = BytesIO()
    Image.frombytes("L", (4, 1), b"\0\x7f\x80\xff").save(out, "PNG")
    mask = imaging.mask_to_binary(out.getvalue(), white_is_change=white_is_change)
    with Image.open(BytesIO(mask.data)) as grey:
        assert grey.tobytes() == levels


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", picture("RGBA", "#00000000")[:40], png_that_claims(4, 4), picture("RGBA", "#00000000", "TIFF")],
    ids=["empty", "text", "cut off", "no pixels", "another kind"],
)
def test_a_mask_that_cannot_be_decoded_names_its_field(data: bytes) -> None:
    for convert in (imaging.mask_from_alpha, imaging.mask_to_alpha, imaging.mask_from_grey):
        with pytest.raises(InvalidRequest, match="mask is not a picture that can be decoded"):
            convert(data, "mask")


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InvalidRequest, match="mask has more than 80000000 pixels"):
        imaging.mask_from_alpha(png_that_claims(9000, 8900), "mask")


# ----------------------------------------------------------------------------------------------------------- multipart

names = st.text(st.characters(codec="ascii", min_codepoint=48, categories=("L", "N")), min_size=1, max_size=8)
parts = st.tuples(names, st.just("") | names, st.just("image/png"), st.binary(max_size=64))


@given(st.lists(parts, min_size=1, max_size=5))
def test_multipart_is_read_as_it_was_written(written: list[tuple[str, str, str, bytes]]) -> None:
    kind, body = forms.write_multipart(written)
    assert forms.read_multipart(body, kind) == written


@pytest.mark.parametrize("label", ['a"; x="', "a\r\nContent-Type: text/html", "a\r\n\r\n--"])
def test_a_callers_label_cannot_end_its_header(label: str) -> None:
    kind, body = forms.write_multipart([(label, label, label, b"value"), ("n", "", "", b"1")])
    [part, count] = forms.read_multipart(body, kind)
    assert (part[0], part[3], count) == (label, b"value", ("n", "", "", b"1"))


def test_the_same_parts_have_the_same_bytes() -> None:
    written = [("prompt", "", "", b"a kite")]
    assert forms.write_multipart(written) == forms.write_multipart(written)


def test_a_body_with_too_many_parts_is_refused() -> None:
    kind, body = forms.write_multipart([("n", "", "", b"1")] * (forms.MAX_PARTS + 1))
    with pytest.raises(InvalidRequest, match="the multipart body cannot be read"):
        forms.read_multipart(body, kind)


@given(body=st.binary(max_size=200), kind=st.sampled_from(["multipart/form-data; boundary=b", "text/plain", "", ";;="]))
def test_multipart_bytes_of_any_kind_are_read_or_refused(body: bytes, kind: str) -> None:
    for candidate in (body, b"--b\r\n" + body, b"--b\r\n" + body + b"\r\n--b--\r\n"):
        with suppress(InvalidRequest):
            assert all(isinstance(value, bytes) for *_, value in forms.read_multipart(candidate, kind))


def test_a_form_is_read_with_its_files_and_its_repeated_fields() -> None:
    png = picture("RGB", "#ff0000")
    written = [
        ("prompt", "", "", b"a kite"),
        ("code", "", "", b"1"),
        ("code", "", "", b"2"),
        ("images[]", "a", "", png),
    ]
    kind, body = forms.write_multipart(written)
    given, files = forms.read_form(body, kind)
    assert given == {"prompt": "a kite", "code": ["1", "2"]}
    assert files == {"images": [Media(png, mime="image/png")]}


def test_a_form_may_be_json_and_its_nulls_are_absent() -> None:
    assert forms.read_form(b'{"prompt": "a kite", "seed": null}', "application/json") == ({"prompt": "a kite"}, {})


@pytest.mark.parametrize("part", [("image", "a.png", "", b""), ("prompt", "", "", b"\xff")])
def test_a_form_with_an_empty_file_or_a_text_that_is_none_is_refused(part: tuple[str, str, str, bytes]) -> None:
    kind, body = forms.write_multipart([part])
    with pytest.raises(InvalidRequest) as raised:
        forms.read_form(body, kind)
    assert raised.value.field == part[0]


def test_form_parts_repeat_lists_and_spell_objects_as_json() -> None:
    photo = picture("RGB", "#ff0000", "JPEG")
    given = {
        "n": 2,
        "on": True,
        "codes": ["a", "b"],
        "palette": {"x": [1]},
        "text": [{"y": 2}],
        "image": (Media(photo),),
    }
    assert forms.form_parts(given) == [
        ("n", "", "", b"2"),
        ("on", "", "", b"true"),
        ("codes", "", "", b"a"),
        ("codes", "", "", b"b"),
        ("palette", "", "", b'{"x":[1]}'),
        ("text", "", "", b'[{"y":2}]'),
        ("image", "image.jpeg", "image/jpeg", photo),
    ]


# ------------------------------------------------------------------------------------------------------ what is dropped


def test_every_field_that_was_set_and_not_carried_is_told() -> None:
    asked = request(
        prompt="a kite", negative_prompt="clouds", n=2, seed=0, steps=9, partials=1, size=(8, 8),
        references=(Media(url="https://example.com/a.png"),), extras={"bfl": {"raw": True}, "gemini": {"seed": 1}},
    )  # fmt: skip
    assert fields.dropped_fields(asked, "bfl", {"size", "steps"}) == (
        "prompt",
        "negative_prompt",
        "seed",
        "references",
        "n",
        "partials",
        "gemini.seed",
    )
    assert fields.dropped_fields(request(prompt="a kite"), "bfl", {"prompt"}) == ()
