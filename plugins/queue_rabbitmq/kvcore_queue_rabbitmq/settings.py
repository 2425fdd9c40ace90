"""What there is to set: `[queue.rabbitmq]`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kvcore.secret import Secret

__all__ = ("RabbitSettings",)

Host = Annotated[str, Meta(pattern=r"^[^/@\s]+:[0-9]{1,5}$")]
Seconds = Annotated[float, Meta(ge=0.05, le=600)]


class RabbitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of the queue "rabbitmq"."""

    hosts: Annotated[
        tuple[Host, ...],
        Meta(min_length=1, description="The nodes of the cluster, each as `host:port`. One that answers is enough."),
    ] = ("127.0.0.1:5672",)
    virtual_host: Annotated[str, Meta(description="The virtual host; it must exist.")] = "/"
    username: Annotated[
        str,
        Meta(
            min_length=1,
            description="Needs permission to configure, write and read the queues `<prefix>.*`, and to write to `amq.default`.",
        ),
    ] = "guest"
    password: Annotated[Secret | None, Meta(description="The user's password. Without one: `guest`.")] = None
    tls: Annotated[bool, Meta(description="Whether to connect by TLS and verify the server's certificate.")] = False
    ca_file: Annotated[
        str, Meta(description="With TLS: the certificates to trust, as a PEM file. Empty: those of the system.")
    ] = ""
    cert_file: Annotated[
        str, Meta(description="With TLS: the certificate to show, as a PEM file, where the servers ask for one.")
    ] = ""
    key_file: Annotated[str, Meta(description="The key of that certificate, where it is in a file of its own.")] = ""
    prefix: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            description="Begins the names of the queues: `<prefix>.writes`, `<prefix>.refreshes` and `<prefix>.dead`.",
        ),
    ] = "kvcore"
    replicas: Annotated[
        int, Meta(ge=1, le=99, description="On how many nodes of the cluster a new queue is kept; an odd number.")
    ] = 3
    max_length: Annotated[
        int,
        Meta(
            ge=1,
            description="Most messages that a queue holds; beyond it writes are refused with 503. A message carries what was "
            "written at the same time: one write at least, some hundreds under load.",
        ),
    ] = 1_000_000
    max_message_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=16 << 20,
            description="About the largest message that writes are joined into. A larger write travels alone.",
        ),
    ] = 512 << 10
    connect_timeout_s: Annotated[
        Seconds, Meta(description="Longest time for connecting to a host; then the next one is tried.")
    ] = 2.0
    heartbeat_s: Annotated[
        Seconds,
        Meta(
            description="How often each connection is tried out; a host that takes longer to answer is left for another one."
        ),
    ] = 1.5
