INSERT INTO kvcore_migrations (name)
VALUES (%(name)b::text)
ON CONFLICT (name) DO NOTHING
RETURNING name;
