"""`/admin/restore`: entries as they were, with their versions and ends."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, Meta, Raw

from kvcore.errors import KvcoreError
from kvcore.http.admin_requests import ANSWER_HEADERS, CHANGING_PROBLEMS, TAGS, audited, checked_body
from kvcore.http.answers import NO_STORE, json_answer
from kvcore.http.batch import FailedResult, failed
from kvcore.http.entries import unix_ms_of, value_of
from kvcore.http.forms import ONE_VALUE, Base64Value, JsonValue, KeyOfMany, MediaType, NoQuery
from kvcore.http.in_turns import Parsing, in_turns
from kvcore.http.openapi import EXAMPLE_VERSION, DescribedAnswer, described, reference
from kvcore.http.problems import InvalidRequestError, problem_of
from kvcore.http.requests import AnyRequest, parse_json
from kvcore.model import Entry, Version
from kvcore.service import KeyValueService
from kvcore.settings import LimitSettings

__all__ = ("restore_handlers",)


class KeptEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a key held: one of `value` and `value_base64`, and what a listing shows of it."""

    key: KeyOfMany
    version: Annotated[
        str,
        Meta(
            description="The version that it had. Two keys never have had the same one.",
            pattern="^(?!0{23}[01])[0-9a-f]{24}$",
            max_length=24,
        ),
    ]
    value: JsonValue = msgspec.field(default_factory=Raw)
    value_base64: Base64Value = UNSET
    media_type: MediaType = None
    expires_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="When the key ends (RFC 3339, kept to the millisecond). Default: never."),
    ] = None


class KeptEntries(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `POST /admin/restore` takes, each key once."""

    entries: Annotated[list[KeptEntry], Meta(min_length=1)]


class RestoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an entry: `restored`, the store has it; `newer`, the store has `version`; `expired`, it was over already."""

    status: Literal[200]
    key: str
    version: str
    detail: Literal["restored", "newer", "expired"]


Result = RestoredResult | FailedResult
_ANY_RESULT: Final = {"anyOf": [reference(form) for form in get_args(Result)]}


class RestoreResults(msgspec.Struct, frozen=True):
    """One result for each entry, in their order."""

    data: Sequence[Annotated[Any, Meta(extra_json_schema=_ANY_RESULT)]]


_ENTRIES: Final = msgspec.json.Decoder(KeptEntries)


def restore_handlers(service: KeyValueService, limits: LimitSettings) -> list[HTTPRouteHandler]:
    """Return the handler of `/admin/restore` over a service."""
    parsing = Parsing(lambda body: _parse(body, limits))

    @post(
        "/admin/restore",
        status_code=200,
        operation_class=described(
            query=NoQuery,
            body=KeptEntries,
            example={"entries": [{"key": "foo", "value": "bar", "version": EXAMPLE_VERSION, "expires_at": None}]},
            answers={
                200: DescribedAnswer(
                    "A result for each entry, in their order; each is stored or not for itself. To send the same again is safe.",
                    {"data": [{"status": 200, "key": "foo", "version": EXAMPLE_VERSION, "detail": "restored"}]},
                    RestoreResults,
                    headers=ANSWER_HEADERS,
                )
            },
            problems=CHANGING_PROBLEMS,
            referred=get_args(Result),
            rules={"KeptEntry": ONE_VALUE},
        ),
        operation_id="restoreEntries",
        summary="Restore entries with their versions",
        tags=TAGS,
    )
    async def restore_entries(request: AnyRequest) -> ASGIApp:
        entries = await parsing(await checked_body(request, limits.batch_bytes))
        with audited(request, "restore entries") as audit:
            results = await in_turns(_restore(service, key, entry) for key, entry in entries.items())
            audit.came_to = _summary(results)
        return json_answer(RestoreResults(results), NO_STORE)

    return [restore_entries]


def _parse(body: bytes, limits: LimitSettings) -> Mapping[str, Entry]:
    """Return the entries by their keys, when all that can be wrong with their form has been looked at.

    Raises:
        InvalidRequestError: it is not JSON as kvcore takes it, does not have the form, or has a key twice.
    """
    sent = parse_json(body, _ENTRIES).entries
    if len(sent) > limits.batch_operations:
        raise InvalidRequestError(f"there are {len(sent)} entries, and at most {limits.batch_operations} are allowed")
    entries: dict[str, Entry] = {}
    try:
        for one in sent:
            if one.key in entries:
                raise InvalidRequestError("this key is among the entries before, and each may be there once")
            entries[one.key] = _entry_of(one)
    except InvalidRequestError as error:
        place = f"$.entries[{len(entries)}]"
        raise InvalidRequestError(f"in the body: {error} - at `{place}`", problem=error.problem) from None
    return entries


def _entry_of(kept: KeptEntry) -> Entry:
    value, media_type = value_of(kept.value, kept.value_base64, kept.media_type)
    return Entry(Version(kept.version), value, media_type, unix_ms_of(kept.expires_at))


async def _restore(service: KeyValueService, key: str, entry: Entry) -> Result:
    try:
        came_to = await service.restore(key, entry)
    except KvcoreError as error:
        return failed(key, problem_of(error))
    return RestoredResult(status=200, key=key, version=came_to.version, detail=came_to.what)


def _summary(results: Sequence[Result]) -> str:
    counts = collections.Counter(one.detail if isinstance(one, RestoredResult) else "failed" for one in results)
    return ", ".join(f"{count} {what}" for what, count in counts.items())
