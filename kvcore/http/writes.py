"""A put or a delete as a request asks for it, by itself or in a batch, and how the service is asked for it."""

from __future__ import annotations

import hashlib

import msgspec

from kvcore.access import Grant
from kvcore.http.headers import Condition
from kvcore.model import JSON, ZERO
from kvcore.service import Ack, KeyValueService, Written

__all__ = ("Write", "request_id", "write")


class Write(msgspec.Struct, frozen=True, gc=False):
    """A put, or, where `value` is None, a delete. Written as JSON and in the raw form, the same bytes are the same request."""

    key: str
    value: bytes | None
    condition: Condition
    media_type: str = JSON
    ttl_s: int | None = None

    @property
    def creates(self) -> bool:
        """Whether it makes a key that does not exist before, or nothing."""
        return self.value is not None and self.condition.expected == ZERO


async def write(service: KeyValueService, grant: Grant, asked: Write, ack: Ack | None) -> Written:
    """Do what is asked, by somebody who may.

    Raises:
        KvcoreError: what the service raises.
    """
    expected, name = asked.condition.expected, request_id(grant, asked)
    if asked.value is None:
        return await service.delete(asked.key, expected=expected, ack=ack, request_id=name)
    return await service.put(
        asked.key,
        asked.value,
        media_type=asked.media_type,
        ttl_s=asked.ttl_s,
        expected=expected,
        ack=ack,
        request_id=name,
    )


def request_id(grant: Grant, asked: Write) -> bytes:
    """Return what names this request, whenever and to whichever node it is sent; nothing without an Idempotency-Key."""
    name, expected = asked.condition.idempotency_key, asked.condition.expected
    if not name:
        return b""
    what = ("DELETE",) if asked.value is None else ("PUT", asked.value, asked.media_type, asked.ttl_s)
    return hashlib.sha256(msgspec.msgpack.encode((grant.name, name, asked.key, expected, *what))).digest()
