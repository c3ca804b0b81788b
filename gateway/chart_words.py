"""What the picture of a backlog says, in the languages that we speak. Genres are named by movie_svc."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The picture's own words in one language."""

    language: str
    """BCP 47."""
    title: str
    want_to_watch: str
    watching: str
    watched: str
    dropped: str
    hours: str
    """With `{hours}`: how long all watched films are together."""
    average: str
    """With `{stars}`."""
    decimal_point: str
    genres: str
    ratings: str
    decades: str
    decade: str
    """With `{year}`, the decade's first."""
    lengths: str
    months: str
    month_names: tuple[str, ...]
    """Twelve, short."""
    nothing: str
    """Where there is nothing to count."""
    unknown: str
    """In front of how many watched films lack a genre, decade or length."""
    genre: str
    decade_of_release: str
    length: str


_ENGLISH: Final = Words(
    language="en",
    title="My films in numbers",
    want_to_watch="Want to watch",
    watching="Watching",
    watched="Watched",
    dropped="Dropped",
    hours="{hours} hours of film",
    average="average {stars} ★",
    decimal_point=".",
    genres="Watched by genre",
    ratings="Ratings in stars",
    decades="Watched by decade",
    decade="{year}s",
    lengths="Watched by length in minutes",
    months="Watched by month",
    month_names=("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    nothing="Nothing here yet",
    unknown="Watched, but not known (yet)",
    genre="genre",
    decade_of_release="decade",
    length="length",
)
_GERMAN: Final = Words(
    language="de",
    title="Meine Filme in Zahlen",
    want_to_watch="Will ich sehen",
    watching="Angefangen",
    watched="Gesehen",
    dropped="Abgebrochen",
    hours="{hours} Stunden Film",
    average="im Mittel {stars} ★",
    decimal_point=",",
    genres="Gesehen nach Genre",
    ratings="Bewertungen in Sternen",
    decades="Gesehen nach Jahrzehnt",
    decade="{year}er",
    lengths="Gesehen nach Länge in Minuten",
    months="Gesehen nach Monat",
    month_names=("Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"),
    nothing="Noch nichts",
    unknown="Gesehen, aber (noch) unbekannt",
    genre="Genre",
    decade_of_release="Jahrzehnt",
    length="Länge",
)
_FRENCH: Final = Words(
    language="fr",
    title="Mes films en chiffres",
    want_to_watch="À voir",
    watching="En cours",
    watched="Vus",
    dropped="Abandonnés",
    hours="{hours} heures de film",
    average="moyenne {stars} ★",
    decimal_point=",",
    genres="Vus par genre",
    ratings="Notes en étoiles",
    decades="Vus par décennie",
    decade="{year}",
    lengths="Vus par durée en minutes",
    months="Vus par mois",
    month_names=("janv", "févr", "mars", "avr", "mai", "juin", "juil", "août", "sept", "oct", "nov", "déc"),
    nothing="Rien pour l'instant",
    unknown="Vus, mais pas (encore) connus",
    genre="genre",
    decade_of_release="décennie",
    length="durée",
)
_SPANISH: Final = Words(
    language="es",
    title="Mis películas en cifras",
    want_to_watch="Por ver",
    watching="Empezadas",
    watched="Vistas",
    dropped="Abandonadas",
    hours="{hours} horas de cine",
    average="media {stars} ★",
    decimal_point=",",
    genres="Vistas por género",
    ratings="Notas en estrellas",
    decades="Vistas por década",
    decade="{year}",
    lengths="Vistas por duración en minutos",
    months="Vistas por mes",
    month_names=("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"),
    nothing="Nada todavía",
    unknown="Vistas, pero sin datos (aún)",
    genre="género",
    decade_of_release="década",
    length="duración",
)
SPOKEN: Final = {words.language: words for words in (_ENGLISH, _GERMAN, _FRENCH, _SPANISH)}


def words_for(languages: Iterable[str]) -> Words:
    """Return the words of the best of a reader's languages (BCP 47) that we speak; else English."""
    for tag in languages:
        if words := SPOKEN.get(tag.partition("-")[0].lower()):
            return words
    return _ENGLISH
