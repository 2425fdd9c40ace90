"""How the operations on a single key are described: what their two forms have in common stands here once."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from kvcore.http.forms import KEY_SCHEMA, KeyReadQuery, KeyWriteQuery, PutBody, RawPutQuery, ReadQuery, WriteQuery
from kvcore.http.openapi import EXAMPLE_VERSION, DescribedAnswer, described
from kvcore.http.single import READ_PROBLEMS, WRITE_PROBLEMS

__all__ = (
    "DELETE_RAW_VALUE",
    "DELETE_VALUE",
    "GET_RAW_VALUE",
    "GET_VALUE",
    "PUT_RAW_VALUE",
    "PUT_VALUE",
)


class WrittenVersion(msgspec.Struct, frozen=True):
    """A key, and the version that it has by this write."""

    key: str
    version: str


class WrittenAnswer(msgspec.Struct, frozen=True):
    """What a write came to: `stored`, the store has it; `queued`, a durable queue has it."""

    data: WrittenVersion
    detail: Literal["stored", "queued"]


class Value(msgspec.Struct, frozen=True):
    """Any JSON value, byte for byte as it was written."""

    value: msgspec.Raw


class ValueAnswer(msgspec.Struct, frozen=True):
    """What a key holds."""

    data: Value


_KEY: Final = {
    "key": {
        "description": "The key, percent-encoded: `%2F` for a slash within it, or the slash itself; `%2E` for a path of dots.",
        "schema": {"type": "string"} | KEY_SCHEMA,
    }
}
_BODY_PROBLEMS: Final = (
    "invalid-json",
    "value-too-large",
    "unsupported-encoding",
    "rejected-by-store",
)
_CONDITIONS: Final = ("If-Match", "If-None-Match", "Idempotency-Key")
_READ_HEADERS: Final = ("ETag", "Last-Modified", "Expires-At", "Cache-Status", "Cache-Control")
_UNCHANGED: Final = DescribedAnswer("`If-None-Match` names the version that the key has.", headers=_READ_HEADERS)


def _write_answers(what: str, *, read: str, write: str, creates: bool) -> dict[int, DescribedAnswer]:
    """Return the answers of a write, and links to the operations that read what was written, and that delete it."""
    place = {"key": "$response.body#/data/key"}
    links = {read: place | {"min_version": "$response.body#/data/version"}, write: place}
    told: Any = {"data": {"key": "foo", "version": EXAMPLE_VERSION}, "detail": "stored"}

    def answer(meaning: str, detail: str) -> DescribedAnswer:
        return DescribedAnswer(meaning, told | {"detail": detail}, WrittenAnswer, headers=("ETag",), links=links)

    answers = {200: answer(f"The store has {what}.", "stored"), 202: answer(f"A durable queue has {what}.", "queued")}
    return answers | ({201: answer("`If-None-Match: *` created it.", "stored")} if creates else {})


_JSON_FORM: Final[dict[str, str]] = {"read": "getValue", "write": "deleteValue"}
_RAW_FORM: Final[dict[str, str]] = {"read": "getRawValue", "write": "deleteRawValue"}

PUT_VALUE: Final = described(
    query=WriteQuery,
    headers=_CONDITIONS,
    body=PutBody,
    example={"data": {"key": "foo", "value": "bar", "ttl": 60}},
    answers=_write_answers("it", **_JSON_FORM, creates=True),
    problems=("body-too-large", *_BODY_PROBLEMS, *WRITE_PROBLEMS),
)
GET_VALUE: Final = described(
    query=KeyReadQuery,
    headers=("If-None-Match of a read", "Cache-Control"),
    answers={
        200: DescribedAnswer("The value.", {"data": {"value": "bar"}}, ValueAnswer, headers=_READ_HEADERS),
        304: _UNCHANGED,
    },
    problems=(*READ_PROBLEMS, "not-json"),
)
DELETE_VALUE: Final = described(
    query=KeyWriteQuery,
    headers=_CONDITIONS,
    answers=_write_answers("the delete", **_JSON_FORM, creates=False),
    problems=WRITE_PROBLEMS,
)
PUT_RAW_VALUE: Final = described(
    path=_KEY,
    query=RawPutQuery,
    headers=_CONDITIONS,
    example="any bytes",
    media_type="*/*",
    body_meaning="Its `Content-Type`, any media type of at most 255 characters, is kept with it; default: `application/octet-stream`.",
    answers=_write_answers("it", **_RAW_FORM, creates=True),
    problems=(*_BODY_PROBLEMS, *WRITE_PROBLEMS),
)
GET_RAW_VALUE: Final = described(
    path=_KEY,
    query=ReadQuery,
    headers=("If-None-Match of a read", "Cache-Control"),
    answers={
        200: DescribedAnswer(
            "The value as it was written, of the media type that it was written with.",
            "any bytes",
            media_type="*/*",
            headers=(*_READ_HEADERS, "X-Content-Type-Options", "Content-Security-Policy"),
        ),
        304: _UNCHANGED,
    },
    problems=READ_PROBLEMS,
)
DELETE_RAW_VALUE: Final = described(
    path=_KEY,
    query=WriteQuery,
    headers=_CONDITIONS,
    answers=_write_answers("the delete", **_RAW_FORM, creates=False),
    problems=WRITE_PROBLEMS,
)
