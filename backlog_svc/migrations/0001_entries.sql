-- Backlogs: one row for a film in somebody's list. User ids are the gateway's; whether a film exists is its
-- caller's business, so neither is a foreign key.
CREATE TABLE backlog.entries (
    user_id     text COLLATE "C" NOT NULL CHECK (char_length(user_id) BETWEEN 1 AND 64),
    movie_id    integer          NOT NULL CHECK (movie_id >= 1),
    status      text COLLATE "C" NOT NULL CHECK (status IN ('want_to_watch', 'watching', 'watched', 'dropped')),
    note        text             NOT NULL CHECK (char_length(note) <= 1024),
    half_stars  smallint                  CHECK (half_stars BETWEEN 1 AND 10),
    tags        text[]           NOT NULL CHECK (cardinality(tags) <= 20),
    add_time    timestamptz      NOT NULL,
    update_time timestamptz      NOT NULL,
    watch_time  timestamptz               CHECK (watch_time IS NOT NULL OR status <> 'watched'),
    source      text COLLATE "C" NOT NULL CHECK (source IN ('by_hand', 'import', 'movie_night')),
    PRIMARY KEY (user_id, movie_id)
);

-- One index a sort key. Ties go by film id in both directions; read backwards, an index of times gives its few
-- ties in the wrong order, which PostgreSQL sorts as it goes. Ratings have many ties, so each direction has its own.
CREATE INDEX entries_by_add_time ON backlog.entries (user_id, add_time, movie_id);
CREATE INDEX entries_by_update_time ON backlog.entries (user_id, update_time, movie_id);
-- The expressions are those of the store's ORDER BY: no rating sorts last either way.
CREATE INDEX entries_by_rating_desc ON backlog.entries (user_id, coalesce(half_stars, 0::smallint) DESC, movie_id);
CREATE INDEX entries_by_rating_asc ON backlog.entries (user_id, coalesce(half_stars, 11::smallint), movie_id);
-- "What I want to watch, the latest first" is the list that everybody opens; it is also counted here.
CREATE INDEX entries_by_status ON backlog.entries (user_id, status, add_time, movie_id);
