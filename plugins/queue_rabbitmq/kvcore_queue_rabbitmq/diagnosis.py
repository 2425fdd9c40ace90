"""What is wrong with the servers, for `kvctl doctor`. Nothing is declared or changed on them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Final

import aiormq.exceptions as amqp
from aiormq.channel import Channel as AmqpChannel
from pamqp.commands import Queue

from kvcore.backends import Diagnosis, Finding
from kvcore.errors import OverloadedError, SettingsError, UnavailableError
from kvcore_queue_rabbitmq.link import Link, tls_context
from kvcore_queue_rabbitmq.publishing import Publisher
from kvcore_queue_rabbitmq.settings import RabbitSettings
from kvcore_queue_rabbitmq.topology import Arguments, Topology
from kvcore_queue_rabbitmq.translating import difference

__all__ = ("diagnose",)

_OLDEST: Final = (3, 10)
_CONFIRM_S: Final = 3.0
_PERMISSIONS: Final = (
    "let the user configure, write and read the queues of this prefix, and write to amq.default: "
    "`rabbitmqctl set_permissions`"
)
_MISSING: Final = "start the missing nodes; `rabbitmq-queues quorum_status` names them"
_NOWHERE: Final = "kvcore.nowhere"

_ENDS: Final = (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError)
_ENDED: Final = "it ends the connection in the TLS handshake, or right behind it"
_REFUSALS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (
        amqp.ProbableAuthenticationError,
        "it refuses the user name or the password",
        "set queue.rabbitmq.username and queue.rabbitmq.password to those of a user of the cluster, which `rabbitmqctl "
        'authenticate_user` tries out; "guest" is let in from the server\'s own machine only',
    ),
    (
        amqp.ConnectionNotAllowed,
        "it does not let the user into the virtual host",
        "make the virtual host (`rabbitmqctl add_vhost`) and give the user access to it (`rabbitmqctl set_permissions`), or "
        "correct queue.rabbitmq.virtual_host",
    ),
    (
        ssl.SSLError,
        "TLS fails",
        "set queue.rabbitmq.ca_file to the authority of its certificate, and queue.rabbitmq.hosts to the name that is in it "
        "and the port that expects TLS; a server that asks for a certificate wants queue.rabbitmq.cert_file",
    ),
    (
        OSError,
        "it cannot be reached",
        "start it, or correct queue.rabbitmq.hosts, and see that no firewall is between; with `pause_minority` a node does not "
        "listen either while fewer than a majority of the nodes are there",
    ),
)


async def diagnose(settings: RabbitSettings) -> Diagnosis:
    """Look at every host, then at the queues through the first one that lets us in."""
    try:
        tls = tls_context(settings)
    except SettingsError as error:
        about = str(error).partition(":")[0]
        remedy = "name a readable file with certificates in PEM, and for cert_file the key that belongs to it"
        return Diagnosis(findings=[_error(about, "it cannot be used", str(error), remedy)])
    looks = await asyncio.gather(*(_look_at_host(settings, host, tls) for host in settings.hosts))
    findings = [finding for finding, _ in looks]
    links = [link for _, link in looks if link is not None]
    try:
        if links:
            async for finding in _look_inside(links[0], settings):
                findings.append(finding)  # noqa: PERF401 - what was found is kept when the rest is not
    except UnavailableError as error:
        findings.append(_interrupted(settings, links[0], error))
    finally:
        await asyncio.gather(*(link.close() for link in links))
    return Diagnosis(findings=findings)


# --- hosts ------------------------------------------------------------------------------------------------------------


async def _look_at_host(settings: RabbitSettings, host: str, tls: ssl.SSLContext | None) -> tuple[Finding, Link | None]:
    about = f"host {host}"
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            link = await Link.open(settings, host, tls)
    except TimeoutError:
        what = f"it does not answer within {settings.connect_timeout_s:g} s"
        remedy = "see whether its process hangs, or whether another program has the port"
        return _error(about, what, "a connection was begun and not accepted", remedy), None
    except UnavailableError as error:
        return _refusal(about, error, uses_tls=tls is not None), None
    if link.version < _OLDEST:
        what = "it is too old: its quorum queues lack what is needed"
        return _error(about, what, link.server, "upgrade it to RabbitMQ 3.10 or later"), link
    return Finding(level="ok", about=about, what=f"{link.server} lets us in"), link


def _refusal(about: str, error: UnavailableError, *, uses_tls: bool) -> Finding:
    cause = error.__cause__
    # In TLS 1.3 the server judges our certificate after the handshake, when the driver speaks already, and wraps what it hears:
    # why, or only that the connection is reset, where that comes first.
    wrapped = None if cause is None else cause.__cause__
    if uses_tls and isinstance(wrapped, _ENDS):
        return _error(
            about, _ENDED, str(error), "see its log: it may refuse queue.rabbitmq.cert_file, or be no RabbitMQ"
        )
    for kind, what, remedy in _REFUSALS:
        if isinstance(cause, kind) or isinstance(wrapped, kind):
            return _error(about, what, str(error), remedy)
    return _error(about, "it does not speak AMQP 0-9-1 as RabbitMQ does", str(error), "correct queue.rabbitmq.hosts")


# --- what is inside ---------------------------------------------------------------------------------------------------


async def _look_inside(link: Link, settings: RabbitSettings) -> AsyncIterator[Finding]:
    """Yield what is found; raises `UnavailableError` where the connection does not last."""
    topology = Topology(settings)
    seen: dict[str, Queue.DeclareOk] = {}
    for name, arguments in topology.queues.items():
        finding, state = await _look_at_queue(link, name, arguments)
        if finding is not None:
            yield finding
        if state is not None:
            seen[name] = state
    publisher = await Publisher.on(link, settings.max_length)
    if alarm := await _look_for_alarm(link, publisher):
        yield alarm
    elif (writes := topology.name("writes")) in seen:
        majority = await _look_for_majority(publisher, writes)
        yield majority
        if majority.level == "ok":  # else the server does not know what is in its queues
            for finding in _count(topology, seen):
                yield finding


async def _look_at_queue(link: Link, name: str, arguments: Arguments) -> tuple[Finding | None, Queue.DeclareOk | None]:
    """Return what is wrong with a queue, and what is in it, None where there is no such queue."""
    about = f"queue {name}"
    try:
        state = await _declared(link, name, None)
    except UnavailableError as error:
        if not isinstance(error.__cause__, amqp.ChannelNotFoundEntity):
            return _unusable(about, error), None
        return Finding(
            level="ok", about=about, what="it is not there yet: the first node that starts declares it"
        ), None
    try:
        await _declared(link, name, arguments)
    except UnavailableError as error:
        return _unusable(about, error), state
    return None, state


def _interrupted(settings: RabbitSettings, link: Link, error: UnavailableError) -> Finding:
    if isinstance(error.__cause__, amqp.ChannelAccessRefused):
        return _error(f"user {settings.username}", "a permission is missing", str(error), _PERMISSIONS)
    remedy = "see the server's log, and look again"
    return _error(f"host {link.host}", "it stopped answering while it was looked at", str(error), remedy)


def _unusable(about: str, error: UnavailableError) -> Finding:
    if argument := difference(str(error)):
        what = f"it has been declared with another {argument}"
        remedy = (
            "set queue.rabbitmq.* to what it was declared with, or let the workers drain it, stop all nodes and delete it "
            "(`rabbitmqctl delete_queue --if-empty`): the next node that starts declares it anew"
        )
        return _error(about, what, str(error), remedy)
    return _error(about, "it cannot be used", str(error), _PERMISSIONS)


async def _declared(link: Link, name: str, arguments: Arguments | None) -> Queue.DeclareOk:
    """Declare a queue that exists, which changes nothing, or without arguments only ask for it, on a channel that may end."""
    channel: AmqpChannel = await link.passing_channel()
    passive = arguments is None
    declaring = channel.queue_declare(name, passive=passive, durable=not passive, arguments=dict(arguments or {}))
    declared = await link.run(declaring, "not-applied")
    await link.run(channel.close(), "not-applied")
    return declared


async def _look_for_alarm(link: Link, publisher: Publisher) -> Finding | None:
    """Publish what nobody gets: a server with an alarm says so only to those who publish."""
    try:
        async with asyncio.timeout(_CONFIRM_S):
            await publisher.prove(_NOWHERE, mandatory=False)
    except (TimeoutError, OverloadedError):
        pass
    if not link.is_blocked:
        return None
    return _error(
        f"host {link.host}",
        "it has an alarm and takes no messages",
        "connection.blocked came when something was published",
        "see `rabbitmq-diagnostics alarms`, then give it memory or disk space; workers go on draining it meanwhile",
    )


async def _look_for_majority(publisher: Publisher, writes: str) -> Finding:
    about = f"queue {writes}"
    try:
        async with asyncio.timeout(_CONFIRM_S):
            await publisher.prove(writes)
    except TimeoutError:
        what = "it confirms nothing: fewer than a majority of its replicas are there"
        evidence = f"a message was not confirmed within {_CONFIRM_S:g} s"
        return _error(about, what, evidence, _MISSING)
    except OverloadedError as error:
        remedy = "start workers, or see why they do not get on; then, if need be, raise queue.rabbitmq.max_length"
        return _error(about, "it is full", str(error), remedy)
    except UnavailableError as error:
        what = "it takes no messages: most likely fewer than a majority of its replicas are there"
        return _error(about, what, str(error), f"{_MISSING}; if none is missing, see the server's log")
    return Finding(level="ok", about=about, what="it confirms what is published")


def _count(topology: Topology, seen: dict[str, Queue.DeclareOk]) -> list[Finding]:
    findings = []
    for name, state in seen.items():
        if name == topology.dead:
            if state.message_count:
                what = f"{state.message_count} dead letters wait for someone to decide"
                remedy = "see their reasons, then replay or discard them"
                findings.append(_warning(f"queue {name}", what, f"message_count {state.message_count}", remedy))
        elif not state.consumer_count:
            remedy = "start a worker: `kvctl worker`"
            findings.append(_warning(f"queue {name}", "nobody consumes it", "consumer_count 0", remedy))
    return findings


def _error(about: str, what: str, evidence: str, remedy: str) -> Finding:
    return Finding(level="error", about=about, what=what, evidence=evidence, remedy=remedy)


def _warning(about: str, what: str, evidence: str, remedy: str) -> Finding:
    return Finding(level="warning", about=about, what=what, evidence=evidence, remedy=remedy)
