-- How often one address or one account has signed in lately, over all replicas of the gateway.

-- A bucket that drips (GCRA): each call moves free_time on by one drip, and is refused where that would be more than a
-- whole bucket ahead. A row whose free_time has passed says nothing, and is swept.
CREATE UNLOGGED TABLE limits (
    key       bytea       PRIMARY KEY CHECK (octet_length(key) = 32),  -- a keyed hash: no address, no user id
    free_time timestamptz NOT NULL                                     -- when the bucket is empty again
);
CREATE INDEX limits_by_age ON limits (free_time);
