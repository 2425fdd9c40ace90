#!/bin/sh
# Starts a Sentinel. It writes what it knows, and for whom it has voted, into its own configuration, which is therefore on a disk and
# made at the first start only, with the password of that time: `SENTINEL SET` and `CONFIG SET` change it there.
set -eu

password=$(cat /run/secrets/redis/password)
configuration=/data/sentinel.conf

umask 077
if [ ! -s "$configuration" ]; then
    cat >"$configuration.new" <<END
port 26379
dir /data
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $(hostname).redis-sentinel
sentinel announce-port 26379
sentinel monitor kvcore redis-0.redis 6379 2
sentinel auth-pass kvcore $password
sentinel down-after-milliseconds kvcore 1500
sentinel failover-timeout kvcore 10000
sentinel parallel-syncs kvcore 2
requirepass $password
END
    mv "$configuration.new" "$configuration"
fi

# A Sentinel does not start with a name that leads nowhere.
until getent hosts redis-0.redis >/dev/null; do
    sleep 1
done
exec redis-server "$configuration" --sentinel
