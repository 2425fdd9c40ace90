"""Load the Unicode character database into a node, read all of it back, delete a block, and verify.

Every character that has a name becomes a record: about 140,000, with keys in every script. Start a node, then::

    python examples/unicode_names.py --url http://127.0.0.1:8000

The exit code is 0 only if every record came back as it was written, and the deleted block, and nothing else, is gone.
It needs nothing but Python: httpx would be shorter, and about ten times slower for so many small requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

HIEROGLYPHS: Final = range(0x13000, 0x13430)
"""The block "Egyptian Hieroglyphs", which is deleted and put to the test."""

PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Before a request is sent again."""


# --- the records ------------------------------------------------------------------------------------------------------


def named_characters() -> list[str]:
    """Return every character with a name, in order. Surrogates and NUL have none, so each can be part of a key."""
    return [character for character in map(chr, range(sys.maxunicode + 1)) if unicodedata.name(character, None)]


def key_of(character: str) -> str:
    """Return the key of a character, such as "char/é"."""
    return f"char/{character}"


def record_of(character: str) -> dict[str, Any]:
    """Return what the database says about a character: the value to store."""
    return {
        "code_point": f"U+{ord(character):04X}",
        "name": unicodedata.name(character),
        "category": unicodedata.category(character),
        "bidirectional": unicodedata.bidirectional(character),
        "decomposition": unicodedata.decomposition(character),
        "numeric": unicodedata.numeric(character, None),
        "east_asian_width": unicodedata.east_asian_width(character),
    }


# --- the API ----------------------------------------------------------------------------------------------------------


class ApiError(Exception):
    """The node answered what it should not."""


class Connection:
    """One connection to a node, kept open; one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def put(self, key: str, value: object) -> str:
        """Store any JSON value under a key; return the version that the key has now."""
        _, answer = await self._ask("PUT", "/kv", {"data": {"key": key, "value": value}}, expected=(200, 202))
        version: str = answer["data"]["version"]
        return version

    async def get(self, key: str, min_version: str) -> Any:
        """Return the value of a key; None where there is no such key. What it had before a version is not answered."""
        target = f"/kv?key={quote(key, safe='')}&min_version={min_version}&wait=10000"
        status, answer = await self._ask("GET", target, expected=(200, 404))
        return answer["data"]["value"] if status == 200 else None

    async def delete(self, key: str) -> str:
        """Delete a key; return the version of the delete."""
        _, answer = await self._ask("DELETE", f"/kv?key={quote(key, safe='')}", expected=(200, 202))
        version: str = answer["data"]["version"]
        return version

    async def _ask(
        self, method: str, target: str, document: object = None, *, expected: Sequence[int]
    ) -> tuple[int, Any]:
        """Send a request, again while the node says "503, later": sending the same again is always safe."""
        status, answer = await self._exchange(method, target, document)
        for pause_s in PAUSES_S:
            if status != 503:
                break
            await asyncio.sleep(pause_s)
            status, answer = await self._exchange(method, target, document)
        if status not in expected:
            raise ApiError(f"{method} {target} was answered {status}: {answer}")
        return status, answer

    async def _exchange(self, method: str, target: str, document: object) -> tuple[int, Any]:
        body = b"" if document is None else json.dumps(document, ensure_ascii=False).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(f"{head}\r\n".encode() + body)
        status_line, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = await self._reader.readexactly(int(headers["content-length"]))
        return int(status_line.split()[1]), json.loads(answer)


# --- the program ------------------------------------------------------------------------------------------------------


async def for_each(
    title: str,
    connections: Sequence[Connection],
    characters: Sequence[str],
    action: Callable[[Connection, str], Awaitable[None]],
) -> None:
    """Do something for every character, over all connections at once, and print how fast that went."""
    waiting = iter(characters)
    done = 0
    began = time.perf_counter()

    async def work(connection: Connection) -> None:
        nonlocal done
        for character in waiting:  # shared: each takes the next one that nobody has taken
            await action(connection, character)
            done += 1
            if done % 1000 == 0 and sys.stderr.isatty():
                print(f"{title} {done:,} of {len(characters):,}", end="\r", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(work(connection))
    took = time.perf_counter() - began
    print(f"{title:<24} {done:>8,} records {took:8.1f} s {done / took:10,.0f} /s", flush=True)


async def run(url: str, count: int) -> int:
    """Load, read, delete, read again; return how many records were not as they should be."""
    characters = named_characters()
    block = [character for character in characters if ord(character) in HIEROGLYPHS]
    versions: dict[str, str] = {}
    differences: list[str] = []

    async def load(connection: Connection, character: str) -> None:
        versions[character] = await connection.put(key_of(character), record_of(character))

    async def delete(connection: Connection, character: str) -> None:
        versions[character] = await connection.delete(key_of(character))

    async def compare(connection: Connection, character: str) -> None:
        expected = None if character in deleted else record_of(character)
        found = await connection.get(key_of(character), versions[character])
        if found != expected:
            differences.append(f"U+{ord(character):04X}: expected {expected}, found {found}")

    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(Connection(url)) for _ in range(count)]
        deleted: set[str] = set()
        await for_each("written", connections, characters, load)
        await for_each("read", connections, characters, compare)
        await for_each("deleted", connections, block, delete)
        deleted = set(block)
        await for_each("read after deletion", connections, characters, compare)

    for difference in differences[:10]:
        print(difference, file=sys.stderr)
    print(f"{len(characters):,} characters, {len(block):,} of them deleted again, {len(differences):,} differences")
    return len(differences)


def main() -> int:
    """Read the arguments, run, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the node is (http://127.0.0.1:8000)")
    parser.add_argument("--connections", type=int, default=32, help="how many requests to have under way (32)")
    arguments = parser.parse_args()
    try:
        return 1 if asyncio.run(run(arguments.url, arguments.connections)) else 0
    except* (ApiError, OSError, EOFError) as errors:
        print(f"cannot go on: {errors.exceptions[0]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
