#!/bin/sh
# Makes one cluster of the nodes, and the database and the user of kvcore. May run again: the password becomes that of the secret.
set -eu

# `init` is refused while the node does not listen yet, and when it was done before.
tries=0
until cockroach init --certs-dir=/certs --host=cockroach-1 2>/tmp/said || grep -q 'already been initialized' /tmp/said; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
        cat /tmp/said >&2
        exit 1
    fi
    sleep 1 # between two tries
done

# By standard input: a command line can be seen by other processes. The password is hexadecimal, so nothing in it needs quoting.
cockroach sql --certs-dir=/certs --host=cockroach-1 <<SQL
CREATE USER IF NOT EXISTS kvcore;
ALTER USER kvcore WITH PASSWORD '$(cat /run/secrets/database_password)';
CREATE DATABASE IF NOT EXISTS kvcore;
GRANT ALL ON DATABASE kvcore TO kvcore;
SQL
