SELECT request_id, outcome
FROM answered
WHERE request_id IN (SELECT value FROM carray(:request_ids));
