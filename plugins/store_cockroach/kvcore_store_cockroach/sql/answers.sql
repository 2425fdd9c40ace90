SELECT request_id, outcome
FROM answered
WHERE request_id = ANY (%(request_ids)b::bytea[]);
