"""A TMDB of the tests' own: answers what it is told to, well or badly, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

RECORDED = Path(__file__).parent / "recorded"


@dataclass(frozen=True, slots=True)
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    ending: Literal["whole", "reset", "short"] = "whole"
    """`reset` breaks the connection instead of answering, `short` before the end of the body."""

    @classmethod
    def of(cls, answer: object, status: int = 200, **headers: str) -> "Reply":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(json.dumps(answer).encode(), status, named)


NOT_FOUND = Reply.of({"success": False, "status_code": 34, "status_message": "Not found."}, 404)


class Upstream:
    """By default every film exists under its id, every search has 45 films, and all is well."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: list[Reply] = []
        """Met by the next requests, one each."""
        self.always: Reply | None = None
        """Met by every request, after the faults."""
        self.answers: dict[str, Callable[[Asked], Reply]] = {}
        """By path: instead of what is the default."""
        self.in_the_air = 0
        self.most_in_the_air = 0
        self.url = ""
        self.connections: set[asyncio.Task[None]] = set()

    def asked_for(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    def answer(self, asked: Asked) -> Reply:
        if self.faults:
            return self.faults.pop(0)
        if self.always is not None:
            return self.always
        path = asked.path.removeprefix("/3")
        if path in self.answers:
            return self.answers[path](asked)
        match path.strip("/").split("/"):
            case ["movie", number] if number.isdigit():
                return Reply.of(film(int(number)))
            case ["search", "movie"] | ["trending", "movie", "week"] | ["discover", "movie"]:
                return Reply.of(page(int(asked.query.get("page", "1"))))
            case ["genre", "movie", "list"]:
                return Reply.of({"genres": [{"id": 18, "name": "Drama"}, {"id": 35, "name": "Komödie"}]})
            case ["watch", "providers", "movie"]:
                return Reply.of({"results": [provider(number) for number in (9, 8, 2)]})
        return NOT_FOUND

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self.serve(reader, writer))
        self.connections.add(connection)
        connection.add_done_callback(self.connections.discard)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                target = urlsplit(head[0].split(" ")[1])
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                query = {name: values[0] for name, values in parse_qs(target.query).items()}
                asked = Asked(target.path, query, headers)
                self.asked.append(asked)
                self.in_the_air += 1
                self.most_in_the_air = max(self.most_in_the_air, self.in_the_air)
                try:
                    await self._reply(self.answer(asked), writer)
                finally:
                    self.in_the_air -= 1
        writer.close()

    async def _reply(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.ending == "reset":
            writer.transport.abort()
            raise ConnectionResetError
        lines = [f"HTTP/1.1 {reply.status} X", f"content-length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        body = reply.body if reply.ending == "whole" else reply.body[: len(reply.body) // 2]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        if reply.ending == "short":
            writer.transport.close()
            raise ConnectionResetError


@asynccontextmanager
async def running_upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    upstream.url = f"http://{host}:{port}/3"
    try:
        yield upstream
    finally:
        server.close()
        for connection in list(upstream.connections):
            connection.cancel()
        await asyncio.gather(*upstream.connections, return_exceptions=True)


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_bytes())


def film(movie_id: int, **fields: object) -> dict[str, Any]:
    """A film that exists in French (its own), German and English."""
    answer: dict[str, Any] = recorded("movie_appended.json")
    return {**answer, "id": movie_id, **fields}


def provider(number: int) -> dict[str, Any]:
    """A streaming service, to be shown in the order of its id in Germany, the other way round elsewhere."""
    return {"provider_id": number, "provider_name": f"Provider {number}", "logo_path": f"/{number}.jpg"} | {
        "display_priority": 100 - number,
        "display_priorities": {"DE": number},
    }


def page(number: int, *, total: int = 45) -> dict[str, Any]:
    """A page of films whose ids count from 1."""
    first, last = (number - 1) * 20 + 1, min(number * 20, total)
    rows = [
        {"id": row, "title": f"Film {row}", "original_title": f"Film {row}", "original_language": "en"}
        | {
            "overview": f"About {row}.",
            "genre_ids": [18, 35, 99],
            "release_date": "",
            "vote_count": 0,
            "vote_average": 0,
        }
        | {"poster_path": f"/{row}.jpg", "backdrop_path": None, "popularity": 1.5}
        for row in range(first, last + 1)
    ]
    return {"page": number, "results": rows, "total_results": total, "total_pages": -(-total // 20)}
