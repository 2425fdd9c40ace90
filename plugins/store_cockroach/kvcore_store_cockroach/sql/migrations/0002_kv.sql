-- No secondary index: each would cost every write.
CREATE TABLE IF NOT EXISTS kv (
    key {text} PRIMARY KEY,
    version {text} NOT NULL,
    value BYTEA, -- NULL: a tombstone
    media_type {text} NOT NULL,
    expires_at_ms INT8 -- Unix time
);
