"""policies.scores against what policies/models/README.md tells people, and against itself."""

import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.scores import (
    Basis,
    Citation,
    Measure,
    category_of,
    cite,
    grade,
    load_standard,
    pool,
    read_citation,
    whole,
)

STANDARD = load_standard()
BASES = [basis for bases in STANDARD.tasks.values() for basis in bases]
README = files("policies").joinpath("models", "README.md").read_text()
README_ROW = re.compile(r"^\| (\w+) \| (.+?)( \(transferred\))? \| (\d+) \|$", re.MULTILINE)
HEADINGS = {
    "text-to-image": "### Text to image", "image editing": "### Image editing",
    "text-to-video": "### Text to video", "image-to-video": "### Image to video",
}  # fmt: skip


Row = tuple[str, str, str, bool, int]  # board, task, categories, transferred, reference


def readme_rows() -> set[Row]:
    return {
        (board, task, categories, bool(transferred), int(reference))
        for board, heading in HEADINGS.items()
        for task, categories, transferred, reference in README_ROW.findall(
            README[README.index(heading) :].partition("\n#")[0]
        )
    }


def test_the_readmes_tables_are_the_standard() -> None:
    """All but second choices and the overall boards, which the text tells of."""
    standard = {
        (basis.board, task, " and ".join(basis.categories), basis.transferred, basis.reference)
        for task, bases in STANDARD.tasks.items()
        for basis in bases
    }
    told = readme_rows()
    assert told <= standard
    assert {row[:3] for row in standard - told} == {
        ("image editing", "general", "overall"),
        ("text-to-video", "general", "overall"),
        ("image-to-video", "general", "overall"),
        ("text-to-image", "logo", "text-and-typography and graphic-design-and-digital-rendering"),
    }


def test_the_readme_tells_the_panel_the_spreads_and_the_second_bases() -> None:
    text = " ".join(README.split())
    for name in STANDARD.boards["text-to-image"].panel:
        assert re.split(r" \(Gemini| \[| 9B| 4B", name.removeprefix("GPT Image "))[0] in text
    assert f"elo - {STANDARD.quartile} sigma" in text
    assert f"{STANDARD.spread[False]} Elo, the usual difference" in text
    assert f"or {STANDARD.spread[True]} where" in text
    assert f"more than {STANDARD.drift:g} Elo" in text
    for task, board in (("general", "image editing"), ("logo", "text-to-image")):
        reference = [basis.reference for basis in STANDARD.tasks[task] if basis.board == board][-1]
        assert f"(reference {reference})" in text
    for name in STANDARD.boards["text-to-video"].panel:
        assert name in text


@pytest.mark.parametrize("basis", BASES, ids=lambda basis: " ".join(basis.categories))
def test_the_reference_scores_one_half(basis: Basis) -> None:
    assert grade(basis.reference, 10, basis.reference, estimated=basis.transferred)[0] == 0.5


@given(elo=st.floats(1, 4999), half=st.floats(0, 500), estimated=st.booleans())
def test_a_lower_quartile_is_never_above_its_score_and_doubt_lowers_it(
    elo: float, half: float, estimated: bool
) -> None:
    score, p25 = grade(elo, half, 1100, estimated=estimated)
    assert 0 <= p25 <= score <= 1
    assert grade(elo, half + 50, 1100, estimated=estimated)[1] <= p25
    assert grade(elo, half, 1100, estimated=True)[1] <= p25


@given(
    basis=st.sampled_from(BASES),
    relative=st.sampled_from(["", *STANDARD.names]),
    offset=st.integers(-99, 99),
    figures=st.tuples(*[st.integers(0, 3000)] * 3),
)
def test_a_citation_reads_back_as_it_was_written(
    basis: Basis, relative: str, offset: int, figures: tuple[int, int, int]
) -> None:
    cited = Citation(basis.board, basis.categories, relative, offset if relative else 0, *figures)
    assert read_citation(cite(cited)) == cited


@pytest.mark.parametrize("source", ["", "arena", "No public comparison; set at 70 Elo over the reference",
                                    "Artificial Analysis sculpture, overall: Elo 1000 +-8 against 1100"])  # fmt: skip
def test_other_sources_are_no_citations(source: str) -> None:
    assert read_citation(source) is None


def test_several_categories_are_one_mean_with_a_narrower_interval_and_no_votes() -> None:
    assert pool([Measure(1064, 17, 1526), Measure(1096, 14, 900)]) == Measure(
        1080, pytest.approx(11.01, abs=0.01), None
    )
    assert pool([Measure(1064, 17, 1526)]) == Measure(1064, 17, 1526)
    assert [whole(elo) for elo in (1090.5, 1091.5, 1090.49)] == [1091, 1092, 1090]


def test_the_spellings_of_a_category_are_one() -> None:
    names = ("tag:product_and_object_generation", "product-and-object-generation", "Product_and_object_generation ")
    assert {category_of(name) for name in names} == {"product-and-object-generation"}


def test_the_board_is_known_by_what_sources_call_it_and_other_arenas_are_none() -> None:
    published = "artificialanalysis.ai image-editing arena via github oolong-tea-2026/artificial-analysis-leaderboards"
    assert STANDARD.board_of(published) == "image editing"
    assert STANDARD.board_of("Artificial Analysis text-to-image, anime: Elo 1") == "text-to-image"
    assert STANDARD.board_of("arena.ai/leaderboard/text-to-image") == ""
