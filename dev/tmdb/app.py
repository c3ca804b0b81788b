"""The HTTP side of the stand-in: TMDB's paths, its keys, its parameters and its errors."""

import hmac
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dev.tmdb import answers
from dev.tmdb.answers import TmdbError
from dev.tmdb.catalogue import KINDS, Catalogue, Choice, Film, load
from dev.tmdb.faults import FaultyService, Switchboard, parse_order
from dev.tmdb.names import GENRES
from dev.tmdb.pictures import draw

DEFAULT_KEY: Final = "dev-tmdb-key"

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(catalogue: Catalogue | None = None, *, keys: Iterable[str] = (DEFAULT_KEY,)) -> ASGIApp:
    """The stand-in as an ASGI application over `catalogue` (by default the shipped one), open to `keys`."""
    films = catalogue or load()
    switchboard = Switchboard()
    service = Service(films)
    control = Control(switchboard)
    movie = "/3/movie/{film_id}"
    app = Starlette(
        routes=[
            Route("/3/configuration", service.configuration),
            Route("/3/search/movie", service.search),
            Route("/3/discover/movie", service.discover),
            Route("/3/trending/movie/{window}", service.trending),
            Route("/3/trending/all/{window}", service.trending),
            Route("/3/genre/movie/list", service.genres),
            Route("/3/watch/providers/movie", service.watch_providers),
            Route("/3/watch/providers/regions", service.watch_regions),
            Route("/3/find/{external_id}", service.find),
            Route("/3/movie/popular", service.popular),
            Route("/3/movie/top_rated", service.top_rated),
            Route("/3/movie/latest", service.latest),
            Route("/3/movie/changes", service.changes),
            Route(movie, service.movie),
            Route(f"{movie}/{{part:path}}", service.part),
            Route("/t/p/{size}/{name}", service.picture),
            Route("/control/faults", control.faults, methods=["POST"]),
            Route("/control/requests", control.requests),
            Route("/control/reset", control.reset, methods=["POST"]),
        ],
        middleware=[Middleware(KeyCheck, keys=tuple(keys))],
        exception_handlers={TmdbError: _tmdb_error, HTTPException: _http_error},
    )
    # Outermost, so that it holds the server's own `send` and can break the connection.
    return FaultyService(app, switchboard=switchboard)


class KeyCheck:
    """Answers 401 to every request to the API that brings no known key, before looking at anything else."""

    def __init__(self, app: ASGIApp, *, keys: tuple[str, ...]) -> None:
        self._app = app
        self._keys = tuple(key.encode() for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and scope["path"].startswith("/3/"):
            request = Request(scope)
            scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
            given = bearer.strip() if scheme.lower() == "bearer" else request.query_params.get("api_key", "")
            if not any(hmac.compare_digest(given.encode(), key) for key in self._keys):
                refusal = answers.invalid_key()
                await JSONResponse(refusal.body, refusal.status)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Service:
    """TMDB's endpoints, each a method: parameters in, the catalogue's films out as TMDB's JSON."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._films = catalogue

    async def configuration(self, request: Request) -> Response:
        """`/configuration`: the pictures are this server's own."""
        return JSONResponse(answers.configuration(f"{request.base_url}t/p/"))

    async def movie(self, request: Request) -> Response:
        """`/movie/{id}`, by TMDB's id, `603-the-matrix` or IMDb's id, with what is to be appended."""
        film = self._film(request)
        language = _language(request)
        answer = answers.details(film, language)
        names = [name.strip() for name in request.query_params.get("append_to_response", "").split(",")]
        if len(names) > answers.MOST_APPENDED:
            raise answers.too_many_appended()
        for name in names:
            part = answers.sub_resource(name, film, self._films, language=language)
            if part is not None:  # an unknown name is passed over in silence
                answer[name] = part
        return JSONResponse(answer)

    async def part(self, request: Request) -> Response:
        """`/movie/{id}/credits` and its like."""
        film = self._film(request)
        name = request.path_params["part"]
        part = answers.sub_resource(name, film, self._films, language=_language(request), page=_page(request))
        if part is None:
            raise answers.not_found()
        # Lists of other films and changes are the two that do not repeat the film's id.
        return JSONResponse(part if "page" in part or "changes" in part else {"id": film.id, **part})

    async def search(self, request: Request) -> Response:
        """`/search/movie`: by any title; `year` and `primary_release_year` both mean the first release."""
        query = request.query_params.get("query", "")
        if not query.strip():
            raise answers.invalid_parameters("query must be provided")
        year = _number(request, "primary_release_year") or _number(request, "year")
        films = self._films.search(query, year=int(year) if year else None)
        return self._page(request, films)

    async def discover(self, request: Request) -> Response:
        """`/discover/movie`: every filter given must hold."""
        order = request.query_params.get("sort_by", "popularity.desc")
        return self._page(request, self._films.ordered(order, filter(_wanted(request), self._films.films)))

    async def trending(self, request: Request) -> Response:
        """`/trending/movie/{day|week}`."""
        window = request.path_params["window"]
        if window not in {"day", "week"}:
            raise answers.not_found()
        page = answers.page_of(
            self._films.trending(window), _page(request), _language(request), row=answers.multi_summary
        )
        return JSONResponse(page)

    async def popular(self, request: Request) -> Response:
        """`/movie/popular`."""
        return self._page(request, self._films.ordered("popularity.desc"))

    async def top_rated(self, request: Request) -> Response:
        """`/movie/top_rated`."""
        return self._page(request, self._films.top_rated())

    async def latest(self, request: Request) -> Response:
        """`/movie/latest`: the film with the highest id, about which TMDB usually knows next to nothing."""
        newest = max(self._films.films, key=lambda film: film.id)
        return JSONResponse(answers.details(newest, _language(request)))

    async def changes(self, request: Request) -> Response:
        """`/movie/changes`."""
        return JSONResponse(answers.changes(self._films.ordered("popularity.desc"), _page(request)))

    async def genres(self, request: Request) -> Response:
        """`/genre/movie/list`."""
        return JSONResponse({"genres": answers.genres(GENRES["en"], _language(request))})

    async def watch_providers(self, request: Request) -> Response:
        """`/watch/providers/movie`, with `watch_region` those of one region."""
        region = request.query_params.get("watch_region")
        return JSONResponse(answers.provider_list(self._films, region))

    async def watch_regions(self, request: Request) -> Response:  # noqa: ARG002 - Starlette hands it in
        """`/watch/providers/regions`."""
        return JSONResponse(answers.region_list(self._films.regions()))

    async def find(self, request: Request) -> Response:
        """`/find/{id}?external_source=imdb_id`; of other sources nothing is known."""
        source = request.query_params.get("external_source")
        if not source:
            raise answers.invalid_parameters("external_source must be provided")
        if source not in _SOURCES:
            raise answers.failure(400, 5, "Invalid parameters: Your request parameters are incorrect.")
        film = self._films.by_imdb_id(request.path_params["external_id"]) if source == "imdb_id" else None
        return JSONResponse(answers.found(film, _language(request)))

    async def picture(self, request: Request) -> Response:
        """`/t/p/{size}/{name}`: a poster, a backdrop or a logo."""
        picture = draw(self._films, size=request.path_params["size"], name=request.path_params["name"])
        if picture is None:
            return Response("Not Found", 404, media_type="text/plain")
        return Response(
            picture.content,
            headers={"Cache-Control": "public, max-age=31536000"},
            media_type=picture.media_type,
        )

    def _film(self, request: Request) -> Film:
        asked = request.path_params["film_id"]
        number = asked.partition("-")[0]
        film = None
        if number.isascii() and number.isdecimal() and len(number) < 10:
            film = self._films.get(int(number))
        elif asked.startswith("tt"):
            film = self._films.by_imdb_id(asked)
        if film is None:
            raise answers.not_found()
        return film

    def _page(self, request: Request, films: list[Film]) -> Response:
        return JSONResponse(answers.page_of(films, _page(request), _language(request)))


class Control:
    """What tests may tell and ask this server; TMDB has nothing of the kind."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard

    async def faults(self, request: Request) -> Response:
        """`POST /control/faults`: lets the next requests go wrong."""
        try:
            fault = parse_order(await request.body())
        except (ValueError, TypeError) as problem:
            return JSONResponse({"error": str(problem)}, 400)
        self._switchboard.switch_on(fault)
        return Response(status_code=204)

    async def requests(self, request: Request) -> Response:  # noqa: ARG002 - Starlette hands it in
        """`GET /control/requests`: how many requests came, and which."""
        return JSONResponse(self._switchboard.report())

    async def reset(self, request: Request) -> Response:  # noqa: ARG002 - Starlette hands it in
        """`POST /control/reset`: no fault, no requests remembered."""
        self._switchboard.reset()
        return Response(status_code=204)


_SOURCES: Final = frozenset(
    {
        "imdb_id",
        "facebook_id",
        "instagram_id",
        "twitter_id",
        "tvdb_id",
        "wikidata_id",
        "tiktok_id",
        "youtube_id",
    }
)


def _wanted(request: Request) -> Callable[[Film], bool]:
    """The filter that the parameters of a discover request make up. What cannot be read filters nothing."""
    given = request.query_params
    tests: list[Callable[[Film], bool]] = []

    def listed(name: str, values: Callable[[Film], Iterable[object]]) -> None:
        if choice := Choice.parse(given.get(f"with_{name}", "")):
            tests.append(lambda film: choice.holds(values(film)))
        if choice_out := Choice.parse(given.get(f"without_{name}", "")):
            tests.append(lambda film: not choice_out.holds(values(film)))

    def number_range(name: str, value: Callable[[Film], float]) -> None:
        if (least := _number(request, f"{name}.gte")) is not None:
            tests.append(lambda film: value(film) >= least)
        if (most := _number(request, f"{name}.lte")) is not None:
            tests.append(lambda film: value(film) <= most)

    def date_range(name: str) -> None:
        if first := given.get(f"{name}.gte"):
            tests.append(lambda film: film.released >= first[:10])
        if last := given.get(f"{name}.lte"):
            tests.append(lambda film: bool(film.released) and film.released <= last[:10])

    listed("genres", lambda film: film.genres)
    listed("keywords", lambda film: [answers.stable_number(word, 5) for word in film.keywords])
    listed("original_language", lambda film: [film.original_language])
    listed("origin_country", lambda film: film.countries)
    listed("cast", lambda film: [answers.stable_number(role.name) for role in film.cast])
    listed("crew", lambda film: [answers.stable_number(name) for name in film.directors])
    number_range("with_runtime", lambda film: film.runtime)
    number_range("vote_average", lambda film: film.vote_average)
    number_range("vote_count", lambda film: film.vote_count)
    date_range("primary_release_date")
    date_range("release_date")
    year = _number(request, "primary_release_year") or _number(request, "year")
    if year is not None:
        tests.append(lambda film: film.year == year)
    if region := given.get("watch_region"):
        kinds = Choice.parse(given.get("with_watch_monetization_types", ""))
        offered = [kind for kind in KINDS if kinds is None or kind in kinds.values]
        if kinds is not None:
            tests.append(lambda film: bool(film.providers(region, offered)))
        listed("watch_providers", lambda film: film.providers(region, offered))
    return lambda film: all(test(film) for test in tests)


def _language(request: Request) -> str:
    """The two letters of `language=de-DE`; English when none is given."""
    return request.query_params.get("language", "en").partition("-")[0].lower()


def _page(request: Request) -> int:
    page = request.query_params.get("page", "1")
    if not (page.isascii() and page.isdecimal() and 1 <= int(page[:9]) <= answers.LAST_PAGE):
        raise answers.invalid_page()
    return int(page)


def _number(request: Request, name: str) -> float | None:
    try:
        return float(request.query_params[name])
    except (KeyError, ValueError):
        return None


async def _tmdb_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette hands it in
    assert isinstance(error, TmdbError)
    return JSONResponse(error.body, error.status)


async def _http_error(request: Request, error: Exception) -> Response:
    """Paths and methods that TMDB does not have."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return await _tmdb_error(request, answers.not_found())
    return JSONResponse(
        {"success": False, "status_code": 5, "status_message": str(error.detail)}, error.status_code
    )
