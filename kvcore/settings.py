"""The settings of the core: what there is to set, of which type, and the defaults.

A node's parts take the Struct that concerns them. `kvcore.config` puts the values together.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from kvcore.backends import MAX_KEY_BYTES
from kvcore.tokens import Token

__all__ = (
    "DEFAULT_PROFILE",
    "NO_QUEUE",
    "OPEN",
    "OWN_TOKENS",
    "PROFILES",
    "AuthSettings",
    "CacheSettings",
    "ClockSettings",
    "HttpSettings",
    "LimitSettings",
    "LogSettings",
    "QueueSettings",
    "Settings",
    "StoreSettings",
    "TierSettings",
    "TracingSettings",
    "WorkerSettings",
)

PROFILES: Final = ("memory", "embedded", "production")
DEFAULT_PROFILE: Final = "embedded"
NO_QUEUE: Final = "none"
"""`queue.backend` of a node that writes to the store itself."""
OPEN: Final = "none"
"""`auth.mode` of a node that asks nobody for a token."""
OWN_TOKENS: Final = "tokens"
"""`auth.mode` of a node that asks for tokens of kvcore's own."""

_LONGEST_S: Final = 100 * 366 * 86_400.0
"""A hundred years. What is longer, infinity above all, overflows where times are counted in whole milliseconds."""
Seconds = Annotated[float, Meta(gt=0, le=_LONGEST_S)]
Count = Annotated[int, Meta(ge=1)]
Patience = Annotated[float, Meta(ge=1, le=_LONGEST_S)]
"""Seconds that a client may take. They are looked at once a second."""
Rate = Annotated[float, Meta(gt=0, le=1e6)]


class ClockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The clock that stamps versions."""

    max_ahead_s: Annotated[
        Seconds,
        Meta(
            description="How far versions may run ahead of this node's clock. Beyond it writes are refused: a clock is wrong."
        ),
    ] = 60.0


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a request may weigh."""

    max_key_bytes: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_KEY_BYTES,
            description="Longest key, in bytes of UTF-8. The store's own limit applies where it is lower.",
        ),
    ] = MAX_KEY_BYTES
    max_value_bytes: Annotated[
        int,
        Meta(
            ge=65_536,
            le=1 << 30,
            description="Largest value, in bytes. The store's own limit applies where it is lower.",
        ),
    ] = 1 << 20
    batch_operations: Annotated[Count, Meta(description="Most operations of one batch.")] = 1000
    batch_bytes: Annotated[Count, Meta(description="Largest body of one batch, in bytes.")] = 8 << 20
    page_bytes: Annotated[
        Count,
        Meta(
            description="About the most bytes of keys and values in one page of a listing, or of values read by one batch, unless"
            " one alone is larger."
        ),
    ] = 8 << 20
    write_deadline_s: Annotated[
        Seconds, Meta(description="After this time a write that has no answer yet is answered 503, outcome unknown.")
    ] = 2.0
    read_deadline_s: Annotated[
        Seconds,
        Meta(
            description="After this time a read that has no answer yet, and does not wait for a version, is answered 503."
        ),
    ] = 2.0
    token_rate_per_s: Annotated[
        Rate | None,
        Meta(description="Requests per second that each token may send; more are answered 429. Not set: any number."),
    ] = None
    token_burst: Annotated[
        Count | None,
        Meta(description="How many it may send at once after a pause. Not set: what a second allows, at least 1."),
    ] = None
    address_rate_per_s: Annotated[
        Rate | None,
        Meta(
            description="Requests per second that each address may send, an IPv6 network of 64 bits being one; more are answered"
            " 429. Not set: any number."
        ),
    ] = None
    address_burst: Annotated[
        Count | None,
        Meta(description="How many it may send at once after a pause. Not set: what a second allows, at least 1."),
    ] = None
    concurrent_requests: Annotated[Count, Meta(description="Requests served at once; more are answered 503.")] = 1000
    connections: Annotated[
        Count, Meta(description="Connections open at once; one more is answered 503 and closed.")
    ] = 4096
    buffered_bytes: Annotated[
        Count,
        Meta(
            description="About the most bytes of bodies that are being received, and of answers that clients have not taken yet, all"
            " connections together, unless one alone is larger. Beyond it, who has left the most untaken is cut off; then bodies"
            " are answered 503."
        ),
    ] = 256 << 20


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP server of a node."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")] = 8000
    processes: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Processes that serve the port, each with connections and limits of its own: about as many as the machine has"
            " cores for it. More than one needs a cache, a queue and a store that other processes can use.",
        ),
    ] = 1
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Names by which the node may be asked while it lets everybody in because no tokens are configured, besides"
            " `localhost` and addresses: so no web page can reach it under a name of its own."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses and networks of proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`."
            " The client's address is the last one in it that is not one of these."
        ),
    ] = ()
    head_timeout_s: Annotated[
        Patience, Meta(description="How long the head of a request may take from its first byte; then 408.")
    ] = 10.0
    body_timeout_s: Annotated[
        Patience,
        Meta(description="How long a body may come more slowly than `http.min_bytes_per_s`, or not at all; then 408."),
    ] = 10.0
    send_timeout_s: Annotated[
        Patience,
        Meta(
            description="How long a client may take an answer more slowly than `http.min_bytes_per_s`, or not at all;"
            " then its connection is closed."
        ),
    ] = 30.0
    min_bytes_per_s: Annotated[
        Count, Meta(description="Bytes per second at which a body or an answer may go on for as long as it is.")
    ] = 1024
    keep_alive_s: Annotated[
        Patience,
        Meta(
            description="How long a connection without a request stays open. Longer than load balancers keep theirs, commonly 60 s."
        ),
    ] = 75.0
    drain_s: Annotated[
        float,
        Meta(
            ge=0,
            le=_LONGEST_S,
            description="After SIGTERM: how long the node says that it is not ready, and still serves, so that load balancers notice.",
        ),
    ] = 0.0
    shutdown_s: Annotated[
        Seconds, Meta(description="How long requests in flight may take to end before their connections are closed.")
    ] = 10.0


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is let in. A way to authenticate that a plugin gives has its settings in a table of its own, `[auth.<name>]`."""

    mode: Annotated[
        str | None,
        Meta(
            description="`tokens`: ask for kvcore's own tokens. `none`: let everybody do everything. Or the name of a way that a plugin"
            " gives. Not set: ask for tokens where any are configured; else let everybody who is on this machine in, and listen there only."
        ),
    ] = None
    tokens: Annotated[
        tuple[Token, ...],
        Meta(
            description="Tokens, as `kvctl token create` prints them: tables with name, sha256, scopes, prefixes and expires."
        ),
    ] = ()
    file: Annotated[
        str | None,
        Meta(
            description="File of more of them, as `[[tokens]]`, which `kvctl token` writes; read again within a second when it has changed."
        ),
    ] = None
    open_health: Annotated[
        bool,
        Meta(description="Answer /health without a token. /health/live and /health/ready never ask for one."),
    ] = True
    open_metrics: Annotated[bool, Meta(description="Answer /metrics without a token.")] = True
    open_docs: Annotated[bool, Meta(description="Show /docs, with the description of the API, without a token.")] = True
    open_console: Annotated[
        bool, Meta(description="Show the page at / without a token; what it reads of a node needs one all the same.")
    ] = True


class TierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is common to the three tiers."""

    backend: Annotated[str, Meta(min_length=1, description="Name of the backend; `kvctl plugins` lists them.")]
    deadline_s: Annotated[Seconds, Meta(description="Longest time for one bulk call.")] = 0.8
    failures: Annotated[Count, Meta(description="Failed calls in a row after which the circuit breaker opens.")] = 3
    recovery_s: Annotated[
        Seconds, Meta(description="How long an open circuit breaker waits before it lets one call try again.")
    ] = 0.5
    in_flight: Annotated[Count, Meta(description="Bulk calls of one operation under way at once.")] = 2
    batch: Annotated[Count, Meta(description="Most items in one bulk call.")] = 1000
    batch_bytes: Annotated[
        Count, Meta(description="About the most bytes in one bulk call, unless one item alone is larger.")
    ] = 1 << 20
    waiting: Annotated[
        Count, Meta(description="Most items of one operation that wait for a bulk call; more are refused with 503.")
    ] = 10_000
    waiting_bytes: Annotated[
        Count, Meta(description="About the most bytes that wait for a bulk call; what comes then is refused with 503.")
    ] = 64 << 20


class CacheSettings(TierSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cache tier, and how long its slots live."""

    deadline_s: Annotated[Seconds, Meta(description="Longest time for one bulk call.")] = 0.1
    failures: Annotated[Count, Meta(description="Failed calls in a row after which the circuit breaker opens.")] = 1
    ttl_s: Annotated[Seconds, Meta(description="Lifetime of an entry that the store has.")] = 3600.0
    pending_ttl_s: Annotated[
        Seconds, Meta(description="Lifetime of an entry that was accepted and that the store may not have yet.")
    ] = 86_400.0
    missing_ttl_s: Annotated[Seconds, Meta(description="Lifetime of the knowledge that a key does not exist.")] = 30.0
    lease_ttl_s: Annotated[Seconds, Meta(description="Lifetime of a lease: a fill that takes longer is lost.")] = 10.0
    ttl_jitter: Annotated[
        float,
        Meta(
            ge=0, le=0.5, description="Random part of lifetimes, so that entries filled together do not end together."
        ),
    ] = 0.1


class QueueSettings(TierSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The queue tier; backend "none" means that the node writes to the store itself."""


class StoreSettings(TierSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The store tier, and how long it remembers what was deleted."""

    tombstone_retention_s: Annotated[
        Seconds, Meta(description="How long deleted and expired keys are remembered; longer than any message can wait.")
    ] = 7 * 86_400.0
    purge_interval_s: Annotated[
        Seconds, Meta(description="Time between two purges of what need not be remembered.")
    ] = 3600.0


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The worker, which drains the queue into the store."""

    host: Annotated[
        str,
        Meta(
            min_length=1, description="Address that a worker in a process of its own answers /health and /metrics at."
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port for these; 0 takes a free one.")] = 8001

    in_node: Annotated[
        bool, Meta(description="Run a worker inside the API node too (`kvctl serve --with-worker`).")
    ] = False
    batch: Annotated[Count, Meta(description="Most mutations in one bulk call to the store.")] = 1000
    deadline_s: Annotated[Seconds, Meta(description="Longest time for one bulk call of a worker.")] = 30.0
    backoff_s: Annotated[
        Seconds, Meta(description="First pause after a tier could not be reached; doubles up to 16 times as much.")
    ] = 0.1
    shutdown_s: Annotated[
        Seconds, Meta(description="How long a worker that is stopped may take to finish what it has in hand.")
    ] = 10.0


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a node or worker says on stderr."""

    format: Annotated[
        Literal["auto", "json", "text"],
        Meta(
            description="`json`: one JSON object a line. `text`: lines for people. `auto`: text where stderr is a terminal, else JSON."
        ),
    ] = "text"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least that is worth a line.")
    ] = "info"
    requests: Annotated[
        bool,
        Meta(
            description="Write a line for each request that a node answers, and for each write that a worker has applied: for"
            " finding things out, since it costs about as much as the request."
        ),
    ] = False
    keys: Annotated[
        Literal["hashed", "plain"],
        Meta(
            description="How a line names a key: `hashed`, by the first 16 hex digits of its SHA-256, or `plain`, as it is."
        ),
    ] = "hashed"


class TracingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Spans of what happens to a request. An exporter that a plugin gives has its settings in a table of its own, `[tracing.<name>]`."""

    exporter: Annotated[
        str | None,
        Meta(
            description="The way to export spans that a plugin gives, such as `otel`. Not set: none are made; a `traceparent` is passed on"
            " and logged all the same."
        ),
    ] = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings of the core. Those of a backend stand in a table of its own, `[<kind>.<name>]`."""

    profile: Annotated[str, Meta(description=f"What to start from: {', '.join(PROFILES)}.")] = DEFAULT_PROFILE
    clock: ClockSettings = ClockSettings()
    limits: LimitSettings = LimitSettings()
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    cache: CacheSettings
    queue: QueueSettings
    store: StoreSettings
    worker: WorkerSettings = WorkerSettings()
