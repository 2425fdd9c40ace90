#!/bin/sh
# Starts a Redis server or a Sentinel: start.sh server|sentinel. Their configuration is written anew at each start, into memory, since
# it has the password in it and is rewritten while they run. What they must know of before, they ask the Sentinels that are there.
#
# A Sentinel that starts again has forgotten whom it voted for. So a failover at that moment may be followed by a second one: no harm to
# kvcore, which takes a master for an empty cache and asks all Sentinels for the newest.
set -eu
umask 077
password=$(cat /run/secrets/redis_password)
export REDISCLI_AUTH="$password"

address_of() {
    getent hosts "$1" | { read -r address _ && echo "$address"; }
}

# Print the address of the master; at the first start there is nobody to ask, and it is redis-1.
master() {
    for sentinel in sentinel-1 sentinel-2 sentinel-3; do
        said=$(timeout 2 redis-cli -h "$sentinel" -p 26379 sentinel get-master-addr-by-name kvcore 2>/dev/null | head -n 1)
        case $said in
        [0-9]*.*.*.*) echo "$said" && return ;;
        esac
    done
    address_of redis-1
}

server() {
    cat /etc/kvcore-redis/redis.conf
    echo "requirepass $password"
    echo "masterauth $password"
    master=$(master)
    [ "$master" = "$(address_of "$(hostname)")" ] || echo "replicaof $master 6379"
}

sentinel() {
    echo 'port 26379'
    echo 'dir /tmp'
    echo "requirepass $password"
    echo "sentinel sentinel-pass $password"
    echo "sentinel monitor kvcore $(master) 6379 2"
    echo "sentinel auth-pass kvcore $password"
    echo 'sentinel down-after-milliseconds kvcore 1500'
    echo 'sentinel failover-timeout kvcore 10000'
    echo 'sentinel parallel-syncs kvcore 2'
}

"$1" >"/tmp/$1.conf"
case $1 in
server) exec redis-server /tmp/server.conf ;;
sentinel) exec redis-server /tmp/sentinel.conf --sentinel ;;
esac
