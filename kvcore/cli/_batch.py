"""The command that does many operations: `batch`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import typer

from kvcore.cli._connection import READ_FIRST, SEND_AGAIN, Ack, TokenFile, Url, connected, told
from kvcore.cli._output import ExitCode, Progress, note, show, value_members
from kvcore.environment import LOCAL_URL
from kvcore.errors import ConditionFailedError, KvcoreError, RequestError, UnavailableError

if TYPE_CHECKING:
    from kvcore.client import Operation, Result

__all__ = ("batch",)

AT_ONCE: Final = 1000
"""Operations whose results are shown together: as many as go into one request."""
_IF_UNKNOWN: Final = f"{SEND_AGAIN}, but for operations with a condition and no idempotency_key: read their keys first"
"""What to do when a whole request has failed."""


def batch(
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="'-' reads them from stdin.")],
    ack: Ack = None,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
) -> None:
    """Do the operations of a file, one JSON object a line, and print the result of each as a line of JSON.

    They are those of POST /batch: "op" is put (with "value" or "value_base64", and "media_type", "ttl", "if_match",
    "if_none_match", "idempotency_key" as needed), get or delete (with "if_match", "idempotency_key" as needed). They go out
    1,000 at a time, are not atomic together, and those on one key are done in their order. A line that is no operation ends
    it: what stands before it in the same 1,000 is not done. Exit code 1: some operation failed.

    \b
    kvctl batch operations.jsonl
    echo '{"op": "put", "key": "greeting", "value": "hello"}' | kvctl batch -
    """
    failed = done = 0
    with ExitStack() as stack:
        lines = enumerate(stack.enter_context(_opened(file)), start=1)
        client = stack.enter_context(connected(url, token_file, if_unknown=_IF_UNKNOWN))
        progress = stack.enter_context(Progress("operations"))
        while operations := list(_operations(islice(lines, AT_ONCE))):
            for operation, result in zip(operations, client.batch(operations, ack=ack), strict=True):
                show(_members(operation, result), "", as_json=True)
                failed += isinstance(result, KvcoreError)
            done += len(operations)
            if not sys.stdout.isatty():  # where the results themselves show how far it is
                progress.at(done)
    if failed:
        note(f"{failed} of {done} operations failed")
        raise typer.Exit(ExitCode.FAILED)


def _opened(file: str) -> IO[bytes]:
    if file == "-":
        return sys.stdin.buffer
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise typer.BadParameter(f"cannot read it: {error}", param_hint="FILE") from None


def _operations(lines: Iterable[tuple[int, bytes]]) -> Iterator[Operation]:
    import msgspec

    from kvcore.cli._operations import operation_of

    for number, line in lines:
        if line.strip():
            try:
                yield operation_of(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, RequestError) as error:
                raise RequestError(f"line {number} is no operation: {error}") from None


def _members(operation: Operation, result: Result) -> dict[str, Any]:
    from kvcore.client import Value, Written

    members: dict[str, Any] = {"op": type(operation).__name__.lower(), "key": operation.key}
    if isinstance(result, Written):
        members |= {"version": result.version, "detail": "stored" if result.stored else "queued"}
        return members | ({"created": True} if result.created else {})
    if isinstance(result, Value):
        return members | value_members(result)
    if result is None:
        return members | {"detail": "the key does not exist"}
    members["error"] = told(result, if_unknown=READ_FIRST if _is_nameless(operation) else SEND_AGAIN)
    if isinstance(result, UnavailableError):
        members["outcome"] = result.outcome
    if isinstance(result, ConditionFailedError):
        members["version"] = result.version
    return members


def _is_nameless(operation: Operation) -> bool:
    """Tell whether this is a conditional write without an idempotency key."""
    is_conditional = getattr(operation, "if_match", None) is not None or getattr(operation, "if_absent", False)
    return is_conditional and not getattr(operation, "idempotency_key", None)
