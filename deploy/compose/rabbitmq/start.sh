#!/bin/bash
# Starts a RabbitMQ node with its secrets where it wants them: the cookie of Erlang in a file that is its own and nobody else can
# read, the password at the end of its configuration, in memory.
set -eu
umask 077
install -m 0400 /run/secrets/erlang_cookie "$HOME/.erlang.cookie"
cp /etc/kvcore-rabbitmq/rabbitmq.conf /tmp/rabbitmq.conf
echo "default_pass = $(cat /run/secrets/rabbitmq_password)" >>/tmp/rabbitmq.conf
export RABBITMQ_CONFIG_FILE=/tmp/rabbitmq.conf
exec rabbitmq-server
