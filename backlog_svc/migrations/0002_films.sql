-- What lists, filters and numbers need to know of films, beside the entries: one row a film, whoever has it in their
-- list. It comes from movie_svc, is refreshed in the background, and names nobody. A film whose last entry goes stays:
-- the next one to add it is on the way.

-- Texts as people compare them: case, accents and ligatures apart. Searched texts and what is searched for are folded
-- by this one function. Takes PostgreSQL 17, whose own collation needs neither the system's nor ICU's.
CREATE FUNCTION backlog.fold(words text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN replace(replace(replace(replace(
    translate(
        lower(regexp_replace(normalize(words, NFKD), '[\u0300-\u036f]', '', 'g') COLLATE pg_c_utf8),
        'øłđðħŧŋıς', 'olddhtniσ'
    ), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');

CREATE TABLE backlog.films (
    movie_id        integer     PRIMARY KEY CHECK (movie_id >= 1),
    -- Unknown, all of them, until the film was asked for the first time. Afterwards NULL means that TMDB does not know.
    title           text,       -- in English, or else the original one; empty when TMDB has no such film
    original_title  text,
    release_date    date,
    runtime_minutes integer     CHECK (runtime_minutes >= 1),
    genre_ids       integer[],
    popularity      double precision,
    missing         boolean     NOT NULL DEFAULT FALSE, -- TMDB has no film with this id
    refresh_time    timestamptz CHECK (
        (refresh_time IS NULL) = (title IS NULL)
        AND (refresh_time IS NULL) = (original_title IS NULL)
        AND (refresh_time IS NULL) = (genre_ids IS NULL)
    ),
    -- When it is to be asked for next. A replica that takes it moves this on by a lease.
    due_time        timestamptz NOT NULL DEFAULT '-infinity',
    attempts        integer     NOT NULL DEFAULT 0, -- that failed, since the last that did not
    folded_titles   text COLLATE "C" GENERATED ALWAYS AS (backlog.fold(title || E'\n' || original_title)) STORED,
    -- Page tokens hold it: bounded. Titles that begin alike for so long go by film id.
    sort_title      text COLLATE "C" GENERATED ALWAYS AS (left(backlog.fold(title), 50)) STORED
);
CREATE INDEX films_by_due_time ON backlog.films (due_time);

-- Titles as readers of other languages see them, for films that somebody with these languages has sorted or searched.
CREATE TABLE backlog.film_titles (
    movie_id        integer          NOT NULL CHECK (movie_id >= 1),
    languages       text COLLATE "C" NOT NULL, -- BCP 47 tags, the best liked first, joined by commas
    folded_title    text COLLATE "C" NOT NULL,
    refresh_time    timestamptz      NOT NULL,
    PRIMARY KEY (movie_id, languages)
);
CREATE INDEX film_titles_by_refresh_time ON backlog.film_titles (refresh_time);

-- Who has a film by subscription, for regions that somebody has asked about.
CREATE TABLE backlog.film_providers (
    movie_id        integer          NOT NULL CHECK (movie_id >= 1),
    region          text COLLATE "C" NOT NULL CHECK (char_length(region) = 2), -- ISO 3166-1 alpha-2
    provider_ids    integer[]        NOT NULL,
    refresh_time    timestamptz      NOT NULL,
    PRIMARY KEY (movie_id, region)
);
CREATE INDEX film_providers_by_refresh_time ON backlog.film_providers (refresh_time);

-- Every film of an entry has its row, whichever statement, of whichever release, added the entry. In the order of
-- their ids, so that two batches do not wait for each other.
CREATE FUNCTION backlog.know_films() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO backlog.films (movie_id)
    SELECT DISTINCT movie_id FROM added ORDER BY movie_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER know_films AFTER INSERT ON backlog.entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION backlog.know_films();
INSERT INTO backlog.films (movie_id) SELECT DISTINCT movie_id FROM backlog.entries;
