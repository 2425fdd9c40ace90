"""What `kvctl doctor` says about RabbitMQ."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from aiormq.abc import AbstractChannel

from kvcore.backends import Finding
from kvcore.errors import OverloadedError
from kvcore.model import Entry, Mutation, Outcome, Verdict, Version
from kvcore.secret import Secret
from kvcore.testing.servers import RabbitCluster
from kvcore.testing.waiting import eventually
from kvcore_queue_rabbitmq import RabbitQueue, RabbitSettings
from kvcore_queue_rabbitmq.diagnosis import diagnose

MUTATION = Mutation("key", Entry(Version("1" * 24), b"value"))


async def findings(settings: RabbitSettings) -> list[Finding]:
    """Return what is found."""
    return list((await diagnose(settings)).findings)


async def trouble(settings: RabbitSettings, about: str) -> Finding:
    """Return what is found about one thing, which is not well, and says how it is known and what to do."""
    found = next(one for one in await findings(settings) if one.about == about and one.level != "ok")
    assert found.evidence
    assert found.remedy
    return found


@pytest.fixture
def silent_host() -> Iterator[str]:
    """Yield the address of a socket on which nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_all_is_well(queue: RabbitQueue, settings: RabbitSettings) -> None:
    """Hosts that let us in and a queue that confirms and is consumed are all that is found."""
    async with queue.consume("writes", 1), queue.consume("refreshes", 1):
        found = await findings(settings)
    assert {one.level for one in found} == {"ok"}
    assert [one.about for one in found] == [
        *(f"host {host}" for host in settings.hosts),
        f"queue {settings.prefix}.writes",
    ]


async def test_queues_that_are_missing_are_not_declared(settings: RabbitSettings, channel: AbstractChannel) -> None:
    """Before the first node has started there are no queues, which is well, and looking makes none."""
    for _ in range(2):
        found = [one.what for one in await findings(settings) if one.about.startswith("queue ")]
        assert found == ["it is not there yet: the first node that starts declares it"] * 3


async def test_nobody_listens(settings: RabbitSettings) -> None:
    """A host that refuses connections is named, and the others are looked at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"127.0.0.1:{server.getsockname()[1]}"
    settings = msgspec.structs.replace(settings, hosts=(gone, *settings.hosts))
    assert (await trouble(settings, f"host {gone}")).what == "it cannot be reached"


async def test_nobody_answers(settings: RabbitSettings, silent_host: str) -> None:
    """A host that hangs is told from one that is not there."""
    settings = msgspec.structs.replace(settings, hosts=(silent_host,), connect_timeout_s=0.2)
    assert (await trouble(settings, f"host {silent_host}")).what == "it does not answer within 0.2 s"


async def test_the_password_is_wrong(settings: RabbitSettings) -> None:
    """Every host says that it refuses the user."""
    settings = msgspec.structs.replace(settings, password=Secret("wrong"))
    for host in settings.hosts:
        found = await trouble(settings, f"host {host}")
        assert found.what == "it refuses the user name or the password"
        assert "ACCESS_REFUSED" in found.evidence


async def test_the_virtual_host_is_missing(settings: RabbitSettings) -> None:
    """A virtual host that is not there is told from a wrong password."""
    settings = msgspec.structs.replace(settings, virtual_host="not-there")
    found = await trouble(settings, f"host {settings.hosts[0]}")
    assert found.what == "it does not let the user into the virtual host"
    assert "not-there" in found.evidence


async def test_the_user_lacks_permissions(settings: RabbitSettings, cluster: RabbitCluster, queue: RabbitQueue) -> None:
    """A user who is let in and may do nothing is told which queue it may not use."""
    for arguments in (
        ("add_user", settings.prefix, "secret"),
        ("set_permissions", settings.prefix, "^$", "^$", "^$"),
    ):
        await asyncio.to_thread(cluster.ctl, *arguments)
    try:
        settings = msgspec.structs.replace(settings, username=settings.prefix, password=Secret("secret"))
        declaring = await trouble(settings, f"queue {settings.prefix}.writes")
        publishing = await trouble(settings, f"user {settings.prefix}")
    finally:
        await asyncio.to_thread(cluster.ctl, "delete_user", settings.prefix)
    assert declaring.what == "it cannot be used"
    assert "ACCESS_REFUSED" in declaring.evidence
    assert publishing.what == "a permission is missing"


async def test_tls_is_expected_where_there_is_none(settings: RabbitSettings, tmp_path: Path) -> None:
    """A host that does not speak TLS is found out, and so is a file of certificates that is none."""
    host = settings.hosts[0]
    found = await trouble(msgspec.structs.replace(settings, tls=True), f"host {host}")
    assert found.what in {"TLS fails", "it cannot be reached"}
    (tmp_path / "ca.pem").write_text("no certificate")
    broken = msgspec.structs.replace(settings, tls=True, ca_file=str(tmp_path / "ca.pem"))
    assert (await trouble(broken, "queue.rabbitmq.ca_file")).what == "it cannot be used"


async def test_the_server_is_too_old(settings: RabbitSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version below the oldest that is supported is named."""
    monkeypatch.setattr("kvcore_queue_rabbitmq.diagnosis._OLDEST", (99,))
    found = await trouble(settings, f"host {settings.hosts[0]}")
    assert found.what == "it is too old: its quorum queues lack what is needed"
    assert re.search(r"RabbitMQ \d+\.\d+", found.evidence)


async def test_a_queue_was_declared_with_other_arguments(queue: RabbitQueue, settings: RabbitSettings) -> None:
    """The argument that differs is named, with both values."""
    settings = msgspec.structs.replace(settings, max_length=7)
    found = await trouble(settings, f"queue {settings.prefix}.refreshes")
    assert found.what == "it has been declared with another x-max-length"
    assert "'7'" in found.evidence
    assert "'1000000'" in found.evidence


async def test_nobody_consumes(queue: RabbitQueue, settings: RabbitSettings) -> None:
    """A queue without consumers is a warning: a worker may be about to start."""
    async with queue.consume("writes", 1):
        found = await trouble(settings, f"queue {settings.prefix}.refreshes")
    assert (found.level, found.what) == ("warning", "nobody consumes it")


async def test_dead_letters_wait(queue: RabbitQueue, settings: RabbitSettings) -> None:
    """Dead letters are counted."""
    await queue.publish("writes", [MUTATION])
    async with queue.consume("writes", 1) as deliveries:
        await (await anext(deliveries)).settle([Outcome(Verdict.REJECTED, reason="for a test")])
    found = await trouble(settings, f"queue {settings.prefix}.dead")
    assert (found.level, found.what) == ("warning", "1 dead letters wait for someone to decide")


async def test_the_queue_is_full(settings: RabbitSettings) -> None:
    """A queue that has reached its length is told from one that lacks a majority."""
    settings = msgspec.structs.replace(settings, max_length=1)
    queue = RabbitQueue(settings)
    async with queue.connected():

        async def full() -> bool:
            try:
                await queue.publish("writes", [MUTATION])
            except OverloadedError:
                return True
            return False

        await eventually(full, what="the refusal")
        assert (await trouble(settings, f"queue {settings.prefix}.writes")).what == "it is full"


async def test_the_server_has_an_alarm(queue: RabbitQueue, settings: RabbitSettings, cluster: RabbitCluster) -> None:
    """A memory alarm is seen, though nothing but publishing shows it."""
    await asyncio.to_thread(cluster.ctl, "set_vm_memory_high_watermark", "absolute", "1000")
    try:
        found = await trouble(settings, f"host {settings.hosts[0]}")
        assert found.what == "it has an alarm and takes no messages"
    finally:
        await asyncio.to_thread(cluster.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")


@pytest.mark.parametrize("how", ["pause", "kill"])
async def test_the_majority_is_missing(
    queue: RabbitQueue, settings: RabbitSettings, cluster: RabbitCluster, how: str
) -> None:
    """With one replica of three, which is let run on, the queue is there and takes nothing, for want of a majority."""
    lone = cluster.nodes[0]
    for node in cluster.nodes[1:]:
        getattr(node, how)()
    found = await trouble(msgspec.structs.replace(settings, hosts=(lone.address,)), f"queue {settings.prefix}.writes")
    assert "fewer than a majority" in found.what
