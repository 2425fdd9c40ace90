SELECT key, version, length(value), media_type, expires_at
FROM kv
WHERE key >= :start
    AND key < :stop
    AND value IS NOT NULL
    AND (expires_at IS NULL OR expires_at > :now)
ORDER BY key
LIMIT :limit;
