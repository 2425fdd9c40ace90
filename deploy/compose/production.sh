#!/bin/sh
# What `./start.sh production [down]` does: production.sh [up|down]. docs/deployment/compose.md tells about it.
# Variables are those of .env; COMPOSE_FILE chooses the database.
set -eu

fail() {
    echo "start.sh: $*" >&2
    exit 1
}

say() {
    echo "start.sh: $*" >&2
}

cd -- "$(dirname -- "$0")"

# Print a variable: of the environment, else of .env.
setting() {
    eval "set -- \"$1\" \"\${$1-}\""
    if [ -n "$2" ]; then
        echo "$2"
    else
        sed -n "s/^$1=//p" .env
    fi
}

find_docker() {
    command -v docker >/dev/null || fail "needs Docker, see https://docs.docker.com/engine/install/ (on Debian: apt install docker.io docker-compose)"
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
        fail "no Docker engine answers$(docker version 2>&1 >/dev/null | sed 's/\. Is the docker daemon running?$//;s/.*/ (&)/;q'): start it, such as by systemctl start docker, as somebody who may use it"
    if docker compose version >/dev/null 2>&1; then
        compose='docker compose'
    elif docker-compose version >/dev/null 2>&1; then
        compose=docker-compose
    else
        fail "needs Docker Compose: the plugin of Docker, or docker-compose 1.29 (on Debian: apt install docker-compose)"
    fi
}

# Make a secret that nobody needs to remember, if it is not there: $1 in secrets/.
make_secret() {
    [ -s "secrets/$1" ] && return
    od -An -v -N 24 -t x1 /dev/urandom | tr -d ' \n' >"secrets/$1.new"
    chmod 444 "secrets/$1.new"
    mv "secrets/$1.new" "secrets/$1"
}

# Only the owner of the folder gets into it. A container gets single files of it, as a user that has another number than the owner
# and is not known before: so the files themselves can be read by everybody who gets that far.
make_secrets() {
    mkdir -p secrets
    chmod 700 secrets
    for name in redis_password rabbitmq_password erlang_cookie database_password grafana_password; do
        make_secret "$name"
    done
}

# Make the first token of the API with the image, if there is no file of tokens.
make_token() {
    if [ -s secrets/tokens/tokens.toml ]; then
        [ -s secrets/api_token ] || fail "$PWD/secrets/api_token is missing, which the smoke tests use: put a token for reading and writing there"
        return
    fi
    rm -rf secrets/new # what an interrupted start has left
    mkdir -p secrets/new secrets/tokens
    chmod 755 secrets/tokens
    docker run --rm --network none --user "$(id -u):$(id -g)" --volume "$PWD/secrets/new:/new" "kvcore:$(setting KVCORE_VERSION)" \
        token create start --scope read --scope write --file /new/tokens.toml >secrets/new/api_token || fail "no token could be made, see above"
    chmod 444 secrets/new/api_token secrets/new/tokens.toml
    mv secrets/new/api_token secrets/api_token
    mv secrets/new/tokens.toml secrets/tokens/tokens.toml
    rmdir secrets/new
}

# Print the containers as: name, tab, status.
containers() {
    docker ps --all --filter "label=com.docker.compose.project=$(setting COMPOSE_PROJECT_NAME)" --format '{{.Names}}	{{.Status}}'
}

# Of these, the ones that are neither healthy nor jobs that have ended well.
not_ready() {
    containers | grep -v -e '(healthy)' -e '	Exited (0) '
}

# Show the last lines of what has failed, or keeps others waiting; then give up.
give_up() {
    not_ready | grep -v '	Created' | while IFS='	' read -r name status; do
        say "$name: $status. Its last lines:"
        docker logs --tail 20 "$name" 2>&1 | sed 's/^/    /' >&2
    done
    fail "$1; what runs goes on. ./start.sh production down ends it"
}

wait_until_ready() {
    waited=0
    while waiting=$(not_ready); do
        if echo "$waiting" | grep -q -e 'unhealthy' -e '	Exited ([1-9]' -e 'Restarting'; then
            give_up "not everything works"
        fi
        [ "$waited" -lt 300 ] || give_up "not everything is ready after 5 minutes"
        [ $((waited % 10)) -ne 0 ] || say "waiting for $(echo "$waiting" | cut -f 1 | tr '\n' ' ')"
        sleep 2 # between two looks
        waited=$((waited + 2))
    done
}

print_endpoints() {
    case $(setting COMPOSE_FILE) in
    *tls*) url=https://$(setting KVCORE_TLS_NAME):$(setting KVCORE_TLS_PORT) ;;
    *) url=http://127.0.0.1:$(setting KVCORE_PORT) ;;
    esac
    cat <<EOF

kvcore           $url/kv  with the token in $PWD/secrets/api_token
web console      $url/
documentation    $url/docs
health           $url/health
RabbitMQ         http://127.0.0.1:$(setting RABBITMQ_CONSOLE_PORT)/  user kvcore, password in secrets/rabbitmq_password
EOF
    case $(setting COMPOSE_FILE) in
    *cockroachdb*) echo "CockroachDB      https://127.0.0.1:$(setting COCKROACHDB_CONSOLE_PORT)/  user kvcore, password in secrets/database_password" ;;
    esac
    cat <<EOF
Prometheus       http://127.0.0.1:$(setting PROMETHEUS_PORT)/
Grafana          http://127.0.0.1:$(setting GRAFANA_PORT)/  user admin, password in secrets/grafana_password

./start.sh production down   ends it; what is stored is kept
EOF
}

up() {
    find_docker
    make_secrets
    say "building the image"
    $compose build >&2 || fail "the image could not be built, see above"
    make_token
    say "starting, which takes a minute or two"
    $compose up --detach --remove-orphans >&2 || give_up "not everything could be started, see above"
    wait_until_ready
    say "smoke tests, through NGINX"
    $compose run --rm smoke-test >&2 || give_up "a smoke test has failed, see above"
    print_endpoints
}

down() {
    find_docker
    $compose down --remove-orphans >&2
    say "what was stored is kept in Docker's volumes. To remove it for good: cd $PWD && $compose down --volumes"
}

usage='usage: ./start.sh production [down]'
[ $# -le 1 ] || fail "$usage"
case ${1:-up} in
up | down) "${1:-up}" ;;
-h | --help) echo "$usage" ;;
*) fail "$usage" ;;
esac
