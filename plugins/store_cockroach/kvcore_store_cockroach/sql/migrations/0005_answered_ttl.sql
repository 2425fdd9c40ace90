-- As for kv: a help for the purge, long after any retention that makes sense.
ALTER TABLE answered SET (
    ttl_expiration_expression = 'to_timestamp(at_ms::FLOAT8 / 1000 + 31536000)',
    ttl_job_cron = '@daily'
);
