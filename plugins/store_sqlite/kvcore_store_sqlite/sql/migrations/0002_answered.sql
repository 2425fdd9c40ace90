-- What was answered to requests that may be sent again, of conditional writes only.
CREATE TABLE answered (
    request_id BLOB NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL, -- Unix time in milliseconds of the version of the mutation that it was given to
    outcome TEXT NOT NULL -- JSON: verdict, version, whether the key existed
) STRICT, WITHOUT ROWID;

-- What a purge looks for.
CREATE INDEX answered_by_time ON answered (at);
