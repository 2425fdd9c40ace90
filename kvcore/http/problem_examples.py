"""An example of each problem that an operation can answer with: its `detail`, and the members that it has beyond those of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kvcore.http.problems import PROBLEMS

__all__ = ("example_of",)

_DETAILS: Final[Mapping[str, str]] = {
    "malformed-http": "the request line is not one of HTTP/1.1",
    "invalid-request": "a write takes one condition: If-Match or If-None-Match",
    "invalid-json": "a member of an object is given twice",
    "invalid-key": "a key is 1 byte or longer and holds no NUL",
    "rejected-by-store": "the store refuses this write: the row is too large",
    "unauthenticated": "this needs a token that is known here: send one as `Authorization: Bearer …`",
    "forbidden": "the token does not allow this; ask for one with the scope and the key prefix that it needs",
    "key-not-found": "the key does not exist",
    "no-such-dead-letter": "the queue lists no dead letter of this id",
    "no-such-resource": "there is nothing at this path; /docs of a node lists what there is",
    "method-not-allowed": "this path takes GET, HEAD and OPTIONS",
    "not-json": "the value has the media type image/png, not application/json: read it as /kv/{key}",
    "request-timeout": "the body of the request takes too long",
    "condition-failed": "the key is not as the condition wants it: it has version 019ab3f2c4d80000a1b2c3d4",
    "body-too-large": "the body is larger than 8388608 bytes",
    "value-too-large": "the value has 1048577 bytes, and at most 1048576 are allowed",
    "key-too-long": "the key has 70000 bytes, and at most 65536 are allowed",
    "unknown-host": "this node does not answer under this name: add it to http.hosts",
    "answer-too-large": "the values read by a batch are at most 8388608 bytes together: read this one by itself",
    "unsupported-encoding": "the body is sent with Content-Encoding gzip: send it plain",
    "unsupported-media-type": "send it with Content-Type: application/json",
    "rate-limited": "this token sends too many requests",
    "header-too-large": "the request's head is larger than 262144 bytes",
    "internal": "a fault of this service; its log has it under 7f3c1a525c0e4f0a9a530b7c2f6d1e11",
    "unsupported": "the store cannot list its keys: choose a store that can",
    "unavailable": "the write got no answer in time; sending it again is safe",
    "overloaded": "too many requests are waiting: try again",
    "version-not-reached": "the key has not reached version 019ab3f2c4d80000a1b2c3d4 within 0.5 s: try again, or wait longer",
    "clock-skew": "the clock of this node is 12.5 s behind: writes are refused until it is right",
    "draining": "this process is stopping",
}
_MEMBERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "condition-failed": {"version": "019ab3f2c4d80000a1b2c3d4"},
    "body-too-large": {"limit_bytes": 8_388_608},
    "value-too-large": {"limit_bytes": 1_048_576},
    "key-too-long": {"limit_bytes": 65_536},
    "rate-limited": {"outcome": "not-applied"},
    "unavailable": {"outcome": "unknown"},
    "overloaded": {"outcome": "not-applied"},
    "version-not-reached": {"outcome": "not-applied"},
    "clock-skew": {"outcome": "not-applied"},
}


def example_of(name: str) -> dict[str, Any]:
    """Return a problem document of this type."""
    type_ = PROBLEMS[name]
    told = {"type": type_.uri, "title": type_.title, "status": type_.status, "detail": _DETAILS[name]}
    return {**told, **_MEMBERS.get(name, {})}
