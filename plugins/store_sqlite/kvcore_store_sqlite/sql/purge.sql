DELETE FROM kv
WHERE key IN (
    SELECT key FROM kv WHERE value IS NULL AND version < :before
    UNION ALL
    SELECT key FROM kv WHERE expires_at < :before_ms AND value IS NOT NULL
    LIMIT :limit
);
