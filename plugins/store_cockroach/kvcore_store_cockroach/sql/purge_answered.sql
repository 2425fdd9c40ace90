-- As purge.sql. What was answered does not change, so that once is enough to ask.
DELETE FROM answered
WHERE request_id IN (
    SELECT request_id
    FROM answered
    WHERE request_id > %(after)b::bytea
        AND request_id <= %(until)b::bytea
        AND at_ms < %(before_ms)b::int8
    ORDER BY request_id
    LIMIT %(limit)b::int8
)
RETURNING request_id;
