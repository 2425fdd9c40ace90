"""The Python client against nodes: the same tests on every profile."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest

from kvcore.client import AsyncClient, Client, Delete, Get, Listed, Operation, Put, Value, Written
from kvcore.errors import (
    ConditionFailedError,
    InvalidKeyError,
    KeyTooLongError,
    RequestError,
    UnavailableError,
    ValueTooLargeError,
    VersionNotReachedError,
)
from kvcore.testing.nodes import running_node
from tests.e2e.endpoint import Endpoint, is_nginx

ODD = [
    ".",
    "..",
    "../..",
    "a/../b",
    "/",
    "//",
    "a//b/",
    "%",
    "%2F",
    "%00",
    "a+b c",
    "?&=#;:@",
    "\\_%*",
    "\x01\n",
    "é",
    "e\u0301",
    "🗝️",
    "\U0010ffff",
]
VALUES: list[Any] = [
    "text",
    "",
    None,
    True,
    0,
    -1.5,
    [],
    {"a": [1, {"b": None}]},
    "\u0000 \U0001f600 \u2028",
    "x" * 100_000,
]


@pytest.fixture
def client(node: Endpoint) -> Iterator[Client]:
    """Give a session of a client, so that a test sees what it wrote, whatever its acknowledgement meant."""
    with Client(node.url) as client:
        yield client.session()


def json_of(value: Value | None) -> Any:
    """Return a value that is there."""
    assert value is not None
    return value.json()


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_every_odd_key_arrives(node: Endpoint, client: Client, key: str, name: str) -> None:
    """A key is read, listed and deleted as what it is, also one that is nothing but dots or slashes.

    Through NGINX not in a path that leads out of the root, as it reads it: such a key is for the other form of the API.
    """
    keys = [name, f"{key}{name}"]
    if is_nginx(node) and name == "../..":
        with pytest.raises(RequestError, match="lead out"):
            client.get(keys.pop(0))
    for odd in keys:
        client.put(odd, odd, ack="stored")
        assert json_of(client.get(odd)) == odd
        assert odd in [line.key for line in client.keys(odd)]
        [found] = client.batch([Get(odd)])
        assert isinstance(found, Value)
        assert found.json() == odd
        client.delete(odd, ack="stored")
        assert client.get(odd) is None


@pytest.mark.parametrize("letter", ["k", "\x01", "é", "🗝"], ids=ascii)
def test_the_longest_key_arrives(client: Client, letter: str) -> None:
    """A key as long as the node takes, though three times as long on its way; a longer one is refused as such."""
    limits = client.health().limits
    assert limits is not None
    key = letter * (limits.max_key_bytes // len(letter.encode()))
    client.put(key, 1, ack="stored")
    assert json_of(client.get(key)) == 1
    assert [line.key for line in client.keys(key)] == [key]
    client.delete(key)
    with pytest.raises(KeyTooLongError) as raised:
        client.put(key + letter, 1)
    assert raised.value.limit_bytes == limits.max_key_bytes


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
def test_any_json_value_comes_back(client: Client, key: str, value: Any) -> None:
    """Alone and in a batch."""
    client.put(key, value)
    assert json_of(client.get(key)) == value
    client.batch([Put(key, [value])])
    assert json_of(client.get(key)) == [value]


def test_bytes_come_back_with_their_media_type(client: Client, key: str) -> None:
    """Every byte, alone, in a batch and in a listing."""
    data = bytes(range(256))
    client.put(key, data, media_type="image/x-odd; a=b", ack="stored")
    [listed] = client.keys(key, values=True)
    for value in (client.get(key), listed.value, *client.batch([Get(key)])):
        assert isinstance(value, Value)
        assert (value.data, value.media_type) == (data, "image/x-odd; a=b")
    client.batch([Put(key, b"")])
    empty = client.get(key)
    assert empty is not None
    assert (empty.data, empty.media_type) == (b"", "application/octet-stream")


def test_the_largest_value_fits(client: Client, key: str) -> None:
    """Up to the limit, in the raw form and in a batch; a larger one is refused as such."""
    limits = client.health().limits
    assert limits is not None
    client.put(key, bytes(limits.max_value_bytes))
    [value] = client.batch([Get(key)])
    assert isinstance(value, Value)
    assert len(value.data) == limits.max_value_bytes
    with pytest.raises(ValueTooLargeError):
        client.put(key, bytes(limits.max_value_bytes + 1))


def test_a_time_to_live_is_kept(client: Client, key: str) -> None:
    """The value says when it ends, and then it is missing."""
    before = datetime.now(UTC)
    client.put(key, 1, ttl_s=1000)
    value = client.get(key)
    assert value is not None
    assert value.expires_at is not None
    assert timedelta(seconds=900) < value.expires_at - before < timedelta(seconds=1100)
    client.put(key, 1, ttl_s=1)
    while client.get(key) is not None:
        pass
    client.put(key, 1, ack="stored")
    [listed] = client.keys(key)
    assert listed.expires_at is None


def test_a_condition_holds_once(client: Client, key: str) -> None:
    """Of two writes on one version the first wins, and the other is told the version that it lost to."""
    first = client.put(key, 1, if_absent=True)
    assert first.created
    won = client.put(key, 2, if_match=first.version)
    with pytest.raises(ConditionFailedError) as lost:
        client.put(key, 3, if_match=first.version)
    assert lost.value.version == won.version
    with pytest.raises(ConditionFailedError):
        client.put(key, 3, if_absent=True)
    client.delete(key, if_match="*")
    with pytest.raises(ConditionFailedError) as gone:
        client.delete(key, if_match="*")
    assert gone.value.version is None


def test_a_repeated_conditional_write_gets_its_first_answer(client: Client, key: str) -> None:
    """Under one idempotency key it is one write, though the key has moved on since."""
    first = client.put(key, 1, if_absent=True, idempotency_key="a")
    client.put(key, 2)
    again = client.put(key, 1, if_absent=True, idempotency_key="a")
    assert again.version == first.version
    assert json_of(client.get(key)) == 2
    with pytest.raises(ConditionFailedError):
        client.put(key, 1, if_absent=True, idempotency_key="b")


def test_concurrent_increments_are_all_counted(node: Endpoint, key: str) -> None:
    """A session, read and written on condition, is enough for a counter that several tasks share."""

    async def run() -> None:
        async with AsyncClient(node.url) as client:
            await client.put(key, 0, ack="stored")

            async def increment() -> None:
                session = client.session()
                for _ in range(5):
                    while True:
                        value = await session.get(key)
                        assert value is not None
                        try:
                            await session.put(key, value.json() + 1, if_match=value.version)
                            break
                        except ConditionFailedError:
                            pass

            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(increment())
            total = await client.get(key, from_store=True)
            assert total is not None
            assert total.json() == 40

    asyncio.run(run())


def test_a_value_that_is_held_is_not_sent_again(client: Client, key: str) -> None:
    """The caller's own value comes back while it is the newest."""
    client.put(key, 1)
    held = client.get(key)
    assert held is not None
    assert client.get(key, if_none_match=held) is held
    assert client.get(key, if_none_match=held.version) == held.version
    client.put(key, 2)
    assert json_of(client.get(key, if_none_match=held)) == 2
    found = client.get(key, if_none_match=held.version)
    assert isinstance(found, Value)
    assert found.json() == 2


def test_head_tells_what_get_does(client: Client, key: str) -> None:
    """Version, size, media type and end, of what was just written, as JSON or not; None once it is deleted."""
    assert client.head(key) is None
    for value, media_type in (({"a": "é"}, None), (b"", "image/png"), (b"\x00" * 100_000, None)):
        written = client.put(key, value, media_type=media_type, ttl_s=600)
        told = client.head(key)
        found = client.get(key)
        assert told is not None
        assert found is not None
        assert told.version == written.version
        assert told == Listed(
            key=key,
            version=found.version,
            size_bytes=len(found.data),
            media_type=found.media_type,
            expires_at=found.expires_at,
        )
    client.delete(key)
    assert client.head(key) is None


def test_a_version_that_does_not_come_is_not_replaced_by_an_older_one(client: Client, key: str) -> None:
    """The wait is the caller's, and ends with an error."""
    client.put(key, 1)
    later = client.put(f"{key} other", 1).version
    with pytest.raises(VersionNotReachedError):
        client.get(key, min_version=later, wait_s=0.02)


def test_a_session_reads_its_writes(node: Endpoint, key: str) -> None:
    """Whatever a write's acknowledgement meant, the next read of the session sees it; alone or in batches."""
    with Client(node.url) as plain:
        session = plain.session()
        for number in range(30):
            if number % 2:
                session.put(key, number, ack="accepted")
            else:
                session.batch([Put(key, number)], ack="accepted")
            assert json_of(session.get(key, from_store=number % 3 == 0)) == number
            [found] = session.batch([Get(key)])
            assert isinstance(found, Value)
            assert found.json() == number
        session.delete(key, ack="accepted")
        assert session.get(key) is None


def test_a_batch_is_done_in_order_and_answers_for_each(client: Client, key: str) -> None:
    """Many operations, some on one key, some that fail; a condition that does not hold tells the version to go on with."""
    written = client.batch([Put(f"{key}/{number}", number) for number in range(2500)])
    assert len({result.version for result in written if isinstance(result, Written)}) == 2500
    operations: list[Operation] = [
        Get(f"{key}/0"),
        Put(f"{key}/0", "new"),
        Get(f"{key}/0"),
        Delete(f"{key}/1"),
        Get(f"{key}/1"),
        Put(f"{key}/2", 1, if_absent=True),
        Put(key + "\x00", 1),
    ]
    old, put, new, deleted, missing, failed, invalid = client.batch(operations)
    assert isinstance(old, Value)
    assert isinstance(new, Value)
    assert isinstance(put, Written)
    assert isinstance(deleted, Written)
    assert (old.json(), new.json(), missing) == (0, "new", None)
    assert isinstance(failed, ConditionFailedError)
    held = written[2]
    assert isinstance(held, Written)
    assert failed.version == held.version
    assert isinstance(invalid, InvalidKeyError)


def test_reads_of_a_batch_may_be_larger_than_one_answer(client: Client, key: str) -> None:
    """More than a batch answers with at once comes all the same."""
    keys = [f"{key}/{number}" for number in range(12)]
    for one in keys:
        client.put(one, one.encode() + bytes(1_000_000))
    values = client.batch([Get(one) for one in keys])
    assert [value.data.rstrip(b"\0").decode() for value in values if isinstance(value, Value)] == keys


def test_a_listing_is_whole_while_keys_come_and_go(node: Endpoint, client: Client, key: str) -> None:
    """Every key that is there from beginning to end is listed exactly once, in order, whatever others do."""
    lasting = sorted(f"{key}/{number:04}" for number in range(0, 1000, 2))
    for result in client.batch([Put(one, 1) for one in lasting], ack="stored"):
        assert isinstance(result, Written)
    stop, enough = threading.Event(), threading.Event()

    def disturb() -> None:
        with Client(node.url) as other:
            for number in count():
                if stop.is_set():
                    return
                if number == 10:
                    enough.set()
                names = [f"{key}/{(number * 50 + step) % 1000 | 1:04}" for step in range(0, 50, 2)]
                other.batch([Put(one, number) if number % 3 else Delete(one) for one in names], ack="stored")
                other.batch([Put(lasting[number % len(lasting)], number)], ack="stored")

    with ThreadPoolExecutor(1) as threads:
        disturbing = threads.submit(disturb)
        try:
            for values in cycle((False, True)):
                listed = [line.key for line in client.keys(f"{key}/", values=values, page_size=37)]
                assert listed == sorted(set(listed))
                assert set(lasting) <= set(listed)
                if enough.is_set() or disturbing.done():
                    break
        finally:
            stop.set()
        disturbing.result()


def test_a_prefix_is_deleted_and_nothing_else(client: Client, key: str) -> None:
    """What begins with it is gone, counted and told on the way; what only looks alike stays."""
    inside = [f"{key}/%_{number}" for number in range(1500)]
    outside = [f"{key}/x_", f"{key}/%", f"{key}/%`"]
    client.batch([Put(one, 1) for one in (*inside, *outside)], ack="stored")
    seen: list[int] = []
    assert client.delete_prefix(f"{key}/%_", ack="stored", progress=seen.append) == 1500
    assert seen == sorted(seen)
    assert (seen[-1], len(seen) > 1) == (1500, True)
    assert [line.key for line in client.keys(f"{key}/")] == sorted(outside)


async def test_the_async_client_does_the_same(node: Endpoint, key: str) -> None:
    """Each method once, over a real connection."""
    async with AsyncClient(node.url) as plain:
        client = plain.session()
        await client.put(f"{key}/a", {"n": 1}, ack="stored")
        value = await client.get(f"{key}/a")
        assert value is not None
        assert value.json() == {"n": 1}
        results = await client.batch([Put(f"{key}/b", b"\0"), Get(f"{key}/a")], ack="stored")
        assert isinstance(results[1], Value)
        assert [line.key async for line in client.keys(f"{key}/", page_size=1)] == [f"{key}/a", f"{key}/b"]
        assert await client.delete_prefix(f"{key}/", ack="stored") == 2
        await client.delete(key)
        assert await client.get(f"{key}/a") is None
        assert (await client.health()).status == "healthy"
        assert (await client.cache_stats()).node.cache_misses >= 0


def test_what_a_node_tells_of_itself(client: Client, key: str) -> None:
    """Its health with every tier, and its cache in numbers."""
    client.put(key, 1)
    health = client.health()
    assert health.status == "healthy"
    assert health.components["store"].status == "up"
    stats = client.cache_stats()
    assert stats.memory_used_bytes > 0
    assert stats.node.cache_hits >= 0


def test_a_node_that_restarts_is_waited_for(tmp_path: Path) -> None:
    """Requests that meet the gap between two processes are sent again, and nothing is lost or done twice."""
    settings = {"store.sqlite.path": str(tmp_path / "kvcore.db")}
    with running_node(settings) as first:
        port = first.port
        with Client(first.url) as client:
            written = client.put("k", 1, if_absent=True)
            first.kill()
            with pytest.raises(UnavailableError) as raised:
                client.get("k")
            assert raised.value.outcome == "not-applied"
            with running_node(settings | {"http.port": str(port)}):
                value = client.get("k")  # over a new connection: the pool's one is broken
                assert value is not None
                assert value.version == written.version


# --- kvctl ------------------------------------------------------------------------------------------------------------


def kvctl(node: Endpoint, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run kvctl in a process of its own."""
    command = [sys.executable, "-m", "kvcore.cli", *arguments, "--url", node.url]
    return subprocess.run(command, check=False, capture_output=True, input=stdin, timeout=60)


def test_kvctl_goes_round_with_any_bytes(node: Endpoint, key: str, tmp_path: Path) -> None:
    """What a file holds is what another file gets."""
    data = bytes(range(256)) * 10
    assert (
        kvctl(node, "put", key, "--file", "-", "--media-type", "image/png", "--ack", "stored", stdin=data).returncode
        == 0
    )
    assert kvctl(node, "get", key).stdout == data
    assert kvctl(node, "get", key, "--no-cache", "-o", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out").read_bytes() == data
    assert kvctl(node, "list", key).stdout.decode() == f"{key}\n"


def test_kvctl_and_the_client_agree_on_what_text_is(node: Endpoint, client: Client, key: str) -> None:
    """Text that one wrote is the text that the other reads."""
    kvctl(node, "put", key, "zwölf", "--ack", "stored")
    assert json_of(client.get(key, from_store=True)) == "zwölf"
    client.put(key, "thirteen", ack="stored")
    assert kvctl(node, "get", key).stdout == b"thirteen\n"


def test_a_script_can_tell_a_condition_from_a_failure(node: Endpoint, key: str) -> None:
    """Exit code 4 of writes and reads alike, and what they would have done is not done."""
    created = json.loads(kvctl(node, "put", key, "1", "--if-none-match", "--json").stdout)
    assert created["created"] is True
    assert kvctl(node, "put", key, "2", "--if-none-match").returncode == 4
    assert kvctl(node, "delete", key, "--if-match", "0" * 23 + "1").returncode == 4
    unchanged = kvctl(node, "get", key, "--if-none-match", created["version"])
    assert (unchanged.returncode, unchanged.stdout) == (4, b"")
    assert kvctl(node, "get", key).stdout == b"1\n"
    head = json.loads(kvctl(node, "get", key, "--head", "--json").stdout)
    assert (head["version"], head["size"], head["media_type"]) == (created["version"], 3, "application/json")


def test_a_conditional_operation_of_a_batch_can_be_sent_again_by_its_name(client: Client, key: str) -> None:
    """Under one idempotency key it is one write, as alone."""
    create = Put(key, 1, if_absent=True, idempotency_key="a")
    [first] = client.batch([create])
    [again] = client.batch([create])
    assert isinstance(first, Written)
    assert again == first
    [other] = client.batch([Put(key, 1, if_absent=True, idempotency_key="b")])
    assert isinstance(other, ConditionFailedError)


def test_kvctl_writes_lists_and_deletes_many(node: Endpoint, key: str) -> None:
    """`batch`, `list` and `delete --prefix` over several pages."""
    lines = b"".join(
        b'{"op":"put","key":%s,"value":%d}\n' % (json.dumps(f"{key}/{n:04}").encode(), n) for n in range(2300)
    )
    done = kvctl(node, "batch", "-", "--ack", "stored", stdin=lines)
    assert (done.returncode, done.stdout.count(b'"detail":"stored"')) == (0, 2300)
    listed = kvctl(node, "list", f"{key}/", "--json", "--values").stdout.splitlines()
    assert [json.loads(line)["value"] for line in listed] == list(range(2300))
    assert kvctl(node, "list", f"{key}/", "--limit", "3").stdout.decode().split("\n")[2] == f"{key}/0002"
    part = kvctl(node, "list", f"{key}/", "--limit", "1500", "--json").stdout.splitlines()
    cursor = json.loads(part[-1])["cursor"]
    rest = kvctl(node, "list", f"{key}/", "--cursor", cursor).stdout.decode().splitlines()
    assert (len(part), rest[0], rest[-1], len(rest)) == (1500, f"{key}/1500", f"{key}/2299", 800)
    assert kvctl(node, "delete", "--prefix", f"{key}/", "--yes", "--ack", "stored").stdout == b"deleted 2300\n"
    assert kvctl(node, "list", f"{key}/").stdout == b""
