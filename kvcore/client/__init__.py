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

from kvcore.client._admin import Admin, AsyncAdmin
from kvcore.client._admin_values import Backend, BrokenPlugin, Channel, DeadLetter, Plugin, Plugins, QueueStats, Setting
from kvcore.client._batches import Delete, Get, Operation, Put, Result
from kvcore.client._calls import Ack, Page
from kvcore.client._clients import AsyncClient, Client
from kvcore.client._restoring import Restore, Restored
from kvcore.client._retrying import Retries
from kvcore.client._values import CacheStats, Health, Limits, Listed, NodeCacheStats, Tier, Value, Written

__all__ = (
    "Ack",
    "Admin",
    "AsyncAdmin",
    "AsyncClient",
    "Backend",
    "BrokenPlugin",
    "CacheStats",
    "Channel",
    "Client",
    "DeadLetter",
    "Delete",
    "Get",
    "Health",
    "Limits",
    "Listed",
    "NodeCacheStats",
    "Operation",
    "Page",
    "Plugin",
    "Plugins",
    "Put",
    "QueueStats",
    "Restore",
    "Restored",
    "Result",
    "Retries",
    "Setting",
    "Tier",
    "Value",
    "Written",
)
