import pytest
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.checks import Checks
from mesh.errors import InvalidInput
from mesh.page_tokens import PageTokens

WIDE_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def reasons(checks: Checks) -> list[tuple[str, str]]:
    try:
        checks.done()
    except InvalidInput as error:
        return [(violation.field, violation.reason) for violation in error.violations]
    return []


def test_everything_that_is_wrong_is_said_at_once() -> None:
    checks = Checks()
    checks.text("note", "x" * 11, longest=10)
    checks.text("name", "  ", longest=10, shortest=1)
    checks.text("query", "a", longest=10, shortest=2)
    checks.text("title", "a\x00b", longest=10)
    checks.movie_id("movie_id", 0)
    checks.page_size("page_size", -1, default=20, most=100)
    checks.choice("code", 99, code_pb2.Code)
    checks.choice("kind", 0, code_pb2.Code)
    checks.require(False, "rating", "OUT_OF_RANGE", "Must be 1 to 10.")
    checks.page_token("page_token", "forged", tokens=PageTokens(b"k" * 32), kind="list", query={})
    assert reasons(checks) == [
        ("note", "TOO_LONG"),
        ("name", "REQUIRED"),
        ("query", "TOO_SHORT"),
        ("title", "CONTROL_CHARACTER"),
        ("movie_id", "INVALID_MOVIE_ID"),
        ("page_size", "NEGATIVE_PAGE_SIZE"),
        ("code", "UNKNOWN_VALUE"),
        ("kind", "REQUIRED"),
        ("rating", "OUT_OF_RANGE"),
        ("page_token", "INVALID_PAGE_TOKEN"),
    ]


def test_nothing_wrong_raises_nothing() -> None:
    checks = Checks()
    assert checks.text("note", "  hello\n", longest=5) == "hello"
    assert checks.movie_id("movie_id", 2**31 - 1) == 2**31 - 1
    assert checks.choice("code", 5, code_pb2.Code) == 5
    assert checks.choice("code", 0, code_pb2.Code, default=3) == 3
    checks.require(True, "rating", "OUT_OF_RANGE", "Must be 1 to 10.")
    checks.done()


@pytest.mark.parametrize(("asked", "given_size"), [(0, 20), (1, 1), (100, 100), (101, 100), (2**31 - 1, 100)])
def test_a_page_is_as_long_as_asked_within_reason(asked: int, given_size: int) -> None:
    checks = Checks()
    assert checks.page_size("page_size", asked, default=20, most=100) == given_size
    checks.done()


def test_line_breaks_and_tabs_are_for_texts_of_several_lines() -> None:
    checks = Checks()
    assert checks.text("note", "a\r\nb\tc\rd", longest=20, multiline=True) == "a\nb\tc\nd"
    checks.done()
    checks.text("name", "a\nb", longest=20)
    checks.text("name", "a\tb", longest=20)
    checks.text("name", "a\u2028b", longest=20)
    assert reasons(checks) == [("name", "CONTROL_CHARACTER")] * 3


def test_length_is_counted_in_code_points_without_the_surrounding_space() -> None:
    checks = Checks()
    assert checks.text("name", " 🍿🍿🍿 ", longest=3) == "🍿🍿🍿"
    checks.done()


@given(WIDE_TEXT, st.booleans())
def test_a_text_that_passes_can_be_stored_and_shown(value: str, multiline: bool) -> None:
    checks = Checks()
    text = checks.text("note", value, longest=50, shortest=1, multiline=multiline)
    if reasons(checks):
        return
    assert 1 <= len(text) <= 50
    assert text == text.strip()
    assert "\x00" not in text
    text.encode("utf-8")
    again = Checks()
    assert again.text("note", text, longest=50, shortest=1, multiline=multiline) == text
    again.done()


@given(WIDE_TEXT)
def test_a_description_never_repeats_the_value(value: str) -> None:
    checks = Checks()
    checks.text("note", f"tell-tale{value}", longest=3)
    with pytest.raises(InvalidInput) as raised:
        checks.done()
    assert "tell-tale" not in str(raised.value) + "".join(v.description for v in raised.value.violations)
