SELECT max(key) FROM kv;
