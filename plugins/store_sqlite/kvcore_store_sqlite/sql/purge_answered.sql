DELETE FROM answered
WHERE request_id IN (
    SELECT request_id FROM answered WHERE at < :before_ms
    LIMIT :limit
);
