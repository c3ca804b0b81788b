-- Which sessions have ended while their access tokens could still be shown.

-- Every service keeps this list in memory and asks for what is new, so it stands apart from the sessions: it has
-- nobody's id in it, and stays when an account is erased.
CREATE TABLE revocations (
    session_id  uuid        PRIMARY KEY,
    revoke_time timestamptz NOT NULL,  -- by this server's clock, so that "what is new" does not depend on the gateways'
    forget_time timestamptz NOT NULL   -- when the session would have run out by itself, and its tokens with it
);
CREATE INDEX revocations_by_time ON revocations (revoke_time, session_id);
CREATE INDEX revocations_by_age ON revocations (forget_time);

-- However a session ends (sign-out, theft, deletion of the account), it gets here in the same transaction: nobody can
-- forget to write it down.
CREATE FUNCTION note_revocation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO gateway.revocations (session_id, revoke_time, forget_time)
    VALUES (OLD.session_id, clock_timestamp(), OLD.expire_time)
    ON CONFLICT (session_id) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER session_ended AFTER UPDATE OF end_time ON sessions
    FOR EACH ROW WHEN (OLD.end_time IS NULL AND NEW.end_time IS NOT NULL)
    EXECUTE FUNCTION note_revocation();
CREATE TRIGGER session_erased AFTER DELETE ON sessions
    FOR EACH ROW WHEN (OLD.end_time IS NULL AND OLD.expire_time > now())
    EXECUTE FUNCTION note_revocation();

INSERT INTO revocations (session_id, revoke_time, forget_time)
SELECT session_id, clock_timestamp(), expire_time FROM sessions WHERE end_time IS NOT NULL;

-- What a session's owner sees: the open ones, the latest used first.
CREATE INDEX sessions_open_by_user ON sessions (user_id, last_use_time DESC, session_id DESC) WHERE end_time IS NULL;
DROP INDEX sessions_by_user;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_age ON sessions (expire_time);
