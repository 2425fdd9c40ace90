#!/bin/sh
# Makes an authority and what it signs, where there is none yet: one certificate that all nodes show, and one for the SQL user root,
# with which the cluster is made. Each reader has a volume with what it needs: nodes never see root's key, kvcore sees no key.
# https://www.cockroachlabs.com/docs/stable/cockroach-cert: a folder has ca.crt beside node.crt or client.root.crt; keys have mode 0600.
set -eu
umask 077

authority="--ca-key=/authority/ca.key"
[ -e /authority/ca.key ] || cockroach cert create-ca --certs-dir=/authority "$authority"

for folder in /nodes /root-client /ca; do
    cp /authority/ca.crt "$folder/ca.crt"
    chmod 644 "$folder/ca.crt"
done
chmod 755 /ca # for kvcore, which is not root

[ -e /nodes/node.key ] ||
    cockroach cert create-node cockroach-1 cockroach-2 cockroach-3 localhost 127.0.0.1 --certs-dir=/nodes "$authority"
[ -e /root-client/client.root.key ] || cockroach cert create-client root --certs-dir=/root-client "$authority"
