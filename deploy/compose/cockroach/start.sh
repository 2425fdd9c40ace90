#!/bin/sh
# Starts one node. It waits for the others, and the first time for init.sh, however long that takes.
set -eu
exec cockroach start \
    --certs-dir=/certs \
    --store=/cockroach/cockroach-data \
    --advertise-addr="$(hostname)" \
    --join=cockroach-1,cockroach-2,cockroach-3 \
    --cache=384MiB --max-sql-memory=384MiB \
    --log='sinks: {stderr: {filter: WARNING}}'
