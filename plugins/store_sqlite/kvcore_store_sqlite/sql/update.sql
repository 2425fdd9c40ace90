-- A write on the condition that the key exists, at one version or at any ('*'). Returns the key if it was written.
-- Apart from the upsert: an INSERT that looks into its own table first goes through a temporary one, at twice the time.
-- ?1 key, ?2 version, ?3 value, ?4 media_type, ?5 expires_at, ?6 expected, ?7 now
UPDATE kv
SET version = ?2,
    value = ?3,
    media_type = ?4,
    expires_at = ?5
WHERE key = ?1
    AND version < ?2
    AND ?6 IN ('*', version)
    AND value IS NOT NULL
    AND (expires_at IS NULL OR expires_at > ?7)
RETURNING key;
