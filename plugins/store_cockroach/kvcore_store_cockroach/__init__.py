"""The store of kvcore on CockroachDB, or on PostgreSQL."""
