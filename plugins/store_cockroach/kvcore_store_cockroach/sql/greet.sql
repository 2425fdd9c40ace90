SELECT
    version(),
    (SELECT count(*) FROM pg_catalog.pg_database WHERE datname = current_database()),
    current_setting('server_encoding'),
    current_setting('in_hot_standby', true); -- PostgreSQL only
