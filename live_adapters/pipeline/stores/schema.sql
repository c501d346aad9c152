-- The stores of a run in PostgreSQL: the source of truth. Recreated by storage.reset_stores before every run.
DROP TABLE IF EXISTS positions, progress, outbox, dead_letters CASCADE;

-- The latest state per key; `version` counts the events that went into it. Half-empty pages keep updates within their page.
CREATE TABLE positions (
    key bigint PRIMARY KEY,
    part integer NOT NULL,
    tenant bigint NOT NULL,
    version bigint NOT NULL,
    quantity double precision NOT NULL,
    notional double precision NOT NULL,
    price double precision NOT NULL
) WITH (fillfactor = 50);

-- How far each partition is, who owns it, and per producer session the last sequence taken (numpy: <u4 session, <u8 sequence).
CREATE TABLE progress (
    part integer PRIMARY KEY,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    owner_epoch bigint NOT NULL,
    duplicates bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    sessions bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 10);

-- What downstream has still to confirm: a row per partition and poll, frames and rows as their arrays' bytes (outbox.py).
CREATE TABLE outbox (
    part integer NOT NULL,
    next_offset bigint NOT NULL,
    frames bytea NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (part, next_offset)
) WITH (toast_tuple_target = 8160);
ALTER TABLE outbox ALTER COLUMN payload SET STORAGE EXTERNAL, ALTER COLUMN frames SET STORAGE EXTERNAL;

-- Records that could not be read or priced, with the reason; `published` once the dead-letter topic has them (deadletters.py).
CREATE TABLE dead_letters (
    part integer NOT NULL,
    record_offset bigint NOT NULL,
    reason text NOT NULL,
    key bytea,
    value bytea NOT NULL,
    published boolean NOT NULL DEFAULT false,
    PRIMARY KEY (part, record_offset)
);
CREATE INDEX dead_letters_unpublished ON dead_letters (part, record_offset) WHERE NOT published;

-- Ends the statement, and with it all its effects, when not every partition was claimed: the caller is a zombie.
CREATE OR REPLACE FUNCTION require_owner(claimed bigint, wanted bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF claimed <> wanted THEN
        RAISE EXCEPTION 'claimed % of % partitions', claimed, wanted USING ERRCODE = 'SN001';
    END IF;
    RETURN true;
END $$;
