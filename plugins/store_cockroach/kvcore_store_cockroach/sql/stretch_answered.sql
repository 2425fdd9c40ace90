-- As stretch.sql.
SELECT request_id
FROM answered
WHERE request_id > %(after)b::bytea
ORDER BY request_id
LIMIT 1 OFFSET %(keys)b::int8;
