"""Where a character of a text stands in its file, whichever of YAML's ways of writing text was used."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies.parse import Origin, parse

WORDS = st.lists(st.text(alphabet="ab:#'\"\\äé{[&*!|>%@`-? \t", min_size=1, max_size=9), min_size=1, max_size=12)


def place(text: str, offset: int, *path: str | int, origin: Origin | None = None) -> tuple[int, int]:
    (document,) = parse("x.yaml", text, origin).documents
    problem = document.problem_inside(path or ("key",), offset, "")
    return problem.line, problem.column


@given(words=WORDS, style=st.sampled_from([None, "'", '"', "|", ">"]), width=st.integers(10, 80), data=st.data())
def test_it_is_where_that_character_is_written(words: list[str], style: Any, width: int, data: st.DataObject) -> None:
    value = data.draw(st.sampled_from([" ", "\n", "\n\n", "  "])).join(words)
    text = yaml.dump({"key": [{"deep": value}]}, default_style=style, width=width, allow_unicode=True)
    assert parse("x.yaml", text).documents[0].data["key"][0]["deep"] == value
    dark = [offset for offset, character in enumerate(value) if not character.isspace()]
    for offset in dark:
        line, column = place(text, offset, "key", 0, "deep")
        written = text.split("\n")[line - 1][column - 1 :]
        assert written.startswith((value[offset], "\\"))
    places = [place(text, offset, "key", 0, "deep") for offset in dark]
    assert places == sorted(set(places))


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("key: abc", 0, (1, 6)),
        ("key: abc", 2, (1, 8)),
        ("key: abc", 3, (1, 9)),  # the end, for what is missing there
        ("key: 'a''bc' # 'd'", 2, (1, 10)),
        ("key: 'abc'", 3, (1, 10)),
        ('key: "a\\u0020\\x62\\tc"', 2, (1, 14)),
        ('key: "a\\\n   b"', 1, (2, 4)),
        ("key: |\n\n  a\n\n   b\n", 4, (5, 4)),
        ("key: |2-  # why\n  a\n", 0, (2, 3)),
        ("key: >-\n  a\n  b\n", 2, (3, 3)),
        ("key: a\n  b\n  c", 4, (3, 3)),
        ("ä: ö\nkey: abc\n", 1, (2, 7)),
    ],
)
def test_each_way_of_writing_it(text: str, offset: int, expected: tuple[int, int]) -> None:
    assert place(text, offset) == expected


def test_inside_another_document_it_is_where_that_is() -> None:
    assert place("key: abc", 2, origin=Origin(10, 5)) == (10, 12)
    assert place("key: abc", 2, origin=Origin(10, 5, 0)) == (10, 5)
