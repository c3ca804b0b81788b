# ruff: noqa: S608 - what statements are put together from are names of columns, all of them constants here
"""Imports and their lines in PostgreSQL, and what they do to entries, each batch in one transaction."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

import asyncpg

from backlog_svc.entries import Entry, Source, Status
from backlog_svc.imports.claims import Claim, Format, Problem, Reading
from backlog_svc.imports.jobs import (
    KEPT_FOR,
    LEASE,
    MOST_KEPT,
    MOST_UNFINISHED,
    RECEIVED_WITHIN,
    TAKEN,
    AttentionRow,
    Choice,
    ClaimRow,
    Effects,
    Found,
    ImportIsDryRun,
    ImportNotFound,
    Job,
    JobState,
    Mark,
    RowPage,
    RowState,
    TooManyImports,
    effects,
    settled,
)
from mesh.errors import Unavailable
from mesh.postgres import Database

_ROWS_AT_ONCE: Final = 2000
_JOB: Final = ", ".join(each.name for each in fields(Job))
_CLAIM: Final = """row, state, line, file, movie_id, imdb_id, title, year, status, note, half_stars, tags,
    add_time, watch_time, state_time, candidates"""
_ROW_COLUMNS: Final = [
    *(
        "import_id",
        "row",
        "state",
        "line",
        "file",
        "problem",
        "movie_id",
        "imdb_id",
        "title",
        "year",
        "status",
    ),
    *("note", "half_stars", "tags", "add_time", "watch_time", "state_time", "candidates"),
]
_ENTRY: Final = "movie_id, status, note, half_stars, tags, add_time, update_time, watch_time, source"


class ImportStore:
    """Imports of all people. Every method raises `mesh.errors.Unavailable` when PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- handing in --------------------------------------------------------------------------------------

    _LOCK_PERSON: Final = "SELECT pg_advisory_xact_lock(hashtextextended('backlog.imports ' || $1, 0))"
    _COUNT_UNFINISHED: Final = "SELECT count(*) FROM backlog.imports WHERE user_id = $1 AND state <> 'done'"
    _MAKE_ROOM: Final = """
        DELETE FROM backlog.imports WHERE import_id IN (
            SELECT import_id FROM backlog.imports WHERE user_id = $1 AND state = 'done'
            ORDER BY create_time DESC, import_id OFFSET $2
        )
    """
    _BEGIN: Final = """
        INSERT INTO backlog.imports (
            import_id, user_id, format, dry_run, languages, state, films, skipped_series, failed, shortened,
            create_time, due_time
        ) VALUES ($1, $2, $3, $4, $5, 'receiving', $6, $7, $8, $9, $10, $10)
    """
    _BEGIN_WORK: Final = f"""
        UPDATE backlog.imports SET
            state = CASE WHEN films = 0 THEN 'done' ELSE 'working' END,
            finish_time = CASE WHEN films = 0 THEN $2::timestamptz END
        WHERE import_id = $1 AND state = 'receiving'
        RETURNING {_JOB}
    """

    _DISCARD: Final = "DELETE FROM backlog.imports WHERE import_id = $1"

    async def add(
        self,
        user_id: str,
        reading: Reading,
        *,
        import_id: UUID,
        dry_run: bool,
        languages: Sequence[str],
        now: datetime,
    ) -> Job:
        """Put a file's lines down for work; nobody begins before all of them are there.

        Raises:
            TooManyImports: The person has three that are not done.
            ImportNotFound: The person was erased meanwhile.
        """
        async with self._database.transaction() as connection:
            await connection.execute(self._LOCK_PERSON, user_id)
            if await connection.fetchval(self._COUNT_UNFINISHED, user_id) >= MOST_UNFINISHED:
                raise TooManyImports
            await connection.execute(self._MAKE_ROOM, user_id, MOST_KEPT - MOST_UNFINISHED)
            await connection.execute(
                self._BEGIN,
                import_id,
                user_id,
                reading.format,
                dry_run,
                languages,
                len(reading.claims),
                reading.skipped_series,
                len(reading.faults),
                sum(claim.shortened for claim in reading.claims),
                now,
            )
        try:
            await self._put_down(import_id, reading)
            begun = await self._database.fetchrow(self._BEGIN_WORK, import_id, now)
        except BaseException:  # a call that was cancelled, too; a crash leaves it to be swept
            with suppress(Unavailable):
                await self._database.execute(self._DISCARD, import_id)
            raise
        if begun is None:
            raise ImportNotFound
        return _job(begun)

    async def _put_down(self, import_id: UUID, reading: Reading) -> None:
        """Write a file's lines, each piece in time for its own deadline."""
        records = _records(import_id, reading)
        while piece := list(islice(records, _ROWS_AT_ONCE)):
            async with self._database.acquire() as connection:
                try:
                    await connection.copy_records_to_table(
                        "import_rows", schema_name="backlog", columns=_ROW_COLUMNS, records=piece
                    )
                except asyncpg.ForeignKeyViolationError:
                    raise ImportNotFound from None

    # ---- looking -----------------------------------------------------------------------------------------

    _GET: Final = (
        f"SELECT {_JOB} FROM backlog.imports WHERE user_id = $1 AND import_id = $2 AND state <> 'receiving'"
    )

    async def get(self, user_id: str, import_id: UUID) -> Job:
        """Give one of somebody's imports.

        Raises:
            ImportNotFound: It is not theirs, or gone.
        """
        row = await self._database.fetchrow(self._GET, user_id, import_id)
        if row is None:
            raise ImportNotFound
        return _job(row)

    _ALL: Final = f"SELECT {_JOB} FROM backlog.imports WHERE user_id = $1 ORDER BY create_time, import_id"

    async def of_person(self, user_id: str) -> tuple[Job, ...]:
        """Give all of somebody's imports, the oldest first: ten at most."""
        return tuple(map(_job, await self._database.fetch(self._ALL, user_id)))

    _PAGE: Final = """
        SELECT total.size AS total_size, page.*
        FROM backlog.imports
        CROSS JOIN LATERAL (
            SELECT count(*) AS size FROM backlog.import_rows AS rows
            WHERE rows.import_id = imports.import_id AND rows.state = $3
        ) AS total
        LEFT JOIN LATERAL (
            SELECT row, line, file, title, year, problem, candidates FROM backlog.import_rows AS rows
            WHERE rows.import_id = imports.import_id AND rows.state = $3 AND row > $4
            ORDER BY row
            LIMIT $5
        ) AS page ON TRUE
        WHERE imports.user_id = $1 AND imports.import_id = $2 AND imports.state <> 'receiving'
        ORDER BY page.row
    """

    async def page(self, user_id: str, import_id: UUID, state: RowState, *, after: int, size: int) -> RowPage:
        """Give a page of the lines of an import that are in a state.

        Raises:
            ImportNotFound: It is not theirs, or gone.
        """
        found = await self._database.fetch(self._PAGE, user_id, import_id, state, after, size + 1)
        if not found:
            raise ImportNotFound
        rows = tuple(
            AttentionRow(
                row=row["row"],
                line=row["line"],
                file=row["file"],
                title=row["title"],
                year=row["year"],
                problem=None if row["problem"] is None else Problem(row["problem"]),
                candidates=tuple(row["candidates"]),
            )
            for row in found
            if row["row"] is not None
        )
        going_on = rows[size - 1].row if len(rows) > size else None
        return RowPage(rows[:size], going_on, found[0]["total_size"])

    # ---- working -----------------------------------------------------------------------------------------

    # SKIP LOCKED: a second replica takes the next import instead of waiting for this one.
    _TAKE: Final = f"""
        UPDATE backlog.imports SET due_time = $2
        WHERE import_id = (
            SELECT import_id FROM backlog.imports
            WHERE state = 'working' AND due_time <= $1
            ORDER BY due_time
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        )
        RETURNING {_JOB}
    """

    async def take(self, *, now: datetime) -> Job | None:
        """Take the import that has waited longest, for the length of a lease; None when none is due."""
        row = await self._database.fetchrow(self._TAKE, now, now + LEASE)
        return None if row is None else _job(row)

    _WAITING: Final = f"""
        SELECT {_CLAIM} FROM backlog.import_rows
        WHERE import_id = $1 AND state = 'waiting'
        ORDER BY row
        LIMIT $2
    """

    async def waiting(self, import_id: UUID, *, most: int) -> tuple[ClaimRow, ...]:
        """Give the next lines of an import."""
        return tuple(map(_claim_row, await self._database.fetch(self._WAITING, import_id, most)))

    _PUT_OFF: Final = """
        UPDATE backlog.imports SET due_time = $2, tries = $3 WHERE import_id = $1 AND state = 'working'
    """

    async def put_off(self, import_id: UUID, *, until: datetime, tries: int) -> None:
        """Let an import wait."""
        await self._database.execute(self._PUT_OFF, import_id, until, tries)

    _LOCK: Final = f"SELECT {_JOB} FROM backlog.imports WHERE import_id = $1 FOR UPDATE"
    _STILL_WAITING: Final = """
        SELECT row FROM backlog.import_rows
        WHERE import_id = $1 AND row = ANY ($2::integer[]) AND state = 'waiting'
    """

    async def take_in(
        self, import_id: UUID, rows: Sequence[ClaimRow], found: Mapping[int, Found], *, now: datetime
    ) -> Job | None:
        """Do to the backlog what lines say and mark them, all in one transaction.

        Lines that another replica has worked off meanwhile are left alone.

        Args:
            import_id: Their import.
            rows: Lines that were waiting.
            found: Which film each is about, by its row.
            now: The time to write.

        Returns:
            The import as it is then; None when it is gone.
        """
        async with self._database.transaction() as connection:
            locked = await connection.fetchrow(self._LOCK, import_id)
            if locked is None:
                return None
            job = _job(locked)
            numbers = [row.row for row in rows]
            waiting = {row["row"] for row in await connection.fetch(self._STILL_WAITING, import_id, numbers)}
            left = [row for row in rows if row.row in waiting]
            return await self._carry_out(connection, job, left, found, now=now)

    _ROWS: Final = f"""
        SELECT {_CLAIM} FROM backlog.import_rows
        WHERE import_id = $1 AND row = ANY ($2::integer[]) AND state IN (
            'unsettled', 'skipped', 'added', 'changed', 'unchanged'
        )
    """

    async def settle(self, user_id: str, import_id: UUID, choices: Sequence[Choice], *, now: datetime) -> Job:
        """Carry out what somebody says about unsettled lines: all of it, or nothing.

        Raises:
            ImportNotFound: It is not theirs, or gone.
            ImportIsDryRun: There is nothing to settle.
            ImportRowNotFound: It has no such line to settle.
            ImportRowSettled: Something else was decided about a line before.
        """
        async with self._database.transaction() as connection:
            locked = await connection.fetchrow(self._LOCK, import_id)
            if locked is None or locked["user_id"] != user_id or locked["state"] == JobState.RECEIVING:
                raise ImportNotFound
            job = _job(locked)
            if job.dry_run:
                raise ImportIsDryRun
            numbers = [choice.row for choice in choices]
            rows = {
                row["row"]: _claim_row(row) for row in await connection.fetch(self._ROWS, import_id, numbers)
            }
            left = settled(choices, rows)
            skipped = [choice.row for choice in left if not choice.movie_id]
            if skipped:
                job = await self._skip(connection, job, skipped)
            found = {choice.row: Found(choice.movie_id) for choice in left if choice.movie_id}
            return await self._carry_out(
                connection, job, [rows[row] for row in sorted(found)], found, now=now
            )

    _SKIP: Final = """
        UPDATE backlog.import_rows SET state = 'skipped' WHERE import_id = $1 AND row = ANY ($2::integer[])
    """

    async def _skip(self, connection: Any, job: Job, rows: Sequence[int]) -> Job:
        await connection.execute(self._SKIP, job.import_id, rows)
        counts = {RowState.SKIPPED: len(rows), RowState.UNSETTLED: -len(rows)}
        return await self._count(connection, job, counts, done=0, now=job.create_time)

    _EARLIER: Final = f"""
        SELECT {_CLAIM} FROM backlog.import_rows
        WHERE import_id = $1 AND movie_id = ANY ($2::integer[]) AND movie_id > 0
            AND state IN ('added', 'changed', 'unchanged')
        ORDER BY row
    """
    _LOOK_AT_ENTRIES: Final = f"""
        SELECT {_ENTRY} FROM backlog.entries
        WHERE user_id = $1 AND movie_id = ANY ($2::integer[])
        ORDER BY movie_id
    """
    _LOCK_ENTRIES: Final = f"{_LOOK_AT_ENTRIES} FOR UPDATE"
    _RECORD: Final = """jsonb_to_recordset($2::jsonb) AS given (
            movie_id integer, status text, note text, half_stars smallint, tags text[],
            add_time timestamptz, update_time timestamptz, watch_time timestamptz, source text
        )"""
    _INSERT: Final = f"""
        INSERT INTO backlog.entries (user_id, {_ENTRY})
        SELECT $1, given.* FROM {_RECORD}
        ON CONFLICT (user_id, movie_id) DO NOTHING
        RETURNING movie_id
    """
    _REPLACE: Final = f"""
        UPDATE backlog.entries AS old SET
            status = given.status, note = given.note, half_stars = given.half_stars, tags = given.tags,
            update_time = given.update_time, watch_time = given.watch_time
        FROM {_RECORD}
        WHERE old.user_id = $1 AND old.movie_id = given.movie_id
    """
    _MARK: Final = """
        UPDATE backlog.import_rows AS old SET
            state = given.state, movie_id = given.movie_id, candidates = given.candidates,
            by_hand = (old.state = 'unsettled')
        FROM jsonb_to_recordset($2::jsonb) AS given (
            row integer, state text, movie_id integer, candidates integer[]
        )
        WHERE old.import_id = $1 AND old.row = given.row
    """

    async def _carry_out(
        self,
        connection: Any,
        job: Job,
        rows: Sequence[ClaimRow],
        found: Mapping[int, Found],
        *,
        now: datetime,
    ) -> Job:
        marks: list[Mark] = []
        left = list(rows)
        while left:
            does = await self._effects(connection, job, left, found, now=now)
            raced: set[int] = set()
            if not job.dry_run:
                raced = await self._write(connection, job.user_id, does)
            marks += [mark for mark in does.marks if mark.movie_id not in raced]
            # Somebody has added these in this very moment: now they are there, and are decided about again.
            left = [row for row in left if found[row.row].movie_id in raced]
        await connection.execute(self._MARK, job.import_id, json.dumps(list(map(asdict, marks))))
        counts = Counter(mark.state for mark in marks)
        counts[RowState.UNSETTLED] -= sum(row.state is RowState.UNSETTLED for row in rows)
        done = sum(row.state is RowState.WAITING for row in rows)
        return await self._count(connection, job, counts, done=done, now=now)

    async def _effects(
        self,
        connection: Any,
        job: Job,
        rows: Sequence[ClaimRow],
        found: Mapping[int, Found],
        *,
        now: datetime,
    ) -> Effects:
        movie_ids = sorted({found[row.row].movie_id for row in rows} - {0})
        earlier: list[ClaimRow] = []
        if job.dry_run:
            entries = await connection.fetch(self._LOOK_AT_ENTRIES, job.user_id, movie_ids)
            found_before = await connection.fetch(self._EARLIER, job.import_id, movie_ids)
            earlier = list(map(_claim_row, found_before))
        else:
            entries = await connection.fetch(self._LOCK_ENTRIES, job.user_id, movie_ids)
        return effects(
            rows,
            found,
            entries={row["movie_id"]: _entry(row) for row in entries},
            earlier=((row.claim.movie_id, row.claim) for row in earlier),
            now=now,
        )

    async def _write(self, connection: Any, user_id: str, does: Effects) -> set[int]:
        """Write entries; return the films of new ones that somebody else has just added."""
        if does.changed:
            await connection.execute(self._REPLACE, user_id, _json(does.changed))
        if not does.new:
            return set()
        inserted = await connection.fetch(self._INSERT, user_id, _json(does.new))
        return does.new.keys() - {row["movie_id"] for row in inserted}

    _COUNT: Final = f"""
        UPDATE backlog.imports SET
            done = done + $2, added = added + $3, changed = changed + $4, unchanged = unchanged + $5,
            unsettled = unsettled + $6, skipped = skipped + $7, tries = 0,
            due_time = CASE WHEN state = 'working' THEN $8 ELSE due_time END,
            state = CASE WHEN done + $2 >= films THEN 'done' ELSE state END,
            finish_time = CASE WHEN state = 'working' AND done + $2 >= films THEN $8 ELSE finish_time END
        WHERE import_id = $1
        RETURNING {_JOB}
    """
    # Those that somebody still has to look at, and those that were settled by hand, stay.
    _FORGET: Final = (
        "DELETE FROM backlog.import_rows WHERE import_id = $1 AND state = ANY ($2::text[]) AND NOT by_hand"
    )

    async def _count(
        self, connection: Any, job: Job, counts: Mapping[RowState, int], *, done: int, now: datetime
    ) -> Job:
        counted = _job(
            await connection.fetchrow(
                self._COUNT,
                job.import_id,
                done,
                counts.get(RowState.ADDED, 0),
                counts.get(RowState.CHANGED, 0),
                counts.get(RowState.UNCHANGED, 0),
                counts.get(RowState.UNSETTLED, 0),
                counts.get(RowState.SKIPPED, 0),
                now,
            )
        )
        if job.state is JobState.WORKING and counted.state is JobState.DONE:
            await connection.execute(self._FORGET, job.import_id, sorted(TAKEN))
        return counted

    # ---- forgetting --------------------------------------------------------------------------------------

    _SWEEP: Final = """
        DELETE FROM backlog.imports WHERE import_id IN (
            SELECT import_id FROM backlog.imports
            WHERE create_time < $1 OR (state = 'receiving' AND create_time < $2)
            LIMIT 10
            FOR UPDATE SKIP LOCKED
        )
    """

    async def sweep(self, *, now: datetime) -> None:
        """Forget a few imports that are too old, or were left behind half put down."""
        await self._database.execute(self._SWEEP, now - KEPT_FOR, now - RECEIVED_WITHIN)

    _ERASE: Final = "DELETE FROM backlog.imports WHERE user_id = $1"

    async def erase(self, user_id: str) -> None:
        """Forget all of somebody's imports. Waits for a batch that is being written; none comes after it."""
        await self._database.execute(self._ERASE, user_id)


def _records(import_id: UUID, reading: Reading) -> Iterator[tuple[object, ...]]:
    for number, claim in enumerate(reading.claims, 1):
        yield (
            *(import_id, number, RowState.WAITING, claim.line, claim.file, None),
            *(claim.movie_id, claim.imdb_id, claim.title, claim.year, claim.status, claim.note),
            *(claim.half_stars, claim.tags, claim.add_time, claim.watch_time, claim.state_time, ()),
        )
    for number, fault in enumerate(reading.faults, len(reading.claims) + 1):
        yield (
            *(import_id, number, RowState.FAILED, fault.line, fault.file, fault.problem),
            *(0, "", fault.title, 0, Status.WANT_TO_WATCH, "", None, (), None, None, None, ()),
        )


def _json(entries: Mapping[int, Entry]) -> str:
    return json.dumps(
        [
            {
                "movie_id": entry.movie_id,
                "status": entry.status,
                "note": entry.note,
                "half_stars": entry.half_stars,
                "tags": entry.tags,
                "add_time": entry.add_time.isoformat(),
                "update_time": entry.update_time.isoformat(),
                "watch_time": entry.watch_time and entry.watch_time.isoformat(),
                "source": entry.source,
            }
            for entry in entries.values()
        ]
    )


def _job(row: Any) -> Job:
    values = dict(row)
    return Job(
        **{
            **values,
            "format": Format(values["format"]),
            "state": JobState(values["state"]),
            "languages": tuple(values["languages"]),
        }
    )


def _claim_row(row: Any) -> ClaimRow:
    return ClaimRow(
        row=row["row"],
        state=RowState(row["state"]),
        claim=Claim(
            line=row["line"],
            file=row["file"],
            movie_id=row["movie_id"],
            imdb_id=row["imdb_id"],
            title=row["title"],
            year=row["year"],
            status=Status(row["status"]),
            half_stars=row["half_stars"],
            note=row["note"],
            tags=tuple(row["tags"]),
            add_time=row["add_time"],
            watch_time=row["watch_time"],
            state_time=row["state_time"],
        ),
        candidates=tuple(row["candidates"]),
    )


def _entry(row: Any) -> Entry:
    return Entry(
        movie_id=row["movie_id"],
        status=Status(row["status"]),
        note=row["note"],
        half_stars=row["half_stars"],
        tags=tuple(row["tags"]),
        add_time=row["add_time"],
        update_time=row["update_time"],
        watch_time=row["watch_time"],
        source=Source(row["source"]),
    )
