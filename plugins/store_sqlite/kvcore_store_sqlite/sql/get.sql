SELECT key, version, value, media_type, expires_at
FROM kv
WHERE key IN (SELECT value FROM carray(:keys));
