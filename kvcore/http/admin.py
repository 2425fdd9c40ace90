"""`/admin/…`: what the node runs on, clearing the cache, and purging the store. Its other parts have modules of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from kvcore.administration import Administration
from kvcore.http.admin_queue import queue_handlers
from kvcore.http.admin_requests import (
    ANSWER_HEADERS,
    CHANGING_PROBLEMS,
    TAGS,
    Nothing,
    audited,
    checked_body,
    checked_query,
)
from kvcore.http.admin_restore import restore_handlers
from kvcore.http.answers import NO_STORE, json_answer
from kvcore.http.forms import NoQuery
from kvcore.http.openapi import DescribedAnswer, described
from kvcore.http.requests import AnyRequest, parse_json
from kvcore.plugins import Broken, LoadedPlugin, Plugins
from kvcore.runtime import Node

__all__ = ("admin_handlers",)


class Setting(msgspec.Struct, frozen=True):
    """A setting in force, by its path; `source` tells where the value comes from. Of a secret neither value nor length is told."""

    setting: str
    value: Any
    source: str


class SettingsInForce(msgspec.Struct, frozen=True):
    """Every setting."""

    data: Sequence[Setting]


class InstalledPlugins(msgspec.Struct, frozen=True):
    """The plugins that the node has loaded, and those that it could not."""

    data: Sequence[LoadedPlugin]
    broken: Sequence[Broken]


class Cleared(msgspec.Struct, frozen=True):
    """The cache is empty."""

    detail: Literal["cleared"]


class PurgedPortion(msgspec.Struct, frozen=True):
    """How much was removed, and whether there may be more."""

    removed: int
    more: bool


class Purged(msgspec.Struct, frozen=True):
    """What came of a portion of a purge."""

    data: PurgedPortion


_NOTHING: Final = msgspec.json.Decoder(Nothing)


def admin_handlers(node: Node, plugins: Plugins) -> list[HTTPRouteHandler]:
    """Return the handlers of `/admin/…` over a node and the plugins that it has loaded."""
    administration = node.administration
    return [
        *_node_handlers(node, plugins),
        *_upkeep_handlers(administration, node.settings.limits.batch_bytes),
        *queue_handlers(administration, node.settings.limits.batch_bytes),
        *restore_handlers(node.service, node.settings.limits),
    ]


def _node_handlers(node: Node, plugins: Plugins) -> list[HTTPRouteHandler]:
    """Return the handlers that tell what the node runs on."""

    @get(
        "/admin/config",
        operation_class=described(
            query=NoQuery,
            answers={
                200: DescribedAnswer(
                    "Every setting in force, by its path, those of the chosen backends included; secrets are hidden.",
                    {"data": [{"setting": "cache.ttl_s", "value": 3600.0, "source": "default"}]},
                    SettingsInForce,
                    headers=ANSWER_HEADERS,
                )
            },
        ),
        operation_id="getConfig",
        summary="The settings in force",
        tags=TAGS,
    )
    async def get_config(request: AnyRequest) -> ASGIApp:
        checked_query(request, NoQuery)
        sources = node.resolved.sources
        flat = node.resolved.flat().items()
        return json_answer(
            SettingsInForce([Setting(path, value, sources.get(path, "default")) for path, value in flat]), NO_STORE
        )

    @get(
        "/admin/plugins",
        operation_class=described(
            query=NoQuery,
            answers={
                200: DescribedAnswer(
                    "The plugins that are installed: what they give, what their backends can do, and which are broken, and why.",
                    _PLUGINS,
                    InstalledPlugins,
                    headers=ANSWER_HEADERS,
                )
            },
        ),
        operation_id="getPlugins",
        summary="The plugins",
        tags=TAGS,
    )
    async def get_plugins(request: AnyRequest) -> ASGIApp:
        checked_query(request, NoQuery)
        return json_answer(InstalledPlugins(plugins.listing(), plugins.broken), NO_STORE)

    return [get_config, get_plugins]


def _upkeep_handlers(administration: Administration, body_bytes: int) -> list[HTTPRouteHandler]:
    """Return the handlers that clear and purge."""

    @post(
        "/admin/cache/clear",
        status_code=200,
        operation_class=described(
            query=NoQuery,
            body=Nothing,
            example={},
            answers={
                200: DescribedAnswer(
                    "All that was cached when this began is forgotten, on every node that shares the cache. Reads fill it again.",
                    {"detail": "cleared"},
                    Cleared,
                    headers=ANSWER_HEADERS,
                )
            },
            problems=(*CHANGING_PROBLEMS, "unavailable"),
        ),
        operation_id="clearCache",
        summary="Clear the cache",
        tags=TAGS,
    )
    async def clear_cache(request: AnyRequest) -> ASGIApp:
        parse_json(await checked_body(request, body_bytes), _NOTHING)
        with audited(request, "clear the cache"):
            await administration.clear_cache()
        return json_answer(Cleared("cleared"), NO_STORE)

    @post(
        "/admin/purge",
        status_code=200,
        operation_class=described(
            query=NoQuery,
            body=Nothing,
            example={},
            answers={
                200: DescribedAnswer(
                    "One portion of what is older than `store.tombstone_retention_s` is removed: deletes, what has expired, and"
                    " remembered answers. Go on while there is more.",
                    {"data": {"removed": 1000, "more": True}},
                    Purged,
                    headers=ANSWER_HEADERS,
                )
            },
            problems=(*CHANGING_PROBLEMS, "unavailable"),
        ),
        operation_id="purgeStore",
        summary="Remove what need not be remembered",
        tags=TAGS,
    )
    async def purge_store(request: AnyRequest) -> ASGIApp:
        parse_json(await checked_body(request, body_bytes), _NOTHING)
        with audited(request, "purge the store") as audit:
            purged = await administration.purge()
            audit.came_to = f"{purged.removed} removed"
        return json_answer(Purged(PurgedPortion(purged.removed, purged.more)), NO_STORE)

    return [clear_cache, purge_store]


_PLUGINS: Final = {
    "data": [
        {
            "name": "store-sqlite",
            "distribution": "kvcore-store-sqlite 0.1.0",
            "backends": [{"kind": "store", "name": "sqlite", "abilities": ["durable", "listing"]}],
            "hooks": ["kvcore_commands", "kvcore_stores"],
        }
    ],
    "broken": [
        {"name": "mine", "distribution": "mine 1.0", "reason": "ModuleNotFoundError: No module named 'missing'"}
    ],
}
