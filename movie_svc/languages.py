"""Which language a film is shown in.

    requested, country and all (pt-BR)  ->  requested, any country (pt)  ->  the film's own  ->  English

for each requested language in turn, best first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from movie_svc.films import Summary, Text, Translations

FALLBACK_LANGUAGE: Final = "en"
FALLBACK_REGION: Final = "US"
UNDETERMINED: Final = "und"
"""BCP 47 for text whose language nobody knows."""

# The country whose translation comes first when only the language was said, where it is not the obvious one.
_HOMES: Final = {
    **{
        "ar": "SA",
        "ca": "ES",
        "cs": "CZ",
        "da": "DK",
        "el": "GR",
        "en": "US",
        "et": "EE",
        "fa": "IR",
        "he": "IL",
    },
    **{
        "hi": "IN",
        "ja": "JP",
        "ka": "GE",
        "ko": "KR",
        "sl": "SI",
        "sr": "RS",
        "sv": "SE",
        "uk": "UA",
        "vi": "VN",
    },
    **{
        "zh": "CN",
        "de": "DE",
        "es": "ES",
        "fr": "FR",
        "it": "IT",
        "pt": "PT",
        "nl": "NL",
        "pl": "PL",
        "ru": "RU",
    },
    **{
        "fi": "FI",
        "hu": "HU",
        "lt": "LT",
        "lv": "LV",
        "no": "NO",
        "ro": "RO",
        "sk": "SK",
        "tr": "TR",
        "bg": "BG",
    },
}
# TMDB knows countries, not scripts and not continents.
_COUNTRY_OF_SUBTAG: Final = {("zh", "hant"): "TW", ("zh", "hans"): "CN", ("es", "419"): "MX"}


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: the languages they like, best first, and where they are."""

    languages: tuple[str, ...] = (FALLBACK_LANGUAGE,)
    """At least one; "pt-BR" or "pt", without repeats."""
    region: str = FALLBACK_REGION
    """ISO 3166-1 alpha-2, upper case."""

    @classmethod
    def of(cls, tags: tuple[str, ...], region: str) -> "Reader":
        """Return the reader who asks with these BCP 47 tags, however spelled, and this country, or none."""
        languages = tuple(dict.fromkeys(map(_tmdb_tag, tags)))
        return cls(languages=languages or (FALLBACK_LANGUAGE,), region=region.upper() or FALLBACK_REGION)

    @property
    def language(self) -> str:
        """The language TMDB is asked in: the best liked, with a country."""
        return with_country(self.languages[0])


class Translated(Protocol):
    """What is written about a film: a `Film`, or less of it."""

    @property
    def original_title(self) -> str:
        """The title in the film's own language; never empty."""
        ...

    @property
    def original_language(self) -> str:
        """ISO 639-1; empty when nobody knows."""
        ...

    @property
    def texts(self) -> tuple[Text, ...]:
        """All texts in the languages that are here at all."""
        ...

    @property
    def translations(self) -> Translations:
        """The texts in all other languages."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """The text that a reader gets."""

    language: str
    """The step of the chain that gave it: "pt-BR", "pt", the film's own, "en"."""
    title: str
    """Never empty."""
    overview: str
    tagline: str


def base(tag: str) -> str:
    """Return the language without its country: "pt" of "pt-BR"."""
    return tag.partition("-")[0]


def with_country(tag: str) -> str:
    """Return TMDB's `xx-YY` for a language, the same when the country is known or nobody's."""
    return f"{tag}-{_HOMES[tag]}" if tag in _HOMES else tag


def show(film: Translated, reader: Reader) -> Shown:
    """Return the best text that there is of a film for a reader.

    Where nobody has written an overview in the language of the title, it comes from further down the chain.
    """
    chosen: Text | None = None
    overview = tagline = ""
    for text in _chain(film, reader):
        if chosen is None:
            if not (text.title or text.overview):
                continue
            chosen = text
        if not tagline and base(text.language) == base(chosen.language):
            tagline = text.tagline
        overview = text.overview
        if overview:
            break
    if chosen is None:
        return Shown(film.original_language or UNDETERMINED, film.original_title, "", "")
    # An empty title beside an overview is TMDB's way to say that it is the original one.
    return Shown(chosen.language, chosen.title or film.original_title, overview, tagline)


def language_of_row(row: Summary, reader: Reader) -> str:
    """Return the language of a list's row: TMDB fills in the original title where there is no translation."""
    asked = reader.languages[0]
    if row.overview or row.title != row.original_title or base(asked) == row.original_language:
        return asked
    return row.original_language or UNDETERMINED


def texts_near(texts: tuple[Text, ...], *, language: str, original: str) -> tuple[Text, ...]:
    """Return what most readers who ask in `language` need: that, the film's own and the English texts."""
    near = {base(language), original, FALLBACK_LANGUAGE}
    return tuple(text for text in texts if base(text.language) in near)


def _chain(film: Translated, reader: Reader) -> Iterator[Text]:
    """Yield the texts from the best liked on, each under the name of its step."""
    steps: dict[str, None] = {}
    for place, tag in enumerate(reader.languages):
        steps[tag] = None
        # "en-GB, fr" wants any other English before the French, but "en-GB, en-US" names the next one itself.
        if all(base(later) != base(tag) for later in reader.languages[place + 1 :]):
            steps[base(tag)] = None
    steps[film.original_language or UNDETERMINED] = None
    steps[FALLBACK_LANGUAGE] = None
    near = {base(text.language) for text in film.texts}
    others: tuple[Text, ...] | None = None
    for step in steps:
        if base(step) in near:
            texts = film.texts
        else:
            others = film.translations.unpack() if others is None else others
            texts = others
        for text in _of_step(step, texts):
            yield Text(step, text.title, text.overview, text.tagline)
        if step in (film.original_language, UNDETERMINED):
            yield Text(step, film.original_title, "", "")


def _of_step(step: str, texts: tuple[Text, ...]) -> list[Text]:
    if "-" in step:
        return [text for text in texts if text.language == step]
    home = with_country(step)
    return sorted(
        (text for text in texts if base(text.language) == step),
        key=lambda text: text.language not in (step, home),
    )


def _tmdb_tag(tag: str) -> str:
    language, *subtags = tag.lower().split("-")
    country = ""
    for subtag in subtags:
        if len(subtag) == 1:  # an extension begins: nothing behind it names a country
            break
        if len(subtag) == 2 and subtag.isalpha():
            country = subtag.upper()
        else:
            country = country or _COUNTRY_OF_SUBTAG.get((language, subtag), "")
    return f"{language}-{country}" if country else language
