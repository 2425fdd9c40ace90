-- As scan.sql, where no key comes after those with the prefix: there is no text to say "up to the end" with.
SELECT key, version, octet_length(value), media_type, expires_at_ms
FROM kv
WHERE key >= %(prefix)b::text
    AND key > %(after)b::text
ORDER BY key
LIMIT %(most)b::int8;
