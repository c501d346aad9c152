-- One poll, one statement, one transaction: claim the partitions, then effects, outbox and dead letters.
-- Nothing is written unless every partition of the poll still stands at the offset, and with the owner, that the worker knows.
WITH claim AS (
    UPDATE progress AS g
    SET next_offset = i.next_offset, sessions = i.sessions, duplicates = g.duplicates + i.duplicates, dead = g.dead + i.dead
    FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[])
        AS i (part, old_offset, next_offset, owner_epoch, sessions, duplicates, dead)
    WHERE g.part = i.part AND g.next_offset = i.old_offset AND g.owner_epoch = i.owner_epoch
    RETURNING g.part
), owned AS MATERIALIZED (
    SELECT count(*) AS parts FROM claim HAVING count(*) = cardinality($1)
), latest AS MATERIALIZED (
    SELECT l.*
    FROM owned, unnest($8::bigint[], $9::integer[], $10::bigint[], $11::bigint[], $12::float8[], $13::float8[], $14::float8[])
        AS l (key, part, tenant, events, quantity, notional, price)
), changed AS (
    UPDATE positions AS p
    SET version = p.version + l.events, quantity = p.quantity + l.quantity, notional = p.notional + l.notional, price = l.price
    FROM latest AS l
    WHERE p.key = l.key
    RETURNING p.key, p.version, p.quantity
), added AS (
    INSERT INTO positions (key, part, tenant, version, quantity, notional, price)
    SELECT l.key, l.part, l.tenant, l.events, l.quantity, l.notional, l.price
    FROM latest AS l
    WHERE l.key NOT IN (SELECT key FROM changed)
    RETURNING key, version, quantity
), offered AS (
    INSERT INTO outbox (part, next_offset, frames, payload)
    SELECT o.part, o.next_offset, o.frames, o.payload
    FROM owned, unnest($1::integer[], $3::bigint[], $15::bytea[], $16::bytea[]) AS o (part, next_offset, frames, payload)
), buried AS (
    INSERT INTO dead_letters (part, record_offset, reason, key, value)
    SELECT d.part, d.record_offset, d.reason, d.key, d.value
    FROM owned, unnest($17::integer[], $18::bigint[], $19::text[], $20::bytea[], $21::bytea[])
        AS d (part, record_offset, reason, value, key)
)
SELECT
    require_owner((SELECT count(*) FROM claim), cardinality($1)) AS owned,
    (
        SELECT string_agg(int8send(key) || int8send(version) || float8send(quantity), '')
        FROM (TABLE changed UNION ALL TABLE added) AS written
    ) AS written
