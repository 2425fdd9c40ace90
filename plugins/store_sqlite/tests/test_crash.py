"""The end of the process at any moment."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kvcore_store_sqlite import SqliteSettings, open_sqlite
from kvcore_store_sqlite.database import Database

ROWS = 20

# Two writers at once, each of which says what was confirmed: batch `n` has written `n` to all its keys.
CHILD = f"""
import asyncio, sys
from kvcore.model import Entry, Mutation, Version
from kvcore_store_sqlite import SqliteSettings, open_sqlite

async def write(store, writer, first):
    for number in range(first, first + 100_000):
        entry = Entry(Version(f"{{number:024x}}"), b"%d" % number * 20)
        await store.apply([Mutation(f"{{writer}}/{{key}}", entry) for key in range({ROWS})])
        print(writer, number, flush=True)
        await asyncio.sleep(0)

async def main(path, first):
    async with open_sqlite(SqliteSettings(path=path)) as store:
        await asyncio.gather(write(store, 0, first), write(store, 1, first))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def run_and_kill(path: Path, first: int, after: int) -> dict[str, int]:
    """Let a child write, kill it once it has said `after` lines, and return the last batch that each writer had confirmed."""
    confirmed: dict[str, int] = {}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(first)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for count, line in enumerate(child.stdout):
            if count == after:
                child.kill()  # and read on: what was said before the end counts as well
            if line.endswith("\n"):
                writer, number = line.split()
                confirmed[writer] = int(number)
    return confirmed


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_confirmed_is_lost_when_the_process_is_killed(path: Path, seed: int) -> None:
    """After each of several kills the database opens as it is, sound, with all that was confirmed and no batch in part."""
    randomly = random.Random(seed)
    confirmed: dict[str, int] = {}
    for _ in range(3):
        confirmed |= run_and_kill(path, max(confirmed.values(), default=0) + 1, randomly.randrange(300))
        async with open_sqlite(SqliteSettings(path=str(path))) as store:
            for writer, number in confirmed.items():
                entries = await store.get([f"{writer}/{key}" for key in range(ROWS)])
                assert len(set(entries)) == 1
                assert entries[0] is not None
                assert int(entries[0].version, 16) >= number
                assert entries[0].value == b"%d" % int(entries[0].version, 16) * 20
        with closing(Database(path)) as database:
            assert database.reader.pragma("integrity_check") == "ok"
