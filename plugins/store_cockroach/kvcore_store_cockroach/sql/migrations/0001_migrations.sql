CREATE TABLE IF NOT EXISTS kvcore_migrations (
    name TEXT PRIMARY KEY,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    pinged_at TIMESTAMPTZ -- written by each ping, as proof that the database can be written to
);
