-- The next keys, there or not: one that is not has no size, or has expired. A key or a prefix may be the bound; the other one is
-- then empty or lower.
SELECT key, version, octet_length(value), media_type, expires_at_ms
FROM kv
WHERE key >= %(prefix)b::text
    AND key > %(after)b::text
    AND key < %(stop)b::text
ORDER BY key
LIMIT %(most)b::int8;
