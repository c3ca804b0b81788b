-- Who people are to us, how they prove it, and the sessions they have open.

CREATE TABLE accounts (
    user_id      uuid        PRIMARY KEY,
    display_name text        NOT NULL CHECK (char_length(display_name) BETWEEN 1 AND 50),
    language     text        NOT NULL DEFAULT '',  -- BCP 47; empty: none chosen
    region       text        NOT NULL DEFAULT '',  -- ISO 3166-1 alpha-2; empty: none chosen
    guest        boolean     NOT NULL DEFAULT false,
    create_time  timestamptz NOT NULL
);

-- The key of a person is (provider, subject). An e-mail address is something to show, never something to find by.
CREATE TABLE identities (
    provider  text        NOT NULL CHECK (provider IN ('google', 'apple')),
    subject   text        NOT NULL,
    user_id   uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    email     text        NOT NULL DEFAULT '',
    link_time timestamptz NOT NULL,
    PRIMARY KEY (provider, subject),
    UNIQUE (user_id, provider)
);

CREATE TABLE sessions (
    session_id    uuid        PRIMARY KEY,
    user_id       uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    device        text        NOT NULL DEFAULT '',
    generation    integer     NOT NULL CHECK (generation > 0),  -- of the refresh token that can be traded
    create_time   timestamptz NOT NULL,
    last_use_time timestamptz NOT NULL,
    expire_time   timestamptz NOT NULL,
    end_time      timestamptz,                                  -- null while the session goes on
    end_reason    text        NOT NULL DEFAULT ''
);
CREATE INDEX sessions_by_user ON sessions (user_id, last_use_time DESC);

-- The chain of a session's refresh tokens. All of it is kept, so that a copy is known for what it is.
CREATE TABLE refresh_tokens (
    token_hash  bytea       PRIMARY KEY CHECK (octet_length(token_hash) = 32),  -- SHA-256
    session_id  uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    generation  integer     NOT NULL CHECK (generation > 0),
    sealed      bytea       CHECK (octet_length(sealed) = 32),  -- this token, for the holder of its predecessor only
    create_time timestamptz NOT NULL,                           -- when its predecessor was traded for it
    UNIQUE (session_id, generation)
);
