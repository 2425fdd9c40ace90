SELECT request_id
FROM answered
ORDER BY request_id DESC
LIMIT 1;
