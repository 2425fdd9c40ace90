-- As upsert.sql, of requests that were not answered before, with what is answered to them. Of two at once on one request, which may
-- both have found nothing, the second breaks the primary key of `answered`, and nothing of its statement is done.
WITH mutation (key, version, value, media_type, expires_at_ms, request_id, at_ms, outcome) AS (
    SELECT *
    FROM unnest(
        %(keys)b::text[],
        %(versions)b::text[],
        %(values)b::bytea[],
        %(media_types)b::text[],
        %(expiries)b::int8[],
        %(request_ids)b::bytea[],
        %(times_ms)b::int8[],
        %(outcomes)b::text[]
    )
),
written AS (
    INSERT INTO kv AS held (key, version, value, media_type, expires_at_ms)
    SELECT key, version, value, media_type, expires_at_ms
    FROM mutation
    WHERE NOT EXISTS (SELECT 1 FROM answered WHERE answered.request_id = mutation.request_id)
    ON CONFLICT (key) DO UPDATE
        SET version = excluded.version,
            value = excluded.value,
            media_type = excluded.media_type,
            expires_at_ms = excluded.expires_at_ms
        WHERE held.version < excluded.version
            AND (NOT %(create)b::bool OR held.value IS NULL OR held.expires_at_ms <= %(now_ms)b::int8)
    RETURNING key
),
remembered AS (
    INSERT INTO answered (request_id, at_ms, outcome)
    SELECT mutation.request_id, mutation.at_ms, mutation.outcome
    FROM mutation
    JOIN written ON written.key = mutation.key
    RETURNING request_id
)
SELECT mutation.key
FROM mutation
JOIN remembered ON remembered.request_id = mutation.request_id;
