"""Exceptions of the driver."""

from __future__ import annotations

import asyncio
import ssl

import aiormq.exceptions
import pamqp.exceptions
import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from kvcore.errors import OverloadedError, UnavailableError
from kvcore_queue_rabbitmq.translating import reason, translating

ROOTS = {aiormq.exceptions.AMQPError, pamqp.exceptions.PAMQPException, pamqp.exceptions.AMQPError}
CLASSES = {
    found
    for module in (aiormq.exceptions, pamqp.exceptions)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, Exception)
}
GROUPS = {pamqp.exceptions.AMQPSoftError, pamqp.exceptions.AMQPHardError}


def raised(kind: type[Exception]) -> Exception:
    """Return an instance, made as the driver makes it."""
    if issubclass(kind, aiormq.exceptions.PublishError):
        returned = Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="", routing_key="nowhere")
        return kind(DeliveredMessage(returned, ContentHeader(), b"", channel=None), returned)  # type: ignore[arg-type]  # nobody asks for the channel
    if issubclass(kind, aiormq.exceptions.DeliveryError):
        return kind(None, Basic.Nack(1))
    return kind("words", "more words")


@pytest.mark.parametrize("kind", sorted(CLASSES - ROOTS - GROUPS, key=str))
def test_every_exception_of_the_driver_is_known(kind: type[Exception]) -> None:
    """Each class of the driver has a meaning of its own; a new one must be given one."""
    assert not reason(raised(kind)).startswith("RabbitMQ failed")


@pytest.mark.parametrize(
    "kind", sorted(CLASSES | {OSError, EOFError, asyncio.IncompleteReadError, ssl.SSLError, RuntimeError}, key=str)
)
def test_none_leaves_the_plugin(kind: type[Exception]) -> None:
    """An exception of the driver leaves as an error of kvcore, with the original as its cause."""
    error = asyncio.IncompleteReadError(b"", 1) if kind is asyncio.IncompleteReadError else raised(kind)
    with pytest.raises(UnavailableError) as caught, translating("unknown"):
        raise error
    assert caught.value.__cause__ is error


def test_a_message_that_the_server_refuses_or_returns_is_certainly_not_kept() -> None:
    """A negative confirm means a full queue, a returned message a missing one; nothing else changes the outcome given."""
    with pytest.raises(OverloadedError) as full, translating("unknown"):
        raise raised(aiormq.exceptions.DeliveryError)
    with pytest.raises(UnavailableError) as missing, translating("unknown"):
        raise raised(aiormq.exceptions.PublishError)
    assert full.value.outcome == missing.value.outcome == "not-applied"


def test_says_what_it_means_and_what_the_server_said() -> None:
    """The reason names the cause in plain words, the driver's class and the server's words."""
    words = "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received '5' but current is '9'"
    said = reason(aiormq.exceptions.ChannelPreconditionFailed(words))
    assert said.startswith("a queue has been declared with another x-max-length (ChannelPreconditionFailed: ")
    assert words in said


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("message size 2000056 is larger than configured max size 1000000", "raise its max_message_size"),
        ("delivery acknowledgement on channel 3 timed out. Timeout value used: 1800000 ms.", "consumer_timeout"),
    ],
)
def test_a_limit_of_the_server_is_told_from_a_queue_declared_otherwise(words: str, setting: str) -> None:
    """The server gives one code for all; the reason names the setting of the server that has been exceeded."""
    assert setting in reason(aiormq.exceptions.ChannelPreconditionFailed(f"PRECONDITION_FAILED - {words}"))


def test_others_pass() -> None:
    """A cancellation, and a fault of this plugin, pass untouched."""
    with pytest.raises(asyncio.CancelledError), translating("unknown"):
        raise asyncio.CancelledError
    with pytest.raises(KeyError), translating("unknown"):
        raise KeyError
