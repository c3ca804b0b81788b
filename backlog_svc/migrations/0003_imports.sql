-- Files that people handed in. The lines wait in a table of their own until some replica has worked them off; what a
-- line does to an entry is written in the transaction that marks the line, so a crash loses and doubles nothing.
CREATE TABLE backlog.imports (
    import_id      uuid             PRIMARY KEY,
    user_id        text COLLATE "C" NOT NULL CHECK (char_length(user_id) BETWEEN 1 AND 64),
    format         text COLLATE "C" NOT NULL,
    dry_run        boolean          NOT NULL,
    languages      text[]           NOT NULL,
    -- receiving: its lines are still being put down, and nobody works on it.
    state          text COLLATE "C" NOT NULL CHECK (state IN ('receiving', 'working', 'done')),
    films          integer          NOT NULL,
    done           integer          NOT NULL DEFAULT 0,
    added          integer          NOT NULL DEFAULT 0,
    changed        integer          NOT NULL DEFAULT 0,
    unchanged      integer          NOT NULL DEFAULT 0,
    unsettled      integer          NOT NULL DEFAULT 0,
    skipped        integer          NOT NULL DEFAULT 0,
    skipped_series integer          NOT NULL,
    failed         integer          NOT NULL,
    shortened      integer          NOT NULL,
    create_time    timestamptz      NOT NULL,
    finish_time    timestamptz,
    -- When it is next worked on. Whoever takes it moves this on: a lease that runs out by itself.
    due_time       timestamptz      NOT NULL,
    -- How often in a row films could not be looked up.
    tries          integer          NOT NULL DEFAULT 0
);
CREATE INDEX imports_by_user ON backlog.imports (user_id, create_time);
CREATE INDEX imports_by_due_time ON backlog.imports (due_time) WHERE state = 'working';
CREATE INDEX imports_by_create_time ON backlog.imports (create_time);

-- A line of a file: one film, or one that nothing could be made of. Once an import is done only those stay that somebody
-- has to look at, or has looked at.
CREATE TABLE backlog.import_rows (
    import_id  uuid             NOT NULL REFERENCES backlog.imports ON DELETE CASCADE,
    row        integer          NOT NULL CHECK (row >= 1),
    state      text COLLATE "C" NOT NULL CHECK (
        state IN ('waiting', 'added', 'changed', 'unchanged', 'unsettled', 'skipped', 'failed')
    ),
    line       integer          NOT NULL,
    file       text             NOT NULL,
    problem    text COLLATE "C" CHECK ((problem IS NOT NULL) = (state = 'failed')),
    -- The film: what the file says, or what was found. 0 while it is not known.
    movie_id   integer          NOT NULL,
    imdb_id    text COLLATE "C" NOT NULL,
    title      text             NOT NULL,
    year       integer          NOT NULL,
    status     text COLLATE "C" NOT NULL,
    note       text             NOT NULL,
    half_stars smallint,
    tags       text[]           NOT NULL,
    add_time   timestamptz,
    watch_time timestamptz,
    state_time timestamptz,
    candidates integer[]        NOT NULL,
    by_hand    boolean          NOT NULL DEFAULT FALSE, -- somebody has settled it
    PRIMARY KEY (import_id, row)
);
CREATE INDEX import_rows_by_state ON backlog.import_rows (import_id, state, row);
CREATE INDEX import_rows_by_movie ON backlog.import_rows (import_id, movie_id) WHERE movie_id > 0;
