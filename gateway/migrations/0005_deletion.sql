-- The end of an account: a tombstone at once, then one step a service until nothing is left, the tombstone included.

ALTER TABLE accounts ADD COLUMN delete_time timestamptz;  -- when it was asked for; null while the account lives

-- Names are counted in what readers take for characters now, of several code points each. A tombstone has none.
ALTER TABLE accounts DROP CONSTRAINT accounts_display_name_check;
ALTER TABLE accounts ADD CONSTRAINT accounts_display_name_check CHECK (
    CASE WHEN delete_time IS NULL THEN char_length(display_name) BETWEEN 1 AND 400 ELSE display_name = '' END
);

-- What is still to be done; a step's row goes when it is done, those of the last step with the account.
CREATE TABLE deletion_steps (
    user_id    uuid        NOT NULL REFERENCES accounts ON DELETE CASCADE,
    step       text        NOT NULL CHECK (step IN ('game_svc', 'backlog_svc', 'gateway')),
    waits_for  text[]      NOT NULL,                              -- steps whose rows must be gone first
    due_time   timestamptz NOT NULL,                              -- whoever takes the step moves it ahead: a lease
    attempts   integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    PRIMARY KEY (user_id, step)
);
CREATE INDEX deletion_steps_by_due_time ON deletion_steps (due_time);
