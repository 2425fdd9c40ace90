-- Expired rows are purged after the retention that the nodes are set to. Where the server can do so, it helps, a year
-- after the expiry: long after any retention that makes sense, since it does not know that one.
ALTER TABLE kv SET (
    ttl_expiration_expression = 'to_timestamp(expires_at_ms::FLOAT8 / 1000 + 31536000)',
    ttl_job_cron = '@daily'
);
