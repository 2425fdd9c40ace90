SELECT key, version, value, media_type, expires_at_ms
FROM kv
WHERE key = ANY (%(keys)b::text[]);
