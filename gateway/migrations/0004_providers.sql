-- What Google and Apple tell of an identity, and what Apple gives for one.

ALTER TABLE identities
    ADD COLUMN last_proof_time  timestamptz,                     -- the latest sign-in; null: none since this migration
    ADD COLUMN private_email    boolean NOT NULL DEFAULT false,  -- the address is one that Apple forwards from
    ADD COLUMN email_disabled   boolean NOT NULL DEFAULT false,  -- Apple does not forward at the moment
    ADD COLUMN email_event_time timestamptz;                     -- when that was last switched, by Apple's clock

-- Apple's refresh tokens, encrypted, for the day when the person leaves. One a person and client id: the latest.
CREATE TABLE apple_grants (
    user_id     uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    client_id   text        NOT NULL,
    key_id      text        NOT NULL,  -- of the key in APPLE_TOKEN_KEYS
    sealed      bytea       NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (user_id, client_id)
);

-- Grants to be given back to Apple. Says nothing of whose they were: the person may be gone by then.
CREATE TABLE apple_revocations (
    revocation_id     bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    client_id         text        NOT NULL,
    key_id            text        NOT NULL,
    sealed            bytea       NOT NULL,
    create_time       timestamptz NOT NULL,
    attempts          integer     NOT NULL DEFAULT 0,
    next_attempt_time timestamptz NOT NULL
);
CREATE INDEX apple_revocations_by_turn ON apple_revocations (next_attempt_time);

-- Which of Apple's notifications have been dealt with: each counts once, however often it comes.
CREATE TABLE apple_notifications (
    jti          text        PRIMARY KEY CHECK (char_length(jti) BETWEEN 1 AND 255),
    event        text        NOT NULL,
    receive_time timestamptz NOT NULL
);
