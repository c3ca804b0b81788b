"""The films that rooms of people with tastes play with, as TMDB would answer: a rating and nothing else."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Final, Self

import uvicorn

from bench.orders import STEPS, catalogue_rating
from dev.tmdb.app import create_app
from dev.tmdb.catalogue import Catalogue, Film, Text

KEY: Final = "rooms"


def film(number: int) -> Film:
    """Return one film of the catalogues, by its id."""
    return Film(
        id=number,
        imdb_id=None,
        original_title=f"Film {number}",
        original_language="en",
        released="",
        runtime=0,
        genres=(),
        countries=(),
        spoken=(),
        vote_average=catalogue_rating(number),
        vote_count=1_000,
        popularity=1.0,
        directors=(),
        cast=(),
        keywords=(),
        certifications={},
        texts={"en": Text(f"Film {number}")},
        collection=None,
        trailer=None,
        poster=False,
        backdrop=False,
    )


class Served:
    """Catalogues behind the stand-in for TMDB, in a thread of this process; `with`."""

    def __init__(self, *, worlds: int = 1) -> None:
        """Find a port; nothing is served yet."""
        films = [film(number) for number in range(1, worlds * STEPS + 1)]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(Catalogue(films, []), keys=[KEY]),
                log_level="warning",
                access_log=False,
            )
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})

    @property
    def settings(self) -> dict[str, str]:
        """What a mesh is given to use it."""
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        return {
            "TMDB_API_KEY": KEY,
            "TMDB_URL": f"{url}/3",
            "TMDB_IMAGE_URL": f"{url}/t/p",
            "TMDB_REQUESTS_PER_SECOND": "1000",
        }

    def __enter__(self) -> Self:
        """Serve it."""
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
