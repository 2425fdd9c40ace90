SELECT
    version(),
    (SELECT count(*) FROM pg_catalog.pg_database WHERE datname = current_database()),
    current_setting('server_encoding');
