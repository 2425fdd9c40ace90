-- Remembers outcomes that change nothing, unless the request has been answered by somebody else. Returns what was remembered.
INSERT INTO answered (request_id, at_ms, outcome)
SELECT *
FROM unnest(%(request_ids)b::bytea[], %(times_ms)b::int8[], %(outcomes)b::text[])
ON CONFLICT (request_id) DO NOTHING
RETURNING request_id;
