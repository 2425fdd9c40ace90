-- The next keys, there or not: a key that is not has no size, or has expired. To leave those out here would make the walk
-- as long as there are such.
SELECT key, version, length(value), media_type, expires_at
FROM kv
WHERE key >= :start
    AND key < :stop
ORDER BY key
LIMIT :most;
