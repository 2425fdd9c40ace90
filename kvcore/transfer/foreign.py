"""What `etcdctl get --prefix "" -w json` and `consul kv export` write: one record each, as an item.

Both keep opaque bytes, in base64. etcd's keys are bytes too; those of kvcore are text.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kvcore.transfer.lines import Item, UnreadableError

__all__ = ("consul_item", "etcd_item")


class EtcdRecord(msgspec.Struct, frozen=True, gc=False):
    """A key of etcd. What is empty or 0 is left out; revisions say nothing outside of their cluster."""

    key: bytes
    value: bytes = b""
    lease: int = 0


class ConsulRecord(msgspec.Struct, frozen=True, gc=False):
    """A key of Consul; the flags are 64 bits that mean something to its clients alone."""

    key: str
    value: bytes | None
    flags: int = 0


_etcd: Final = msgspec.json.Decoder(EtcdRecord).decode
_consul: Final = msgspec.json.Decoder(ConsulRecord).decode


def etcd_item(record: bytes, media_type: str) -> Item:
    """Return the key that a record of etcd holds.

    Raises:
        UnreadableError: it holds none, or one that is not text.
    """
    try:
        read = _etcd(record)
        key = read.key.decode()
    except UnicodeDecodeError:
        raise UnreadableError("the key is not UTF-8, and keys of kvcore are text") from None
    except msgspec.MsgspecError as error:
        raise UnreadableError(str(error)) from None
    return Item(key, read.value, media_type, dropped="leases" if read.lease else "")


def consul_item(record: bytes, media_type: str) -> Item:
    """Return the key that a record of Consul holds.

    Raises:
        UnreadableError: it holds none.
    """
    try:
        read = _consul(record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableError(str(error)) from None
    return Item(read.key, read.value or b"", media_type, dropped="flags" if read.flags else "")
