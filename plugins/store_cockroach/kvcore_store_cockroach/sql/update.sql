-- Writes on the condition that the key exists, at one version or at any ('*'). Returns the keys that were written.
UPDATE kv
SET version = mutation.version,
    value = mutation.value,
    media_type = mutation.media_type,
    expires_at_ms = mutation.expires_at_ms
FROM unnest(
    %(keys)b::text[],
    %(versions)b::text[],
    %(values)b::bytea[],
    %(media_types)b::text[],
    %(expiries)b::int8[],
    %(expected)b::text[]
) AS mutation (key, version, value, media_type, expires_at_ms, expected)
WHERE kv.key = mutation.key
    AND kv.version < mutation.version
    AND (mutation.expected = '*' OR mutation.expected = kv.version)
    AND kv.value IS NOT NULL
    AND (kv.expires_at_ms IS NULL OR kv.expires_at_ms > %(now_ms)b::int8)
RETURNING kv.key;
