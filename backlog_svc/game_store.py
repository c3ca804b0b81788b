"""Finished games in PostgreSQL."""

from datetime import UTC, datetime
from typing import Any, Final

from backlog_svc.games import FinishedGame, GamePage, GamePosition, GenreTaste, NearMiss, Player
from mesh.postgres import Database

_BEFORE_ALL: Final = GamePosition(datetime.max.replace(tzinfo=UTC), "")


class GameStore:
    """Everybody's finished games. Every method raises `mesh.errors.Unavailable` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    _RECORD: Final = """
        INSERT INTO backlog.games AS old (
            game_id, game_seq, game_name, start_time, end_time, matched_movie_ids,
            near_miss_movie_ids, near_miss_percents, genre_ids, genre_swipes, genre_likes
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (game_id) DO UPDATE SET
            game_seq = excluded.game_seq,
            game_name = excluded.game_name,
            start_time = excluded.start_time,
            end_time = excluded.end_time,
            matched_movie_ids = excluded.matched_movie_ids,
            near_miss_movie_ids = excluded.near_miss_movie_ids,
            near_miss_percents = excluded.near_miss_percents,
            genre_ids = excluded.genre_ids,
            genre_swipes = excluded.genre_swipes,
            genre_likes = excluded.genre_likes
        WHERE old.game_seq < excluded.game_seq
        RETURNING game_id
    """
    _CLEAR_SEATS: Final = "DELETE FROM backlog.game_players WHERE game_id = $1"
    _SEAT: Final = """
        INSERT INTO backlog.game_players (
            game_id, end_time, seat,
            user_id, display_name, guest, swipes, liked_percent, with_majority_percent
        )
        SELECT $1, $2, number, user_id, display_name, guest, swipes, liked, with_majority
        FROM unnest($3::text[], $4::text[], $5::boolean[], $6::integer[], $7::smallint[], $8::smallint[])
            WITH ORDINALITY AS given (user_id, display_name, guest, swipes, liked, with_majority, number)
    """

    async def record(self, game: FinishedGame, *, game_seq: int) -> bool:
        """Keeps a finished game, unless a summary with a higher number, or this one, is there.

        Args:
            game: The game.
            game_seq: The number of the game's last event that the summary knows.

        Returns:
            Whether that changed anything.
        """
        async with self._database.transaction() as connection:
            kept = await connection.fetchval(
                self._RECORD,
                *(game.game_id, game_seq, game.game_name, game.start_time, game.end_time),
                game.matched_movie_ids,
                [film.movie_id for film in game.near_misses],
                [film.percent for film in game.near_misses],
                [genre.genre_id for genre in game.genres],
                [genre.swipes for genre in game.genres],
                [genre.likes for genre in game.genres],
            )
            if kept is None:
                return False
            await connection.execute(self._CLEAR_SEATS, game.game_id)
            await connection.execute(
                self._SEAT,
                *(game.game_id, game.end_time),
                [player.user_id for player in game.players],
                [player.display_name for player in game.players],
                [player.guest for player in game.players],
                [player.swipes for player in game.players],
                [player.liked_percent for player in game.players],
                [player.with_majority_percent for player in game.players],
            )
            return True

    # One statement, so the page and the total are of one moment. The total comes even with an empty page.
    _PAGE: Final = """
        SELECT total.size AS total_size, page.*
        FROM (SELECT count(*) AS size FROM backlog.game_players WHERE user_id = $1) AS total
        LEFT JOIN LATERAL (
            SELECT game.*, there.*
            FROM backlog.game_players AS mine
            JOIN backlog.games AS game ON game.game_id = mine.game_id
            CROSS JOIN LATERAL (
                SELECT
                    array_agg(user_id ORDER BY seat) AS user_ids,
                    array_agg(display_name ORDER BY seat) AS display_names,
                    array_agg(guest ORDER BY seat) AS guests,
                    array_agg(swipes ORDER BY seat) AS swipes,
                    array_agg(liked_percent ORDER BY seat) AS liked,
                    array_agg(with_majority_percent ORDER BY seat) AS with_majority
                FROM backlog.game_players
                WHERE game_id = mine.game_id
            ) AS there
            WHERE mine.user_id = $1 AND mine.end_time <= $2 AND (mine.end_time < $2 OR mine.game_id > $3)
            ORDER BY mine.end_time DESC, mine.game_id
            LIMIT $4
        ) AS page ON TRUE
        ORDER BY page.end_time DESC, page.game_id
    """

    async def page(self, user_id: str, *, after: GamePosition | None, size: int) -> GamePage:
        """Gives a page of the games somebody has played, the latest first.

        Args:
            user_id: Whose.
            after: Where the page before ended; None for the first.
            size: How many at most.
        """
        at = after or _BEFORE_ALL
        # One more than asked for tells whether the list goes on.
        rows = await self._database.fetch(self._PAGE, user_id, at.end_time, at.game_id, size + 1)
        games = [_game(row) for row in rows if row["game_id"] is not None]
        last = games[size - 1] if len(games) > size else None
        return GamePage(
            tuple(games[:size]),
            None if last is None else GamePosition(last.end_time, last.game_id),
            rows[0]["total_size"],
        )

    async def everything(self, user_id: str) -> tuple[FinishedGame, ...]:
        """Gives all games somebody has played as of one moment, the latest first."""
        rows = await self._database.fetch(
            self._PAGE, user_id, _BEFORE_ALL.end_time, _BEFORE_ALL.game_id, None
        )
        return tuple(_game(row) for row in rows if row["game_id"] is not None)

    # In one order for all who lock several.
    _LOCK_ALL_OF: Final = """
        SELECT game.game_id
        FROM backlog.games AS game
        JOIN backlog.game_players AS mine USING (game_id)
        WHERE mine.user_id = $1
        ORDER BY game.game_id
        FOR UPDATE OF game
    """
    _FORGET: Final = "UPDATE backlog.game_players SET user_id = NULL, display_name = NULL WHERE user_id = $1"
    _DROP_NOBODYS: Final = """
        DELETE FROM backlog.games AS game
        WHERE game_id = ANY ($1::text[]) AND NOT EXISTS (
            SELECT FROM backlog.game_players AS there
            WHERE there.game_id = game.game_id AND there.user_id IS NOT NULL
        )
    """

    async def erase(self, user_id: str) -> None:
        """Takes somebody's id and name out of all games; those that nobody is left of go."""
        async with self._database.transaction() as connection:
            theirs = await connection.fetch(self._LOCK_ALL_OF, user_id)
            await connection.execute(self._FORGET, user_id)
            await connection.execute(self._DROP_NOBODYS, [row["game_id"] for row in theirs])


def _game(row: Any) -> FinishedGame:
    return FinishedGame(
        game_id=row["game_id"],
        game_name=row["game_name"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        players=tuple(
            Player(
                user_id=user_id,
                display_name=name,
                guest=guest,
                swipes=swipes,
                liked_percent=liked,
                with_majority_percent=with_majority,
            )
            for user_id, name, guest, swipes, liked, with_majority in zip(
                row["user_ids"],
                row["display_names"],
                row["guests"],
                row["swipes"],
                row["liked"],
                row["with_majority"],
                strict=True,
            )
        ),
        matched_movie_ids=tuple(row["matched_movie_ids"]),
        near_misses=tuple(map(NearMiss, row["near_miss_movie_ids"], row["near_miss_percents"])),
        genres=tuple(map(GenreTaste, row["genre_ids"], row["genre_swipes"], row["genre_likes"])),
    )
