-- Where the next stretch of keys to be looked through ends; nothing: it is the last one.
SELECT key
FROM kv
WHERE key > %(after)b::text
ORDER BY key
LIMIT 1 OFFSET %(keys)b::int8;
