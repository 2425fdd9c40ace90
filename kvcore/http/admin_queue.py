"""`/admin/queue` and `/admin/dead-letters`: how far the queue is, and what the store has refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, Meta, Raw, UnsetType

from kvcore.administration import MOST_LETTERS, Administration
from kvcore.backends import Channel, DeadLetter, QueueStats
from kvcore.http.admin_requests import ANSWER_HEADERS, CHANGING_PROBLEMS, TAGS, audited, checked_body, checked_query
from kvcore.http.answers import NO_STORE, json_answer
from kvcore.http.entries import moment
from kvcore.http.forms import NoQuery
from kvcore.http.openapi import EXAMPLE_VERSION, DescribedAnswer, described
from kvcore.http.problems import InvalidRequestError
from kvcore.http.requests import AnyRequest, check_json, parse_json, read_rest
from kvcore.model import JSON, PRESENT, ZERO, Entry, Version

__all__ = ("queue_handlers",)

_LETTERS: Final = "/admin/dead-letters"
_LETTER: Final = f"{_LETTERS}/"
_PROBLEMS: Final = ("unsupported", "unavailable")


class ChannelDepth(msgspec.Struct, frozen=True):
    """A channel: messages that wait, those in the hands of workers, and how many these are; null: not known."""

    waiting: int | None
    unsettled: int | None
    consumers: int | None


class QueueDepth(msgspec.Struct, frozen=True):
    """The queue in numbers, by channel; null: not known, or none are kept."""

    channels: dict[Channel, ChannelDepth]
    dead_letters: int | None


class QueueAnswer(msgspec.Struct, frozen=True):
    """The queue."""

    data: QueueDepth


class Lag(msgspec.Struct, frozen=True):
    """How many seconds a write takes to the store and back."""

    lag_s: float


class LagAnswer(msgspec.Struct, frozen=True):
    """What the probe has found."""

    data: Lag


class LettersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many dead letters to list."""

    limit: Annotated[int, Meta(ge=1, le=MOST_LETTERS, description="Most dead letters of the answer.")] = 100


class DeadLetterLine(msgspec.Struct, frozen=True, kw_only=True):
    """A write or delete that the store has refused, and the reason that it gave.

    `version` is what the key would have; `condition` what it depended on, as the header field that asks for it, and null where there was
    none. A delete has no `media_type`, and size 0.
    """

    id: str
    key: str
    op: Literal["put", "delete"]
    version: str
    reason: str
    size: int
    media_type: str | None
    expires_at: datetime | None
    condition: str | None


class FullDeadLetter(DeadLetterLine, frozen=True, kw_only=True):
    """A dead letter with what it carries; a put has one of `value` (where it is JSON) and `value_base64`."""

    value: Raw | UnsetType = UNSET
    value_base64: bytes | UnsetType = UNSET


class DeadLetterList(msgspec.Struct, frozen=True):
    """Dead letters, oldest first."""

    data: Sequence[DeadLetterLine]


class DeadLetterAnswer(msgspec.Struct, frozen=True):
    """A dead letter."""

    data: FullDeadLetter


class ChosenLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Dead letters by their ids; those that are not there (any more) are passed over."""

    ids: Annotated[list[str], Meta(min_length=1, max_length=MOST_LETTERS)]


class ReplayedCount(msgspec.Struct, frozen=True):
    """How many went back on their way."""

    replayed: int


class Replayed(msgspec.Struct, frozen=True):
    """What came of a replay."""

    data: ReplayedCount


class DiscardedCount(msgspec.Struct, frozen=True):
    """How many were forgotten."""

    discarded: int


class Discarded(msgspec.Struct, frozen=True):
    """What came of discarding."""

    data: DiscardedCount


_CHOSEN: Final = msgspec.json.Decoder(ChosenLetters)
_EXAMPLE: Final = {
    "id": "3f0c2f6d/0",
    "key": "foo",
    "op": "put",
    "version": EXAMPLE_VERSION,
    "reason": "the value breaks a rule of the table",
    "size": 5,
    "media_type": JSON,
    "expires_at": None,
    "condition": None,
}
_ID: Final = {"type": "string", "minLength": 1, "pattern": "^[^\\u0000]+$", "examples": [_EXAMPLE["id"]]}
_CHANNEL: Final = {"waiting": 0, "unsettled": 0, "consumers": 2}


def queue_handlers(administration: Administration, body_bytes: int) -> list[HTTPRouteHandler]:
    """Return the handlers of the queue; bodies have at most so many bytes."""
    return [
        *_depth_handlers(administration),
        *_reading_handlers(administration),
        *_deciding_handlers(administration, body_bytes),
    ]


def _depth_handlers(administration: Administration) -> list[HTTPRouteHandler]:
    @get(
        "/admin/queue",
        operation_class=described(
            query=NoQuery,
            answers={
                200: DescribedAnswer(
                    "The queue in numbers. It may count what was published in one call as one.",
                    {"data": {"channels": {"writes": _CHANNEL, "refreshes": _CHANNEL}, "dead_letters": 0}},
                    QueueAnswer,
                    headers=ANSWER_HEADERS,
                )
            },
            problems=_PROBLEMS,
        ),
        operation_id="getQueueStats",
        summary="The queue in numbers",
        tags=TAGS,
    )
    async def queue_stats(request: AnyRequest) -> ASGIApp:
        checked_query(request, NoQuery)
        return json_answer(QueueAnswer(_depth(await administration.queue_stats())), NO_STORE)

    @get(
        "/admin/queue/lag",
        operation_class=described(
            query=NoQuery,
            answers={
                200: DescribedAnswer(
                    "The time that a write takes, just now, through the queue and a worker to the store and back: a probe was sent, which"
                    " changes nothing. However many ask, one is under way.",
                    {"data": {"lag_s": 0.0042}},
                    LagAnswer,
                    headers=ANSWER_HEADERS,
                )
            },
            problems=(*_PROBLEMS, "clock-skew"),
        ),
        operation_id="measureLag",
        summary="How long a write takes to the store",
        tags=TAGS,
    )
    async def measure_lag(request: AnyRequest) -> ASGIApp:
        checked_query(request, NoQuery)
        return json_answer(LagAnswer(Lag(round(await administration.lag_s(), 6))), NO_STORE)

    return [queue_stats, measure_lag]


def _reading_handlers(administration: Administration) -> list[HTTPRouteHandler]:
    @get(
        _LETTERS,
        operation_class=described(
            query=LettersQuery,
            answers={
                200: DescribedAnswer(
                    "Dead letters, oldest first. A queue may put those behind the others that have been looked at.",
                    {"data": [_EXAMPLE]},
                    DeadLetterList,
                    headers=ANSWER_HEADERS,
                )
            },
            problems=_PROBLEMS,
        ),
        operation_id="listDeadLetters",
        summary="List dead letters",
        tags=TAGS,
    )
    async def list_dead_letters(request: AnyRequest) -> ASGIApp:
        query = checked_query(request, LettersQuery)
        if request.scope["raw_path"].startswith(_LETTER.encode()):  # with an id that is nothing but slashes
            raise _no_such_letter()
        return json_answer(
            DeadLetterList([_line(letter) for letter in await administration.dead_letters(query.limit)]), NO_STORE
        )

    @get(
        _LETTER + "{id:path}",
        operation_class=described(
            query=NoQuery,
            path={"id": {"description": "The id, percent-encoded.", "schema": _ID}},
            answers={
                200: DescribedAnswer(
                    "The dead letter with its value. It is looked for among the 1,000 that the queue lists first.",
                    {"data": _EXAMPLE | {"value": "bar"}},
                    DeadLetterAnswer,
                    headers=ANSWER_HEADERS,
                )
            },
            problems=(*_PROBLEMS, "no-such-dead-letter"),
        ),
        operation_id="getDeadLetter",
        summary="Show a dead letter",
        tags=TAGS,
    )
    async def get_dead_letter(request: AnyRequest) -> ASGIApp:
        id = read_rest(request.scope["raw_path"], _LETTER.encode())  # noqa: A001 - what it is called everywhere
        checked_query(request, NoQuery)
        letter = await administration.dead_letter(id)
        if letter is None:
            raise _no_such_letter()
        return json_answer(DeadLetterAnswer(_full(letter)), NO_STORE)

    return [list_dead_letters, get_dead_letter]


def _deciding_handlers(administration: Administration, body_bytes: int) -> list[HTTPRouteHandler]:
    def chosen(meaning: str, example: Any, form: type[msgspec.Struct]) -> Any:
        answer = DescribedAnswer(meaning, example, form, headers=ANSWER_HEADERS)
        return described(
            query=NoQuery,
            body=ChosenLetters,
            example={"ids": [_EXAMPLE["id"]]},
            answers={200: answer},
            problems=(*CHANGING_PROBLEMS, *_PROBLEMS, "overloaded"),
        )

    @post(
        f"{_LETTERS}/replay",
        status_code=200,
        operation_class=chosen(
            "How many are on their way to the store again, as they were: what has been written since stays, since it is newer.",
            {"data": {"replayed": 1}},
            Replayed,
        ),
        operation_id="replayDeadLetters",
        summary="Replay dead letters",
        tags=TAGS,
    )
    async def replay_dead_letters(request: AnyRequest) -> ASGIApp:
        ids = parse_json(await checked_body(request, body_bytes), _CHOSEN).ids
        with audited(request, "replay dead letters") as audit:
            count = await administration.replay(ids)
            audit.came_to = f"{count} of {len(ids)}"
        return json_answer(Replayed(ReplayedCount(count)), NO_STORE)

    @post(
        f"{_LETTERS}/discard",
        status_code=200,
        operation_class=chosen("How many are forgotten for good.", {"data": {"discarded": 1}}, Discarded),
        operation_id="discardDeadLetters",
        summary="Discard dead letters",
        tags=TAGS,
    )
    async def discard_dead_letters(request: AnyRequest) -> ASGIApp:
        ids = parse_json(await checked_body(request, body_bytes), _CHOSEN).ids
        with audited(request, "discard dead letters") as audit:
            count = await administration.discard(ids)
            audit.came_to = f"{count} of {len(ids)}"
        return json_answer(Discarded(DiscardedCount(count)), NO_STORE)

    return [replay_dead_letters, discard_dead_letters]


# --- forms ------------------------------------------------------------------------------------------------------------


def _no_such_letter() -> InvalidRequestError:
    return InvalidRequestError("the queue lists no dead letter of this id", problem="no-such-dead-letter")


def _depth(seen: QueueStats) -> QueueDepth:
    unsettled = seen.unsettled or {}
    channels: dict[Channel, ChannelDepth] = {
        channel: ChannelDepth(seen.waiting.get(channel), unsettled.get(channel), seen.consumers.get(channel))
        for channel in get_args(Channel)
    }
    return QueueDepth(channels, seen.dead_letters)


def _line(letter: DeadLetter) -> DeadLetterLine:
    return DeadLetterLine(**_members(letter))


def _full(letter: DeadLetter) -> FullDeadLetter:
    entry = letter.mutation.entry
    if entry.value is None:
        return FullDeadLetter(**_members(letter))
    if _is_json(entry):
        return FullDeadLetter(**_members(letter), value=Raw(entry.value))
    return FullDeadLetter(**_members(letter), value_base64=entry.value)


def _is_json(entry: Entry) -> bool:
    """Tell whether a value is what its media type says: what lies in a queue need not have come from here."""
    if entry.media_type != JSON:
        return False
    try:
        check_json(entry.value or b"")
    except InvalidRequestError:
        return False
    return True


def _members(letter: DeadLetter) -> dict[str, Any]:
    mutation, entry = letter.mutation, letter.mutation.entry
    return {
        "id": letter.id,
        "key": mutation.key,
        "op": "delete" if entry.value is None else "put",
        "version": entry.version,
        "reason": letter.reason,
        "size": len(entry.value or b""),
        "media_type": None if entry.value is None else entry.media_type,
        "expires_at": moment(entry.expires_at_ms),
        "condition": _condition(mutation.expected),
    }


def _condition(expected: Version | None) -> str | None:
    """Return a mutation's `expected` as the header field that asks for it."""
    if expected is None:
        return None
    if expected == ZERO:
        return "If-None-Match: *"
    return "If-Match: *" if expected == PRESENT else f'If-Match: "{expected}"'
