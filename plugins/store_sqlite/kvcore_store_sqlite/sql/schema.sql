-- What all migrations together give. Documentation: a test holds it against them, nothing runs it.
CREATE TABLE kv (
    key TEXT NOT NULL PRIMARY KEY COLLATE BINARY, -- in byte order of UTF-8
    version TEXT NOT NULL,
    media_type TEXT NOT NULL,
    expires_at INTEGER, -- Unix time in milliseconds
    value BLOB -- NULL: a tombstone. Last, so that a listing never walks through the pages of a large value
) STRICT, WITHOUT ROWID;

CREATE INDEX kv_tombstones ON kv (version) WHERE value IS NULL;
CREATE INDEX kv_expiring ON kv (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE answered (
    request_id BLOB NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL, -- Unix time in milliseconds of the version of the mutation that it was given to
    outcome TEXT NOT NULL -- JSON: verdict, version, whether the key existed
) STRICT, WITHOUT ROWID;

CREATE INDEX answered_by_time ON answered (at);
