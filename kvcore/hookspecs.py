"""The hooks: what a plugin can give to kvcore.

A plugin is a module (or object) named by an entry point in the group `kvcore.plugins`, with functions marked
`@hookimpl`. Hooks are called at start-up, once per process that needs them, never for a request. They only register:
they must not open, connect or wait, and are never `async`. None, or an empty list, gives nothing. An exception is a
start-up error that names the plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import typer

    from kvcore.access import Authentication
    from kvcore.backends import Cache, Factory, Queue, Store
    from kvcore.model import Mutation
    from kvcore.tracing import Tracing

__all__ = ("PROJECT", "hookimpl")

PROJECT = "kvcore"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def kvcore_caches() -> Iterable[Factory[Cache]]:  # type: ignore[empty-body]  # a specification has no body
    """Give cache backends. Called before the configuration is read, since each brings settings of its own."""


@hookspec
def kvcore_queues() -> Iterable[Factory[Queue]]:  # type: ignore[empty-body]  # a specification has no body
    """Give queue backends. Called before the configuration is read, since each brings settings of its own."""


@hookspec
def kvcore_stores() -> Iterable[Factory[Store]]:  # type: ignore[empty-body]  # a specification has no body
    """Give store backends. Called before the configuration is read, since each brings settings of its own."""


@hookspec
def kvcore_authenticate() -> Iterable[Authentication]:  # type: ignore[empty-body]  # a specification has no body
    """Give ways to authenticate, of which `auth.mode` chooses one by name, in place of kvcore's own tokens.

    Called before the configuration is read, since each brings settings of its own. One that reads a file again when it has
    changed says so when that fails: see `Authentication`.
    """


@hookspec
def kvcore_tracers() -> Iterable[Tracing]:  # type: ignore[empty-body]  # a specification has no body
    """Give ways to export traces, of which `tracing.exporter` chooses one by name.

    Called before the configuration is read, since each brings settings of its own.
    """


@hookspec
def kvcore_routes() -> Iterable[Any]:  # type: ignore[empty-body]  # a specification has no body
    """Give Litestar route handlers, served beside those of kvcore. Called when an HTTP application is built.

    A handler's errors become problem documents like all others. A path that kvcore has itself is a start-up error.
    A path of more than 1,024 characters gets 404 and never comes here. The head of an answer goes out with the first part
    of its body: a stream of events shows nothing before its first event.
    """


@hookspec
def kvcore_commands() -> Iterable[typer.Typer]:  # type: ignore[empty-body]  # a specification has no body
    """Give command groups for `kvctl`: Typer applications with a `name`.

    Called when `kvctl` is asked for the list of its commands, or for one that is not its own; no other command loads plugins
    for this. A name that `kvctl` or another plugin has already is an error then.
    """


@hookspec
def kvcore_applied() -> Callable[[Sequence[Mutation]], None] | None:
    """Give a function that is called with what was just applied to the store, at least once for each mutation.

    Called when a node or worker starts. The function runs in the node's event loop after each bulk call, so it must
    return at once; what it raises is logged and changes nothing. It sees what this process applied, in the order in
    which it did.
    """
