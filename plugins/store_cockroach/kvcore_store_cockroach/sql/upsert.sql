-- Writes with no condition, or (create) on the condition that the key does not exist. Returns the keys that were written.
INSERT INTO kv AS held (key, version, value, media_type, expires_at_ms)
SELECT *
FROM unnest(
    %(keys)b::text[],
    %(versions)b::text[],
    %(values)b::bytea[],
    %(media_types)b::text[],
    %(expiries)b::int8[]
)
ON CONFLICT (key) DO UPDATE
    SET version = excluded.version,
        value = excluded.value,
        media_type = excluded.media_type,
        expires_at_ms = excluded.expires_at_ms
    WHERE held.version < excluded.version
        AND (NOT %(create)b::bool OR held.value IS NULL OR held.expires_at_ms <= %(now_ms)b::int8)
RETURNING key;
