-- "kvcr": tells `file`, and this plugin, whose database this is.
PRAGMA application_id = 1802920818;

CREATE TABLE kv (
    key TEXT NOT NULL PRIMARY KEY COLLATE BINARY, -- in byte order of UTF-8
    version TEXT NOT NULL,
    media_type TEXT NOT NULL,
    expires_at INTEGER, -- Unix time in milliseconds
    value BLOB -- NULL: a tombstone. Last, so that a listing never walks through the pages of a large value
) STRICT, WITHOUT ROWID;

-- What a purge looks for. Both are partial: a plain write touches neither.
CREATE INDEX kv_tombstones ON kv (version) WHERE value IS NULL;
CREATE INDEX kv_expiring ON kv (expires_at) WHERE expires_at IS NOT NULL;
