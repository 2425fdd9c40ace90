-- What all required migrations together give. Documentation: a test holds it against them, nothing runs it.
CREATE TABLE kvcore_migrations (
    name TEXT PRIMARY KEY,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    pinged_at TIMESTAMPTZ -- written by each ping, as proof that the database can be written to
);

-- No secondary index: each would cost every write.
CREATE TABLE kv (
    key {text} PRIMARY KEY,
    version {text} NOT NULL,
    value BYTEA, -- NULL: a tombstone
    media_type {text} NOT NULL,
    expires_at_ms INT8 -- Unix time
);

-- What was answered to requests that may be sent again, of conditional writes only. Their ids are digests, spread over all ranges.
CREATE TABLE answered (
    request_id BYTEA PRIMARY KEY,
    at_ms INT8 NOT NULL, -- Unix time of the version of the mutation that it was given to
    outcome TEXT NOT NULL -- JSON: verdict, version, whether the key existed
);
