"""From exceptions of the driver to those of kvcore: none of the former leaves this plugin."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiormq.exceptions as amqp
import pamqp.exceptions as protocol

from kvcore.errors import Fate, OverloadedError, UnavailableError

__all__ = ("difference", "reason", "translating", "unavailable")

_TOO_LARGE: Final = "the server takes no message as large as this: raise its max_message_size"
_MEANINGS: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    # What became of a message.
    ((amqp.PublishError,), "the queue is gone; it will be declared again"),
    ((amqp.DeliveryError,), "the queue is full"),
    # What the server has against us.
    (
        (amqp.ProbableAuthenticationError, amqp.AuthenticationError),
        "the server refuses the user name or the password",
    ),
    (
        (amqp.ConnectionNotAllowed, protocol.AMQPNotAllowed, protocol.AMQPInvalidPath),
        "the virtual host does not exist, or the user has no access to it",
    ),
    ((amqp.ChannelAccessRefused, protocol.AMQPAccessRefused), "the user lacks a permission"),
    (
        (amqp.ChannelPreconditionFailed, protocol.AMQPPreconditionFailed),
        "the server finds that a condition of the operation is not met",
    ),
    ((amqp.ChannelNotFoundEntity, protocol.AMQPNotFound), "a queue is missing; it will be declared again"),
    ((amqp.ChannelLockedResource, protocol.AMQPResourceLocked), "another connection holds the queue for itself"),
    # What the server suffers from.
    (
        (
            amqp.ConnectionInternalError,
            amqp.ConnectionResourceError,
            protocol.AMQPInternalError,
            protocol.AMQPResourceError,
        ),
        "the server has an internal problem: see its log",
    ),
    ((protocol.AMQPContentTooLarge,), _TOO_LARGE),
    ((protocol.AMQPConnectionForced,), "an operator closed the connection"),
    # What is no RabbitMQ, or not one that we can speak to.
    (
        (
            amqp.IncompatibleProtocolError,
            amqp.ProtocolSyntaxError,
            amqp.InvalidFrameError,
            amqp.ConnectionSyntaxError,
            amqp.ConnectionFrameError,
            amqp.ConnectionUnexpectedFrame,
            amqp.MethodNotImplemented,
            amqp.ConnectionNotImplemented,
            protocol.UnmarshalingException,
            protocol.AMQPFrameError,
            protocol.AMQPSyntaxError,
            protocol.AMQPUnexpectedFrame,
            protocol.AMQPNotImplemented,
        ),
        "what answers does not speak AMQP 0-9-1 as RabbitMQ does",
    ),
    # Those that would be a fault of this plugin.
    (
        (
            amqp.DuplicateConsumerTag,
            amqp.ConnectionCommandInvalid,
            amqp.ConnectionChannelError,
            protocol.AMQPNoRoute,
            protocol.AMQPNoConsumers,
            protocol.AMQPCommandInvalid,
            protocol.AMQPChannelError,
        ),
        "a fault in kvcore-queue-rabbitmq",
    ),
    # Those that say nothing but that it is over.
    ((ssl.SSLError,), "TLS failed"),
    (
        (amqp.ConnectionClosed, amqp.ChannelClosed, amqp.ChannelInvalidStateError),
        "the connection was closed",
    ),
    ((amqp.AMQPConnectionError, OSError, EOFError), "the connection failed"),
    ((amqp.AMQPChannelError, RuntimeError), "the connection is lost"),
    ((amqp.AMQPError, protocol.PAMQPException), "RabbitMQ failed"),
)

_FOREIGN: Final = tuple(kind for kinds, _ in _MEANINGS for kind in kinds)
_DIFFERENT: Final = re.compile(r"inequivalent arg '([^']+)'")
_WORDS: Final = (
    # The server has one code for these and for a queue that was declared otherwise.
    (re.compile(r"message size \d+ is larger than"), _TOO_LARGE),
    (
        re.compile(r"delivery acknowledgement .*timed out"),
        "messages were held for longer than the server's consumer_timeout, and are delivered again",
    ),
)


def difference(words: str) -> str:
    """Return the argument in which a queue differs from what was declared, as the server names it; nothing if it does not."""
    found = _DIFFERENT.search(words)
    return found[1] if found else ""


def reason(error: Exception) -> str:
    """Say what an exception means to who runs the node, followed by the driver's own words."""
    words = ", ".join(str(argument) for argument in error.args if argument is not None)
    if argument := difference(words):
        meaning = f"a queue has been declared with another {argument}"
    else:
        meaning = next((text for pattern, text in _WORDS if pattern.search(words)), "") or _meaning(error)
    return f"{meaning} ({type(error).__name__}: {words or 'no more is known'})"


def _meaning(error: Exception) -> str:
    return next(text for kinds, text in _MEANINGS if isinstance(error, kinds))


def unavailable(error: Exception, outcome: Fate) -> UnavailableError:
    """Return the error of kvcore for one of the driver; a message that came back was certainly not kept."""
    if isinstance(error, amqp.PublishError):
        outcome = "not-applied"
    elif isinstance(error, amqp.DeliveryError):
        return OverloadedError(f"RabbitMQ refuses the message: {reason(error)}")
    return UnavailableError(f"RabbitMQ: {reason(error)}", outcome=outcome)


@contextmanager
def translating(outcome: Fate) -> Iterator[None]:
    """Turn exceptions of the driver into `UnavailableError`; let all others pass."""
    try:
        yield
    except _FOREIGN as error:
        raise unavailable(error, outcome) from error
