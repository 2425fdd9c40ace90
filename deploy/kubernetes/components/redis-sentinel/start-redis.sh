#!/bin/sh
# Starts a Redis server as a replica of whom the Sentinels take for the master; as the master if that is this one. While no
# Sentinel answers, which is at the first start of all, redis-0 is the master. If that is wrong, the Sentinels correct it, and until
# then it takes no writes, since it has no replicas (min-replicas-to-write).
set -eu

password=$(cat /run/secrets/redis/password)
self=$(hostname).redis

master_by() {
    REDISCLI_AUTH=$password timeout 2 redis-cli -h "$1" -p 26379 SENTINEL GET-MASTER-ADDR-BY-NAME kvcore 2>/dev/null | head -n 1
}

master=redis-0.redis
for number in 0 1 2; do
    found=$(master_by "redis-sentinel-$number.redis-sentinel")
    case $found in
    redis-*.redis)
        master=$found
        break
        ;;
    esac
done

umask 077
{
    echo "include /etc/redis/redis.conf"
    echo "requirepass $password"
    echo "masterauth $password"
    # By name: the address of a pod does not outlive it.
    echo "replica-announce-ip $self"
    [ "$master" = "$self" ] || echo "replicaof $master 6379"
} >/data/redis.conf
exec redis-server /data/redis.conf
