UPDATE kvcore_migrations
SET pinged_at = clock_timestamp()
WHERE name = '0001_migrations'
RETURNING version();
