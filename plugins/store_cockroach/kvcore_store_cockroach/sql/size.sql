-- PostgreSQL only; CockroachDB would have to ask all its nodes.
SELECT pg_total_relation_size('kv') + pg_total_relation_size('answered');
