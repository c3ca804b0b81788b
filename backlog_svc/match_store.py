"""Movie nights in PostgreSQL."""

from datetime import UTC, datetime
from typing import Any, Final

from backlog_svc.matches import (
    Match,
    MatchPage,
    MatchPosition,
    MovieNightNotFound,
    Participant,
    Seat,
    Watched,
    to_move,
)
from mesh.postgres import Database

_BEFORE_ALL: Final = MatchPosition(datetime.max.replace(tzinfo=UTC), "", 0)


class MatchStore:
    """Everybody's movie nights. Every method raises `mesh.errors.Unavailable` when PostgreSQL is away.

    Whatever changes a match locks its row first, then those of its participants, then entries: so two of
    them wait for each other, and never in a circle.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # What has been watched stays as it was, but for people who come to it.
    _RECORD: Final = """
        INSERT INTO backlog.matches AS old (game_id, movie_id, game_seq, game_name, match_time, withdrawn)
        VALUES ($1, $2, $3, $4, $5, FALSE)
        ON CONFLICT (game_id, movie_id) DO UPDATE SET
            game_seq = excluded.game_seq,
            game_name = CASE WHEN old.watch_time IS NULL THEN excluded.game_name ELSE old.game_name END,
            match_time = CASE WHEN old.watch_time IS NULL THEN excluded.match_time ELSE old.match_time END,
            withdrawn = FALSE
        WHERE old.game_seq < excluded.game_seq
        RETURNING match_time, watch_time IS NOT NULL AS watched
    """
    _CLEAR_SEATS: Final = "DELETE FROM backlog.match_participants WHERE game_id = $1 AND movie_id = $2"
    _LAST_SEAT: Final = """
        SELECT coalesce(max(seat), 0) FROM backlog.match_participants WHERE game_id = $1 AND movie_id = $2
    """
    _SEAT: Final = """
        INSERT INTO backlog.match_participants (
            game_id, movie_id, match_time, seat, user_id, display_name, guest
        )
        SELECT $1, $2, $3, $4 + given.number, given.user_id, given.display_name, given.guest
        FROM unnest($5::text[], $6::text[], $7::boolean[])
            WITH ORDINALITY AS given (user_id, display_name, guest, number)
        ON CONFLICT (user_id, match_time, game_id, movie_id) DO NOTHING
    """

    async def record(self, match: Match, *, game_seq: int) -> bool:
        """Keeps a match, unless the game has said something later, or the same, about this film.

        Args:
            match: The match; its watch time is not looked at.
            game_seq: The number of the game's event.

        Returns:
            Whether that changed anything.
        """
        key = (match.game_id, match.movie_id)
        async with self._database.transaction() as connection:
            kept = await connection.fetchrow(self._RECORD, *key, game_seq, match.game_name, match.match_time)
            if kept is None:
                return False
            people, last_seat = match.participants, 0
            if kept["watched"]:
                # The erased cannot be told apart, and those who were there are.
                people = tuple(one for one in people if one.user_id is not None)
                last_seat = await connection.fetchval(self._LAST_SEAT, *key)
            else:
                await connection.execute(self._CLEAR_SEATS, *key)
            await connection.execute(
                self._SEAT,
                *key,
                kept["match_time"],
                last_seat,
                [one.user_id for one in people],
                [one.display_name for one in people],
                [one.guest for one in people],
            )
            return True

    _LOCK: Final = """
        SELECT withdrawn, watch_time FROM backlog.matches WHERE game_id = $1 AND movie_id = $2 FOR UPDATE
    """
    # An event is one or the other, so equal numbers come from somebody who does not number: take their word.
    _WITHDRAW: Final = """
        INSERT INTO backlog.matches AS old (game_id, movie_id, game_seq, game_name, withdrawn)
        VALUES ($1, $2, $3, '', TRUE)
        ON CONFLICT (game_id, movie_id) DO UPDATE SET
            game_seq = excluded.game_seq,
            game_name = '',
            match_time = NULL,
            withdrawn = TRUE
        WHERE old.game_seq <= excluded.game_seq AND old.watch_time IS NULL
        RETURNING game_id
    """

    async def withdraw(self, game_id: str, movie_id: int, *, game_seq: int) -> bool:
        """Takes a match back, unless it has been watched or the game has said something later.

        Returns:
            Whether there was a movie night that is none any more.
        """
        async with self._database.transaction() as connection:
            if await connection.fetchval(self._WITHDRAW, game_id, movie_id, game_seq) is None:
                return False
            left: str = await connection.execute(self._CLEAR_SEATS, game_id, movie_id)
            return left != "DELETE 0"

    # One statement, so the page and the total are of one moment. The total comes even with an empty page.
    _PAGE: Final = """
        SELECT total.size AS total_size, page.*
        FROM (SELECT count(*) AS size FROM backlog.match_participants WHERE user_id = $1) AS total
        LEFT JOIN LATERAL (
            SELECT match.game_id, match.movie_id, match.game_name, match.match_time, match.watch_time, there.*
            FROM backlog.match_participants AS mine
            JOIN backlog.matches AS match ON match.game_id = mine.game_id AND match.movie_id = mine.movie_id
            CROSS JOIN LATERAL (
                SELECT
                    array_agg(user_id ORDER BY seat) AS user_ids,
                    array_agg(display_name ORDER BY seat) AS display_names,
                    array_agg(guest ORDER BY seat) AS guests
                FROM backlog.match_participants
                WHERE game_id = mine.game_id AND movie_id = mine.movie_id
            ) AS there
            WHERE mine.user_id = $1 AND mine.match_time <= $2
                AND (mine.match_time < $2 OR (mine.game_id, mine.movie_id) > ($3, $4))
            ORDER BY mine.match_time DESC, mine.game_id, mine.movie_id
            LIMIT $5
        ) AS page ON TRUE
        ORDER BY page.match_time DESC, page.game_id, page.movie_id
    """

    async def page(self, user_id: str, *, after: MatchPosition | None, size: int) -> MatchPage:
        """Gives a page of somebody's movie nights, the latest first.

        Args:
            user_id: Whose.
            after: Where the page before ended; None for the first.
            size: How many at most.
        """
        at = after or _BEFORE_ALL
        # One more than asked for tells whether the list goes on.
        rows = await self._database.fetch(
            self._PAGE, user_id, at.match_time, at.game_id, at.movie_id, size + 1
        )
        matches = [_match(row) for row in rows if row["game_id"] is not None]
        last = matches[size - 1] if len(matches) > size else None
        return MatchPage(
            tuple(matches[:size]),
            None if last is None else MatchPosition(last.match_time, last.game_id, last.movie_id),
            rows[0]["total_size"],
        )

    async def everything(self, user_id: str) -> tuple[Match, ...]:
        """Gives all of somebody's movie nights as of one moment, the latest first."""
        at = _BEFORE_ALL
        rows = await self._database.fetch(self._PAGE, user_id, at.match_time, at.game_id, at.movie_id, None)
        return tuple(_match(row) for row in rows if row["game_id"] is not None)

    _SEATS: Final = """
        SELECT user_id, display_name, guest, moved
        FROM backlog.match_participants
        WHERE game_id = $1 AND movie_id = $2
        ORDER BY seat
        FOR UPDATE
    """
    _MOVE: Final = """
        INSERT INTO backlog.entries AS old (
            user_id, movie_id, status, note, tags, add_time, update_time, watch_time, source
        )
        SELECT user_id, $2, 'watched', '', '{}', $3, $3, $4, 'movie_night'
        FROM unnest($1::text[]) AS user_id
        ORDER BY user_id
        ON CONFLICT (user_id, movie_id) DO UPDATE SET
            status = 'watched',
            update_time = excluded.update_time,
            watch_time = excluded.watch_time
        WHERE old.status <> 'watched'
    """
    # Whoever is moved has an account, whatever they were when they played.
    _MOVED: Final = """
        UPDATE backlog.match_participants SET moved = TRUE, guest = FALSE
        WHERE game_id = $1 AND movie_id = $2 AND user_id = ANY ($3::text[])
    """
    _WATCHED: Final = """
        UPDATE backlog.matches SET watch_time = coalesce(watch_time, $3) WHERE game_id = $1 AND movie_id = $2
    """
    _MATCH: Final = """
        SELECT
            match.game_id, match.movie_id, match.game_name, match.match_time, match.watch_time,
            array_agg(there.user_id ORDER BY seat) AS user_ids,
            array_agg(there.display_name ORDER BY seat) AS display_names,
            array_agg(there.guest ORDER BY seat) AS guests
        FROM backlog.matches AS match
        JOIN backlog.match_participants AS there USING (game_id, movie_id)
        WHERE match.game_id = $1 AND match.movie_id = $2
        GROUP BY match.game_id, match.movie_id
    """

    async def mark_watched(
        self, game_id: str, movie_id: int, *, said_by: str, watch_time: datetime, now: datetime
    ) -> Watched:
        """Moves the film to watched for all who were there; see `matches.to_move` for whom.

        Args:
            game_id: The game's id.
            movie_id: The film.
            said_by: Who says so: one of those who were there.
            watch_time: When it was watched, for those who had not.
            now: The time to write.

        Raises:
            MovieNightNotFound: There is no such movie night, or `said_by` was not there.
        """
        key = (game_id, movie_id)
        async with self._database.transaction() as connection:
            await connection.fetchrow(self._LOCK, *key)
            seats = [_seat(row) for row in await connection.fetch(self._SEATS, *key)]
            if said_by not in (seat.participant.user_id for seat in seats):
                raise MovieNightNotFound(game_id, movie_id)
            moved = 0
            if whose := to_move(seats, said_by=said_by):
                tag: str = await connection.execute(self._MOVE, whose, movie_id, now, watch_time)
                moved = int(tag.removeprefix("INSERT 0 "))
                await connection.execute(self._MOVED, *key, whose)
                await connection.execute(self._WATCHED, *key, watch_time)
            return Watched(_match(await connection.fetchrow(self._MATCH, *key)), moved)

    # In one order for all who lock several.
    _LOCK_ALL_OF: Final = """
        SELECT match.game_id, match.movie_id
        FROM backlog.matches AS match
        JOIN backlog.match_participants AS mine USING (game_id, movie_id)
        WHERE mine.user_id = $1
        ORDER BY match.game_id, match.movie_id
        FOR UPDATE OF match
    """
    _FORGET: Final = """
        UPDATE backlog.match_participants SET user_id = NULL, display_name = NULL WHERE user_id = $1
    """
    # What stays of them are two numbers, so that the match does not come back when the game repeats itself.
    _CLOSE_NOBODYS: Final = """
        WITH nobodys AS (
            UPDATE backlog.matches AS match
            SET withdrawn = TRUE, game_name = '', match_time = NULL, watch_time = NULL
            FROM unnest($1::text[], $2::integer[]) AS left_behind (game_id, movie_id)
            WHERE match.game_id = left_behind.game_id AND match.movie_id = left_behind.movie_id
                AND NOT EXISTS (
                    SELECT FROM backlog.match_participants AS there
                    WHERE there.game_id = match.game_id AND there.movie_id = match.movie_id
                        AND there.user_id IS NOT NULL
                )
            RETURNING match.game_id, match.movie_id
        )
        DELETE FROM backlog.match_participants AS there USING nobodys
        WHERE there.game_id = nobodys.game_id AND there.movie_id = nobodys.movie_id
    """

    async def erase(self, user_id: str) -> None:
        """Takes somebody's id and name out of all movie nights; those that nobody is left of go."""
        async with self._database.transaction() as connection:
            theirs = await connection.fetch(self._LOCK_ALL_OF, user_id)
            await connection.execute(self._FORGET, user_id)
            await connection.execute(
                self._CLOSE_NOBODYS,
                [row["game_id"] for row in theirs],
                [row["movie_id"] for row in theirs],
            )


def _match(row: Any) -> Match:
    people = zip(row["user_ids"], row["display_names"], row["guests"], strict=True)
    return Match(
        game_id=row["game_id"],
        movie_id=row["movie_id"],
        game_name=row["game_name"],
        match_time=row["match_time"],
        participants=tuple(
            Participant(user_id=user_id, display_name=name, guest=guest) for user_id, name, guest in people
        ),
        watch_time=row["watch_time"],
    )


def _seat(row: Any) -> Seat:
    participant = Participant(user_id=row["user_id"], display_name=row["display_name"], guest=row["guest"])
    return Seat(participant, row["moved"])
