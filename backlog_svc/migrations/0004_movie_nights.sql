-- Movie nights: the films that games ended with, and who was there. What the game says of a film is numbered, and
-- the highest number holds; so a withdrawn match stays as a row that nobody belongs to, against one that comes late.
CREATE TABLE backlog.matches (
    game_id    text COLLATE "C" NOT NULL CHECK (char_length(game_id) BETWEEN 1 AND 64),
    movie_id   integer          NOT NULL CHECK (movie_id >= 1),
    game_seq   bigint           NOT NULL CHECK (game_seq >= 0),
    game_name  text             NOT NULL,
    match_time timestamptz               CHECK (match_time IS NOT NULL OR withdrawn),
    withdrawn  boolean          NOT NULL,
    watch_time timestamptz               CHECK (watch_time IS NULL OR NOT withdrawn),
    PRIMARY KEY (game_id, movie_id)
);

CREATE TABLE backlog.match_participants (
    game_id      text COLLATE "C" NOT NULL,
    movie_id     integer          NOT NULL,
    seat         smallint         NOT NULL CHECK (seat >= 1),
    -- Both are NULL once somebody has deleted their account.
    user_id      text COLLATE "C"          CHECK (char_length(user_id) BETWEEN 1 AND 64),
    display_name text                      CHECK ((display_name IS NULL) = (user_id IS NULL)),
    guest        boolean          NOT NULL,
    -- Whether "we watched it" has been carried into their backlog: once, whatever they do with the entry later.
    moved        boolean          NOT NULL DEFAULT FALSE,
    -- The match's own, for the index below.
    match_time   timestamptz      NOT NULL,
    PRIMARY KEY (game_id, movie_id, seat),
    FOREIGN KEY (game_id, movie_id) REFERENCES backlog.matches ON DELETE CASCADE
);

-- Somebody's movie nights in the order in which they are listed; also: nobody is at one twice.
CREATE UNIQUE INDEX match_participants_by_time
    ON backlog.match_participants (user_id, match_time DESC, game_id, movie_id);

-- Finished games, in the numbers that their players saw at the end.
CREATE TABLE backlog.games (
    game_id             text COLLATE "C" PRIMARY KEY CHECK (char_length(game_id) BETWEEN 1 AND 64),
    game_seq            bigint      NOT NULL CHECK (game_seq >= 0),
    game_name           text        NOT NULL,
    start_time          timestamptz NOT NULL,
    end_time            timestamptz NOT NULL,
    matched_movie_ids   integer[]   NOT NULL,
    -- Each group of arrays is a table of its own, column by column.
    near_miss_movie_ids integer[]   NOT NULL,
    near_miss_percents  smallint[]  NOT NULL CHECK (cardinality(near_miss_percents) = cardinality(near_miss_movie_ids)),
    genre_ids           integer[]   NOT NULL,
    genre_swipes        integer[]   NOT NULL CHECK (cardinality(genre_swipes) = cardinality(genre_ids)),
    genre_likes         integer[]   NOT NULL CHECK (cardinality(genre_likes) = cardinality(genre_ids))
);

CREATE TABLE backlog.game_players (
    game_id               text COLLATE "C" NOT NULL REFERENCES backlog.games ON DELETE CASCADE,
    seat                  smallint         NOT NULL CHECK (seat >= 1),
    -- Both are NULL once somebody has deleted their account.
    user_id               text COLLATE "C"          CHECK (char_length(user_id) BETWEEN 1 AND 64),
    display_name          text                      CHECK ((display_name IS NULL) = (user_id IS NULL)),
    guest                 boolean          NOT NULL,
    swipes                integer          NOT NULL CHECK (swipes >= 0),
    liked_percent         smallint         NOT NULL CHECK (liked_percent BETWEEN 0 AND 100),
    with_majority_percent smallint         NOT NULL CHECK (with_majority_percent BETWEEN 0 AND 100),
    -- The game's own, for the index below.
    end_time              timestamptz      NOT NULL,
    PRIMARY KEY (game_id, seat)
);

CREATE UNIQUE INDEX game_players_by_time ON backlog.game_players (user_id, end_time DESC, game_id);
