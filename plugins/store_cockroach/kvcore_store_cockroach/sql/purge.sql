-- Removes what ended before a time from a stretch of keys, the first ones of it. The condition stands twice: a row may be
-- written again between the search and the removal.
DELETE FROM kv
WHERE key IN (
        SELECT key
        FROM kv
        WHERE key > %(after)b::text
            AND key <= %(until)b::text
            AND (value IS NULL AND version < %(before)b::text OR value IS NOT NULL AND expires_at_ms < %(before_ms)b::int8)
        ORDER BY key
        LIMIT %(limit)b::int8
    )
    AND (value IS NULL AND version < %(before)b::text OR value IS NOT NULL AND expires_at_ms < %(before_ms)b::int8)
RETURNING key;
