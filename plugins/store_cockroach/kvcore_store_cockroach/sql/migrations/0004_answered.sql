-- What was answered to requests that may be sent again, of conditional writes only. Their ids are digests, spread over all ranges.
CREATE TABLE IF NOT EXISTS answered (
    request_id BYTEA PRIMARY KEY,
    at_ms INT8 NOT NULL, -- Unix time of the version of the mutation that it was given to
    outcome TEXT NOT NULL -- JSON: verdict, version, whether the key existed
);
