-- As update.sql, of requests that were not answered before, with what is answered to them: see upsert_once.sql.
WITH mutation (key, version, value, media_type, expires_at_ms, expected, request_id, at_ms, outcome) AS (
    SELECT *
    FROM unnest(
        %(keys)b::text[],
        %(versions)b::text[],
        %(values)b::bytea[],
        %(media_types)b::text[],
        %(expiries)b::int8[],
        %(expected)b::text[],
        %(request_ids)b::bytea[],
        %(times_ms)b::int8[],
        %(outcomes)b::text[]
    )
),
written AS (
    UPDATE kv
    SET version = mutation.version,
        value = mutation.value,
        media_type = mutation.media_type,
        expires_at_ms = mutation.expires_at_ms
    FROM mutation
    WHERE kv.key = mutation.key
        AND kv.version < mutation.version
        AND (mutation.expected = '*' OR mutation.expected = kv.version)
        AND kv.value IS NOT NULL
        AND (kv.expires_at_ms IS NULL OR kv.expires_at_ms > %(now_ms)b::int8)
        AND NOT EXISTS (SELECT 1 FROM answered WHERE answered.request_id = mutation.request_id)
    RETURNING kv.key
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
