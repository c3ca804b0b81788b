from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.locale import Locale, parse_languages, parse_region, requested_locale


class Asked:
    """A context with metadata and nothing else."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self.metadata = metadata

    def invocation_metadata(self) -> Any:
        return self.metadata


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        ("de", ("de",)),
        ("de-DE,de;q=0.9,en;q=0.8", ("de-DE", "de", "en")),
        ("en;q=0.8, fr;q=0.9, de", ("de", "fr", "en")),
        ("fr;q=0.5,de;q=0.5", ("fr", "de")),
        (
            "PT-br, ZH-hant-tw, sr-latn, es-419, de-ch-1996",
            ("pt-BR", "zh-Hant-TW", "sr-Latn", "es-419", "de-CH-1996"),
        ),
        ("de;q=0,en", ("en",)),
        ("*,de;q=0.5", ("de",)),
        ("en;q=1.5,de", ("de",)),
        ("en;q=abc,de;q=0.1", ("de",)),
        ("en;level=1;q=0.5,de", ("de",)),
        ("en; q = 0.5 , de ; q=0.7", ("de", "en")),
        ("de,DE;q=0.1", ("de",)),
        ("e,engl,1e,../../x,<script>,en_US", ()),
        ("", ()),
        (",,,", ()),
        ("de," * 400, ()),
    ],
)
def test_languages_come_best_liked_first(header: str, languages: tuple[str, ...]) -> None:
    assert parse_languages(header) == languages


@given(st.text(max_size=600))
def test_any_header_gives_well_formed_languages(header: str) -> None:
    languages = parse_languages(header)
    assert len(languages) <= 10
    assert parse_languages(",".join(languages)) == languages


TAGS = st.sampled_from(["de", "en-US", "fr", "pt-BR", "zh-Hant", "ja", "es-419"])


@given(st.lists(st.tuples(TAGS, st.integers(1, 1000)), unique_by=lambda pair: pair[0], max_size=7))
def test_weights_order_the_languages_and_ties_keep_theirs(weighed: list[tuple[str, int]]) -> None:
    header = ",".join(f"{tag};q={weight / 1000:.3f}" for tag, weight in weighed)
    expected = [tag for tag, _ in sorted(weighed, key=lambda pair: -pair[1])]
    assert list(parse_languages(header)) == expected


@pytest.mark.parametrize(
    ("header", "region"),
    [("de", "DE"), (" at ", "AT"), ("", None), ("DEU", None), ("D1", None), ("ßa", None), ("d\x00", None)],
)
def test_a_region_is_two_letters(header: str, region: str | None) -> None:
    assert parse_region(header) == region


def test_the_request_says_language_and_region() -> None:
    context: Any = Asked(("x-region", "de"), ("accept-language", "de-AT,en;q=0.5"), ("other", b"\x00"))
    assert requested_locale(context) == Locale(languages=("de-AT", "en"), region="DE")


def test_what_is_malformed_is_as_if_unsaid() -> None:
    context: Any = Asked(
        ("x-region", "nowhere"), ("x-region", "CH"), ("accept-language", "???"), ("accept-language", "it")
    )
    assert requested_locale(context) == Locale(languages=("it",), region="CH")
    silent: Any = Asked()
    assert requested_locale(silent) == Locale()
