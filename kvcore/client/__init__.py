"""The Python client: `Client`, and `AsyncClient` for asyncio, with the same methods.

::

    from kvcore.client import Client

    with Client("http://127.0.0.1:8000") as client:
        client.put("greeting", "hello", ttl_s=60)
        value = client.get("greeting")
        print(value.json() if value else "gone")

Errors are those of `kvcore.errors`.
"""

from __future__ import annotations

from kvcore.client._batches import Delete, Get, Operation, Put, Result
from kvcore.client._calls import Ack
from kvcore.client._clients import AsyncClient, Client
from kvcore.client._retrying import Retries
from kvcore.client._values import CacheStats, Health, Limits, Listed, NodeCacheStats, Tier, Value, Written

__all__ = (
    "Ack",
    "AsyncClient",
    "CacheStats",
    "Client",
    "Delete",
    "Get",
    "Health",
    "Limits",
    "Listed",
    "NodeCacheStats",
    "Operation",
    "Put",
    "Result",
    "Retries",
    "Tier",
    "Value",
    "Written",
)
