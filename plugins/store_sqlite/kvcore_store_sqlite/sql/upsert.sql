-- A write with no condition, or on the condition that the key does not exist. Returns the key if it was written.
-- ?1 key, ?2 version, ?3 value, ?4 media_type, ?5 expires_at, ?6 expected, ?7 now
INSERT INTO kv AS held (key, version, value, media_type, expires_at)
VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (key) DO UPDATE
    SET version = excluded.version,
        value = excluded.value,
        media_type = excluded.media_type,
        expires_at = excluded.expires_at
    WHERE held.version < excluded.version
        AND (?6 IS NULL OR held.value IS NULL OR held.expires_at <= ?7)
RETURNING key;
