"""Load the Unicode character database into a node, read all of it back, delete a block, and verify.

Every character that has a name becomes a record: about 140,000, with keys in every script. Start a node with ``./start.sh``, then::

    .venv/bin/python examples/unicode_names.py --url http://127.0.0.1:8000

The exit code is 0 only if every record came back as it was written, and the deleted block, and nothing else, is gone.
Everything goes in batches, over one session of the client: it reads its own writes, whichever tier has them so far.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from kvcore.client import AsyncClient, Delete, Get, Operation, Put, Result, Value
from kvcore.errors import KvcoreError

HIEROGLYPHS: Final = range(0x13000, 0x13430)
"""The block "Egyptian Hieroglyphs", which is deleted and put to the test."""

BATCH: Final = 500
"""Operations in one request."""


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


# --- the program ------------------------------------------------------------------------------------------------------


async def do_all(client: AsyncClient, title: str, operations: Sequence[Operation], at_once: int) -> list[Result]:
    """Do operations, so many batches at once, and print how fast that went; return their results in order.

    Raises:
        KvcoreError: one of them has failed.
    """
    results: dict[int, list[Result]] = {}
    waiting = enumerate(batches(operations))
    began = time.perf_counter()

    async def work() -> None:
        for place, batch in waiting:  # shared: each takes the next one that nobody has taken
            results[place] = await client.batch(batch)
            done = sum(map(len, results.values()))
            if sys.stderr.isatty():
                print(f"{title} {done:,} of {len(operations):,}", end="\r", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    took = time.perf_counter() - began
    print(f"{title:<24} {len(operations):>8,} records {took:8.1f} s {len(operations) / took:10,.0f} /s", flush=True)
    in_order = [result for place in sorted(results) for result in results[place]]
    for result in in_order:
        if isinstance(result, KvcoreError):
            raise result
    return in_order


def batches(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Yield operations, as many at a time as go into one batch."""
    rest = iter(operations)
    while batch := list(islice(rest, BATCH)):
        yield batch


async def differences(
    client: AsyncClient, title: str, characters: Sequence[str], deleted: frozenset[str], at_once: int
) -> list[str]:
    """Read the records of all characters, and say which are not as they should be."""
    found = await do_all(client, title, [Get(key_of(character)) for character in characters], at_once)
    wrong = []
    for character, result in zip(characters, found, strict=True):
        expected = None if character in deleted else record_of(character)
        value = result.json() if isinstance(result, Value) else None
        if value != expected:
            wrong.append(f"U+{ord(character):04X}: expected {expected}, found {value}")
    return wrong


async def run(url: str, at_once: int) -> int:
    """Load, read, delete, read again; return how many records were not as they should be."""
    characters = named_characters()
    block = [character for character in characters if ord(character) in HIEROGLYPHS]
    writes = [Put(key_of(character), record_of(character)) for character in characters]
    deletes = [Delete(key_of(character)) for character in block]

    async with AsyncClient(url) as plain:
        client = plain.session(max_keys=len(characters))
        await do_all(client, "written", writes, at_once)
        wrong = await differences(client, "read", characters, frozenset(), at_once)
        await do_all(client, "deleted", deletes, at_once)
        wrong += await differences(client, "read after deletion", characters, frozenset(block), at_once)

    for difference in wrong[:10]:
        print(difference, file=sys.stderr)
    print(f"{len(characters):,} characters, {len(block):,} of them deleted again, {len(wrong):,} differences")
    return len(wrong)


def main() -> int:
    """Read the arguments, run, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the node is (http://127.0.0.1:8000)")
    parser.add_argument("--at-once", type=int, default=4, help="how many batches to have under way (4)")
    arguments = parser.parse_args()
    try:
        return 1 if asyncio.run(run(arguments.url, arguments.at_once)) else 0
    except* KvcoreError as errors:
        print(f"cannot go on: {errors.exceptions[0]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
