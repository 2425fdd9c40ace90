#!/bin/sh
# Renders conf.d/kvcore.conf and, for docker-compose.tls.yml, tls.conf. From the repository's root, where kvcore is installed:
#   sh deploy/compose/nginx/render.sh
# Further options of `python -m deploy.nginx`, such as --rate 500, go into both.
set -eu
render() {
    python -m deploy.nginx --node api-1:8000 --node api-2:8000 --node api-3:8000 \
        --access-log /dev/stdout --maintenance-file /tmp/kvcore.maintenance "$@"
}
render --listen 8080 --output deploy/compose/nginx/conf.d/kvcore.conf "$@"
render --listen 8443 --redirect-from 8080 --certificate /run/secrets/tls_certificate --key /run/secrets/tls_key \
    --output deploy/compose/nginx/tls.conf "$@"
