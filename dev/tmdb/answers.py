"""TMDB's answers: films of the catalogue as the JSON that its API version 3 gives.

The fields, their types and where TMDB puts nulls and empty strings follow recorded answers. What the
catalogue does not hold is answered as TMDB answers for a film about which nobody has entered it: empty lists,
zero budgets.
"""

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from dev.tmdb.catalogue import KINDS, Catalogue, Film, Provider, Text
from dev.tmdb.names import COUNTRIES, GENRES, LANGUAGES

Json = dict[str, Any]

PAGE: Final = 20
LAST_PAGE: Final = 500
MOST_APPENDED: Final = 20

POSTER_SIZES: Final = ("w92", "w154", "w185", "w342", "w500", "w780", "original")
BACKDROP_SIZES: Final = ("w300", "w780", "w1280", "original")
LOGO_SIZES: Final = ("w45", "w92", "w154", "w185", "w300", "w500", "original")
PROFILE_SIZES: Final = ("w45", "w185", "h632", "original")
STILL_SIZES: Final = ("w92", "w185", "w300", "original")

_TRANSLATION_REGIONS: Final = {"en": "US", "de": "DE", "fr": "FR", "es": "ES"}
# fmt: off
_CHANGE_KEYS: Final = (
    "adult", "air_date", "also_known_as", "alternative_titles", "biography", "birthday", "budget", "cast",
    "certifications", "character_names", "created_by", "crew", "deathday", "episode", "episode_number",
    "episode_run_time", "freebase_id", "freebase_mid", "general", "genres", "guest_stars", "homepage",
    "images", "imdb_id", "languages", "name", "network", "origin_country", "original_name", "original_title",
    "overview", "parts", "place_of_birth", "plot_keywords", "production_code", "production_companies",
    "production_countries", "releases", "revenue", "runtime", "season", "season_number", "season_regular",
    "spoken_languages", "status", "tagline", "title", "translations", "tvdb_id", "tvrage_id", "type",
    "video", "videos",
)
# fmt: on


def stable_number(text: str, digits: int = 7) -> int:
    """A number for a text, always the same: TMDB's own ids of people and words are not shipped."""
    span: int = 10**digits
    return zlib.crc32(text.encode()) % span + span


def poster_path(film: Film) -> str | None:
    """The picture's name under `/t/p/{size}`, or None for a film without a poster."""
    return f"/p{film.id}.svg" if film.poster else None


def backdrop_path(film: Film) -> str | None:
    """The wide picture's name under `/t/p/{size}`, or None for a film without one."""
    return f"/b{film.id}.svg" if film.backdrop else None


def slug(film: Film) -> str:
    """The film as themoviedb.org writes it in addresses: `603-the-matrix`."""
    plain = unicodedata.normalize("NFKD", film.title).encode("ascii", "ignore").decode().lower()
    return f"{film.id}-" + "-".join(re.findall(r"[a-z0-9]+", plain))


# Lists


def summary(film: Film, language: str) -> Json:
    """A film as search and discover list it."""
    told = film.told(language)
    return {
        "adult": False,
        "backdrop_path": backdrop_path(film),
        "genre_ids": list(film.genres),
        "id": film.id,
        "original_language": film.original_language,
        "original_title": film.original_title,
        "overview": told.overview,
        "popularity": film.popularity,
        "poster_path": poster_path(film),
        "release_date": film.released,
        "title": told.title,
        "video": False,
        "vote_average": film.vote_average,
        "vote_count": film.vote_count,
    }


def multi_summary(film: Film, language: str) -> Json:
    """A film as trending and recommendations list it, among other kinds of media."""
    return {**summary(film, language), "media_type": "movie"}


def page_of(
    films: Sequence[Film], page: int, language: str, *, row: Callable[[Film, str], Json] = summary
) -> Json:
    """Page `page` (from 1) of `films`; a page past the end is empty, not an error."""
    return {
        "page": page,
        "results": [row(film, language) for film in films[(page - 1) * PAGE : page * PAGE]],
        # TMDB answers one page, empty, when there is nothing.
        "total_pages": max(1, -(-len(films) // PAGE)),
        "total_results": len(films),
    }


def changes(films: Sequence[Film], page: int) -> Json:
    """The films that changed of late, by id alone."""
    return {
        "results": [{"id": film.id, "adult": False} for film in films[(page - 1) * 100 : page * 100]],
        "page": page,
        "total_pages": max(1, -(-len(films) // 100)),
        "total_results": len(films),
    }


def found(film: Film | None, language: str) -> Json:
    """The answer of `/find`: what an external id stands for."""
    return {
        "movie_results": [multi_summary(film, language)] if film else [],
        "person_results": [],
        "tv_results": [],
        "tv_episode_results": [],
        "tv_season_results": [],
    }


# One film


def details(film: Film, language: str) -> Json:
    """All that `/movie/{id}` says about a film, without what can be appended."""
    told = film.told(language)
    return {
        "adult": False,
        "backdrop_path": backdrop_path(film),
        "belongs_to_collection": _collection(film),
        "budget": 0,
        "genres": genres(film.genres, language),
        "homepage": "",
        "id": film.id,
        "imdb_id": film.imdb_id,
        "origin_country": list(film.countries[:1]),
        "original_language": film.original_language,
        "original_title": film.original_title,
        "overview": told.overview,
        "popularity": film.popularity,
        "poster_path": poster_path(film),
        "production_companies": [],
        "production_countries": [{"iso_3166_1": code, "name": COUNTRIES[code]} for code in film.countries],
        "release_date": film.released,
        "revenue": 0,
        "runtime": film.runtime,
        "spoken_languages": [
            {"english_name": LANGUAGES[code][0], "iso_639_1": code, "name": LANGUAGES[code][1]}
            for code in film.spoken
        ],
        "status": "Released",
        "tagline": told.tagline,
        "title": told.title,
        "video": False,
        "vote_average": film.vote_average,
        "vote_count": film.vote_count,
    }


def _collection(film: Film) -> Json | None:
    if film.collection is None:
        return None
    number, name = film.collection
    return {"id": number, "name": name, "poster_path": None, "backdrop_path": None}


def genres(ids: Iterable[int], language: str) -> list[Json]:
    """Genres with their names; in English where the language has none here."""
    names = GENRES.get(language, GENRES["en"])
    return [{"id": number, "name": names[number]} for number in ids]


def credits(film: Film) -> Json:
    """Cast and directors. TMDB's ids of people are not shipped: theirs are made of the name."""
    return {
        "cast": [
            {
                **_person(role.name, "Acting"),
                "cast_id": order + 1,
                "character": role.character,
                "credit_id": f"{film.id:012x}{order:012x}",
                "order": order,
            }
            for order, role in enumerate(film.cast)
        ],
        "crew": [
            {
                **_person(name, "Directing"),
                "credit_id": f"{film.id:012x}{order + 100:012x}",
                "department": "Directing",
                "job": "Director",
            }
            for order, name in enumerate(film.directors)
        ],
    }


def _person(name: str, department: str) -> Json:
    return {
        "adult": False,
        "gender": 0,
        "id": stable_number(name),
        "known_for_department": department,
        "name": name,
        "original_name": name,
        "popularity": 1.0,
        "profile_path": None,
    }


def release_dates(film: Film) -> Json:
    """Theatrical releases by region, with their age ratings; an unrated one has an empty string."""
    if not film.released:
        return {"results": []}
    regions = [*film.certifications, *(code for code in film.countries if code not in film.certifications)]
    return {
        "results": [
            {
                "iso_3166_1": region,
                "release_dates": [
                    {
                        "certification": film.certifications.get(region, ""),
                        "descriptors": [],
                        "iso_639_1": "",
                        "note": "",
                        "release_date": f"{film.released}T00:00:00.000Z",
                        "type": 3,
                    }
                ],
            }
            for region in regions
        ]
    }


def videos(film: Film) -> Json:
    """The trailer, when one is known."""
    if film.trailer is None:
        return {"results": []}
    return {
        "results": [
            {
                "iso_639_1": "en",
                "iso_3166_1": "US",
                "name": f"{film.title} - Trailer",
                "key": film.trailer,
                "site": "YouTube",
                "size": 1080,
                "type": "Trailer",
                "official": True,
                "published_at": "2014-10-02T19:20:22.000Z",
                "id": f"{film.id:024x}",
            }
        ]
    }


def images(film: Film) -> Json:
    """The poster and the backdrop."""
    poster, backdrop = poster_path(film), backdrop_path(film)
    return {
        "backdrops": [_image(backdrop, 1280, 720, None)] if backdrop else [],
        "logos": [],
        "posters": [_image(poster, 1000, 1500, "en")] if poster else [],
    }


def _image(path: str, width: int, height: int, language: str | None) -> Json:
    return {
        "aspect_ratio": round(width / height, 3),
        "height": height,
        "iso_639_1": language,
        "file_path": path,
        "vote_average": 5.3,
        "vote_count": 10,
        "width": width,
    }


def translations(film: Film) -> Json:
    """Every language the film is told in; a title is empty when it is the original one, as with TMDB."""
    return {
        "translations": [
            {
                "iso_3166_1": _TRANSLATION_REGIONS[language],
                "iso_639_1": language,
                "name": LANGUAGES[language][1],
                "english_name": LANGUAGES[language][0],
                "data": {
                    "homepage": "",
                    "overview": text.overview,
                    "runtime": film.runtime if language == "en" else 0,
                    "tagline": text.tagline,
                    "title": "" if text.title == film.original_title else text.title,
                },
            }
            for language, text in film.texts.items()
            if text != Text()
        ]
    }


def alternative_titles(film: Film) -> Json:
    """Titles other than the original one, by region."""
    return {
        "titles": [
            {"iso_3166_1": _TRANSLATION_REGIONS[language], "title": text.title, "type": ""}
            for language, text in film.texts.items()
            if text.title not in {"", film.original_title}
        ]
    }


def keywords(film: Film) -> Json:
    """Words for what the film is about, with ids made of the words."""
    return {"keywords": [{"id": stable_number(word, 5), "name": word} for word in film.keywords]}


def external_ids(film: Film) -> Json:
    """Where else the film is listed."""
    return {
        "imdb_id": film.imdb_id,
        "wikidata_id": None,
        "facebook_id": None,
        "instagram_id": None,
        "twitter_id": None,
    }


def watch_providers(film: Film, catalogue: Catalogue) -> Json:
    """Where to watch the film, by region and kind; a kind without offers is missing."""
    results: Json = {}
    for region, offers in film.availability.items():
        results[region] = {"link": f"https://www.themoviedb.org/movie/{slug(film)}/watch?locale={region}"}
        for kind in KINDS:
            if ids := offers.get(kind):
                shelf = sorted((catalogue.providers[i] for i in ids), key=lambda p: p.priorities[region])
                results[region][kind] = [_offer(provider, region) for provider in shelf]
    return {"results": results}


def _offer(provider: Provider, region: str) -> Json:
    return {
        "logo_path": f"/l{provider.id}.svg",
        "provider_id": provider.id,
        "provider_name": provider.name,
        "display_priority": provider.priorities[region],
    }


def sub_resource(name: str, film: Film, catalogue: Catalogue, *, language: str, page: int = 1) -> Json | None:
    """The part `name` of a film, as appended to its details; None for a name that TMDB does not know."""
    match name:
        case "credits":
            return credits(film)
        case "release_dates":
            return release_dates(film)
        case "videos":
            return videos(film)
        case "images":
            return images(film)
        case "translations":
            return translations(film)
        case "alternative_titles":
            return alternative_titles(film)
        case "keywords":
            return keywords(film)
        case "external_ids":
            return external_ids(film)
        case "watch/providers":
            return watch_providers(film, catalogue)
        case "recommendations":
            return page_of(catalogue.related(film.id), page, language, row=multi_summary)
        case "similar":
            return page_of(catalogue.related(film.id), page, language)
        case "reviews" | "lists":
            return {"page": page, "results": [], "total_pages": 0, "total_results": 0}
        case "changes":
            return {"changes": []}
        case _:
            return None


# What describes the service


def configuration(base_url: str) -> Json:
    """Where pictures are and in which sizes; `base_url` ends in a slash."""
    return {
        "images": {
            "base_url": base_url,
            "secure_base_url": base_url,
            "backdrop_sizes": list(BACKDROP_SIZES),
            "logo_sizes": list(LOGO_SIZES),
            "poster_sizes": list(POSTER_SIZES),
            "profile_sizes": list(PROFILE_SIZES),
            "still_sizes": list(STILL_SIZES),
        },
        "change_keys": list(_CHANGE_KEYS),
    }


def provider_list(catalogue: Catalogue, region: str | None) -> Json:
    """Every streaming service, or those of one region in the order of that region."""
    providers: Iterable[Provider] = catalogue.providers.values()
    if region:
        providers = sorted(
            (p for p in providers if region in p.priorities), key=lambda provider: provider.priorities[region]
        )
    return {
        "results": [
            {
                "display_priorities": dict(provider.priorities),
                "display_priority": provider.priorities[region] if region else provider.priority,
                "logo_path": f"/l{provider.id}.svg",
                "provider_name": provider.name,
                "provider_id": provider.id,
            }
            for provider in providers
        ]
    }


def region_list(regions: Iterable[str]) -> Json:
    """The regions that have any streaming service."""
    return {
        "results": [
            {"iso_3166_1": code, "english_name": COUNTRIES[code], "native_name": COUNTRIES[code]}
            for code in regions
        ]
    }


# Errors


class TmdbError(Exception):
    """A refusal with TMDB's HTTP status and body."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = dict(body)


def failure(status: int, code: int, message: str) -> TmdbError:
    """An error in TMDB's usual shape; `code` is its own number for what went wrong."""
    return TmdbError(status, {"success": False, "status_code": code, "status_message": message})


def invalid_key() -> TmdbError:
    """No key, or an unknown one."""
    return failure(401, 7, "Invalid API key: You must be granted a valid key.")


def not_found() -> TmdbError:
    """No such film or path."""
    return failure(404, 34, "The resource you requested could not be found.")


def invalid_page() -> TmdbError:
    """A page that is no number from 1 to 500."""
    return failure(
        400, 22, "Invalid page: Pages start at 1 and max at 500. They are expected to be an integer."
    )


def too_many_appended() -> TmdbError:
    """More than 20 names in `append_to_response`."""
    return failure(
        400,
        27,
        f"Too many append to response objects: The maximum number of remote calls is {MOST_APPENDED}.",
    )


def invalid_parameters(*errors: str) -> TmdbError:
    """A missing or malformed parameter, in TMDB's other shape of error."""
    return TmdbError(422, {"errors": list(errors)})


FAULT_MESSAGES: Final[Mapping[int, tuple[int, str]]] = {
    401: (7, "Invalid API key: You must be granted a valid key."),
    404: (34, "The resource you requested could not be found."),
    429: (25, "Your request count is over the allowed limit."),
    500: (11, "Internal error: Something went wrong, contact TMDB."),
    502: (43, "Couldn't connect to the backend server."),
    503: (9, "Service offline: This service is temporarily offline, try again later."),
    504: (24, "Your request to the backend server timed out. Try again."),
}
"""TMDB's code and sentence by HTTP status, for the faults that are switched on from outside."""
