"""Servers that die, stand still and come back, and calls that are given up."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from kvcore.backends import PoolStats
from kvcore.errors import OverloadedError, UnavailableError
from kvcore.model import Entry, Mutation, Verdict, Version
from kvcore.testing import eventually
from kvcore.testing.servers import Database
from kvcore.testing.servers.ports import free_port
from kvcore_store_cockroach import CockroachSettings, CockroachStore, connections, diagnose, open_cockroach
from kvcore_store_cockroach.connecting import connect

PATIENCE_S = 30.0


def put(key: str, number: int) -> Mutation:
    """Return a write."""
    return Mutation(key, Entry(Version(f"{number:024x}"), b"%d" % number))


async def works(store: CockroachStore) -> bool:
    """Tell whether the database can be read and written."""
    try:
        async with asyncio.timeout(1):
            await store.ping()
    except (UnavailableError, TimeoutError):
        return False
    return True


@pytest.fixture
def shaken(database: Database) -> Iterator[Database]:
    """Yield the servers to a test that harms them, and bring them back."""
    yield database
    database.restore()


@pytest.fixture
async def store(own: CockroachSettings) -> AsyncIterator[CockroachStore]:
    """Yield a store on a database of this test's own."""
    async with open_cockroach(own) as store:
        yield store


class Writer:
    """Writes one key after the other, for as long as it is not cancelled, and keeps count of what was confirmed."""

    def __init__(self, store: CockroachStore) -> None:
        self.store = store
        self.confirmed: list[Mutation] = []
        self.errors: list[UnavailableError] = []

    async def run(self) -> None:
        """Write."""
        number = 0
        while True:
            number += 1
            mutation = put(f"key {number}", number)
            try:
                async with asyncio.timeout(1):
                    (outcome,) = await self.store.apply([mutation])
            except UnavailableError as error:
                self.errors.append(error)
                await asyncio.sleep(0.01)  # not to spin while the database is away; nothing is waited for
            except TimeoutError:
                pass  # a database that hangs: the next write finds out whether it still does
            else:
                assert outcome.verdict is Verdict.APPLIED
                self.confirmed.append(mutation)

    async def has_confirmed(self, count: int) -> None:
        """Wait until so many more writes have been confirmed."""
        goal = len(self.confirmed) + count

        async def reached() -> bool:
            return len(self.confirmed) >= goal

        await eventually(reached, within_s=PATIENCE_S, what=f"{count} more writes")


async def test_nothing_confirmed_is_lost_when_all_servers_are_killed(shaken: Database, store: CockroachStore) -> None:
    """Writes go on by themselves when killed servers are back, and every one that was confirmed is there."""
    writer = Writer(store)
    task = asyncio.create_task(writer.run())
    try:
        await writer.has_confirmed(50)
        for node in shaken.nodes:
            node.kill()

        async def refused() -> bool:
            return bool(writer.errors)

        await eventually(refused, within_s=PATIENCE_S, what="an error while the servers are down")
        await asyncio.to_thread(shaken.restore)
        await writer.has_confirmed(50)
    finally:
        task.cancel()
        await asyncio.wait([task])
    found = await store.get([mutation.key for mutation in writer.confirmed])
    assert list(found) == [mutation.entry for mutation in writer.confirmed]


async def test_a_dead_database_is_noticed_by_every_call(shaken: Database, store: CockroachStore) -> None:
    """While all servers are down each call says so, and that nothing was done; afterwards each works at once."""
    await store.ping()
    for node in shaken.nodes:
        node.kill()
    for call in calls(store):
        # The first statement on a connection that is dead already may be in doubt: it was sent.
        with pytest.raises(UnavailableError):
            await call()
    for call in calls(store):
        with pytest.raises(UnavailableError) as caught:
            await call()
        assert caught.value.outcome == "not-applied"
    await asyncio.to_thread(shaken.restore)
    await eventually(lambda: works(store), within_s=PATIENCE_S, what="the database after its return")
    for call in calls(store):
        await call()


async def test_calls_end_when_they_are_given_up_while_the_servers_stand_still(
    shaken: Database, store: CockroachStore
) -> None:
    """A paused server holds nobody who has a deadline, and when it goes on the store works."""
    await asyncio.gather(*(call() for call in calls(store)))
    for node in shaken.nodes:
        node.pause()
    for _ in range(3):  # first on connections that are open, then on new ones
        tasks = [asyncio.ensure_future(call()) for call in calls(store)]
        await asyncio.wait(tasks, timeout=0.2)
        await given_up(tasks)
    await asyncio.to_thread(shaken.restore)
    await eventually(lambda: works(store), within_s=PATIENCE_S, what="the database after its pause")
    assert list(await store.get(["nothing"])) == [None]


async def test_closing_ends_while_the_servers_stand_still(shaken: Database, own: CockroachSettings) -> None:
    """A node can stop while its database is paused, also in the middle of connecting."""
    async with open_cockroach(own) as store:
        await store.ping()
        for node in shaken.nodes:
            node.pause()
        tasks = [asyncio.ensure_future(store.get(["key"])) for _ in range(own.connections)]
        await asyncio.wait(tasks, timeout=0.2)
        closing = asyncio.ensure_future(store.aclose())
        await asyncio.wait([closing], timeout=PATIENCE_S / 10)
        assert closing.done()
        assert not store._connections._connecting
        await given_up(tasks)
    with pytest.raises(UnavailableError, match="closed"):
        await store.get(["key"])


def calls(store: CockroachStore) -> list[Callable[[], Coroutine[Any, Any, object]]]:
    """Return one call of each kind."""
    return [
        store.ping,
        lambda: store.get(["key"]),
        lambda: store.apply([put("key", 1)]),
        lambda: store.scan("", None, 1),
        lambda: store.purge(Version("0" * 24), 1),
    ]


async def given_up(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel, and assert that all end without waiting for a server (the driver alone would wait for five seconds)."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=PATIENCE_S / 10)
    assert all(task.done() for task in tasks)
    for task in tasks:
        assert task.cancelled() or isinstance(task.exception(), UnavailableError)


@pytest.fixture
def standby(shaken: Database) -> Iterator[Database]:
    """Yield the server as a standby, and make it a primary again afterwards."""
    if shaken.kind != "postgresql":
        pytest.skip("CockroachDB has no standbys of this kind")
    (node,) = shaken.nodes
    signal = node.folder / "data" / "standby.signal"
    node.stop()
    signal.touch()
    node.start()
    yield shaken
    node.stop()
    signal.unlink()
    node.start()


async def test_a_standby_is_not_read(own: CockroachSettings, standby: Database) -> None:
    """A standby may be behind, and what is read goes into the cache: it is passed over, not only for writing."""
    async with open_cockroach(own) as store:
        for call in calls(store):
            with pytest.raises(UnavailableError, match="read-only: connect to one that takes writes") as caught:
                await call()
            assert caught.value.outcome == "not-applied"
    (found,) = (await diagnose(own)).findings
    assert found.what == "the server is a standby, which is not used"


# --- some servers of several ------------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield the address of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def test_a_server_that_does_not_answer_is_passed_over(own: CockroachSettings, silent: str) -> None:
    """While one server takes connections and says nothing, the others serve."""
    several = msgspec.structs.replace(own, hosts=(silent, *own.hosts), connect_timeout_s=0.3)
    for _ in range(5):  # the order is drawn anew each time
        async with open_cockroach(several) as store:
            assert list(await store.get(["key"])) == [None]


async def test_a_server_that_is_down_is_passed_over(own: CockroachSettings) -> None:
    """While one server is down, the others serve."""
    several = msgspec.structs.replace(own, hosts=(f"127.0.0.1:{free_port()}", *own.hosts))
    for _ in range(5):
        async with open_cockroach(several) as store:
            assert list(await store.get(["key"])) == [None]


async def test_who_gives_up_on_a_silent_server_spares_the_next(own: CockroachSettings, silent: str) -> None:
    """A server that held one caller until its deadline is asked last by those who come then."""
    several = msgspec.structs.replace(own, hosts=(silent, *own.hosts), connect_timeout_s=20.0)
    for _ in range(5):
        async with open_cockroach(several) as store:
            try:
                async with asyncio.timeout(0.2):
                    await store.get(["key"])
            except TimeoutError:
                async with asyncio.timeout(PATIENCE_S / 3):
                    assert list(await store.get(["key"])) == [None]


async def test_all_reasons_are_told_when_no_server_can_be_reached(own: CockroachSettings, silent: str) -> None:
    """The error names each server with what is wrong with it."""
    dead = f"127.0.0.1:{free_port()}"
    async with open_cockroach(msgspec.structs.replace(own, hosts=(silent, dead), connect_timeout_s=0.2)) as store:
        with pytest.raises(UnavailableError) as caught:
            await store.ping()
    assert f"{silent}: no answer within 0.2 s" in str(caught.value)
    assert f"{dead}: connection failed" in str(caught.value)
    assert "refused" in str(caught.value)


async def test_a_server_that_held_somebody_loses_its_other_connections(own: CockroachSettings, proxy: Any) -> None:
    """When one call is given up, the idle connections to the same server are not offered to others."""
    never = asyncio.Event()
    proxy.meanwhile = never.wait
    async with open_cockroach(msgspec.structs.replace(own, hosts=(proxy.address,))) as store:
        await asyncio.gather(*(store.get(["warm"]) for _ in range(4)))
        idle = list(store._connections._idle)
        assert len(idle) == 4
        proxy.lose_answer_to = b"marked"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await store.get(["marked"])
        assert all(connection.closed for connection in idle)
        never.set()
        assert list(await store.get(["key"])) == [None]


# --- load -------------------------------------------------------------------------------------------------------------


async def test_more_calls_than_may_wait_are_refused(own: CockroachSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a call is refused at once, nothing having been done; those that wait are served."""
    monkeypatch.setattr(connections, "_WAITING", 3)
    async with open_cockroach(msgspec.structs.replace(own, connections=1)) as store:
        await store.ping()
        asked = [store.apply([put(f"key {number}", 1)]) for number in range(6)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        refused = [answer for answer in found if isinstance(answer, OverloadedError)]
        assert len(refused) == 2
        assert {error.outcome for error in refused} == {"not-applied"}
        assert len([entry for entry in await store.get([f"key {n}" for n in range(6)]) if entry]) == 4


async def test_never_has_more_connections_than_set(own: CockroachSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls come at once, the connections stay within their number, and are used again."""
    opened = []

    async def counted(settings: CockroachSettings, host: str) -> Any:
        opened.append(await connect(settings, host))
        return opened[-1]

    monkeypatch.setattr(connections, "connect", counted)
    async with open_cockroach(msgspec.structs.replace(own, connections=3)) as store:
        for _ in range(10):
            await asyncio.gather(*(store.get(["key"]) for _ in range(50)))
        assert len(opened) <= 3
        assert len([one for one in opened if not one.closed]) == len(opened)
    assert all(one.closed for one in opened)


async def test_tells_how_many_connections_there_are_and_how_many_are_used(own: CockroachSettings) -> None:
    """A connection is in use while a caller has it, and there until it is ended."""
    async with open_cockroach(msgspec.structs.replace(own, connections=3)) as store:
        assert store.pool() == PoolStats(open=0, in_use=0, limit=3, retries=0)
        async with store._connections.use(), store._connections.use():
            assert store.pool() == PoolStats(open=2, in_use=2, limit=3, retries=0)
        assert store.pool() == PoolStats(open=2, in_use=0, limit=3, retries=0)
        store._connections.drop(own.hosts[0])
        assert store.pool().open == 0


async def test_tells_how_often_a_statement_was_sent_again(own: CockroachSettings) -> None:
    """A statement that finds its connection lost is sent once more, on another, and nobody else hears of it."""
    async with open_cockroach(own) as store:
        await store.ping()
        (idle,) = store._connections._idle
        with socket.socket(fileno=os.dup(idle.pgconn.socket)) as lost:
            lost.shutdown(socket.SHUT_RDWR)
        await store.ping()
        assert store.pool().retries == 1


async def test_the_server_gives_up_what_nobody_waits_for(own: CockroachSettings) -> None:
    """Each connection has a limit on its statements, so that one which was given up does not hold locks for ever."""
    async with await connect(own, own.hosts[0]) as connection:
        cursor = await connection.execute("SHOW statement_timeout")
        assert await cursor.fetchall() in ([("30s",)], [("30000",)])


async def test_connections_that_are_old_are_made_anew(own: CockroachSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while a connection is replaced, so that a server which came back gets its share."""
    async with open_cockroach(own) as store:
        await store.ping()
        (first,) = store._connections._idle
        await store.ping()
        assert list(store._connections._idle) == [first]
        monkeypatch.setattr(connections, "_LIFETIME_S", 0.0)
        await store.ping()
        assert first.closed
        assert list(store._connections._idle) != [first]
