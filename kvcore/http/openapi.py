"""The OpenAPI description of handlers that read their requests themselves.

A handler names the forms that it reads (`kvcore.http.requests`) and the answers and problems that it gives; the
description is made from those, so that what is documented is what is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from litestar.openapi.spec import Operation

from kvcore.http.problems import PROBLEMS, ProblemType

__all__ = ("JsonAnswer", "described")

_HEADERS: Final = {
    "If-Match": "An ETag: write only if the key has this version. `*`: only if the key exists.",
    "If-None-Match": "Write: `*`, only if the key does not exist. Read: an ETag, answered with 304 if the key still has it.",
    "Cache-Control": "`no-cache`: read the store, not the cache.",
}
_ANSWER_HEADERS: Final = {
    "ETag": {"description": "The key's version, in quotes.", "schema": {"type": "string"}},
    "X-Request-Id": {"description": "The request's id, as sent or made here.", "schema": {"type": "string"}},
}
_PROBLEM: Final = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}


class JsonAnswer(msgspec.Struct, frozen=True):
    """What an answer means, and an example of its body; None: no body."""

    meaning: str
    example: Any


def described(
    *,
    query: type[msgspec.Struct],
    answers: Mapping[int, JsonAnswer],
    body: type[msgspec.Struct] | None = None,
    headers: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> type[Operation]:
    """Return the operation class for a handler that reads these forms and gives these answers."""
    parts: dict[str, Any] = {
        "parameters": [*_query_parameters(query), *map(_header_parameter, headers)],
        "responses": {str(status): _answer(answer) for status, answer in answers.items()} | _problems(problems),
    }
    if body is not None:
        content = {"application/json": {"schema": _inlined(body)}}
        parts["requestBody"] = {"required": True, "content": content}

    @dataclass
    class DescribedOperation(Operation):
        def to_schema(self) -> dict[str, Any]:
            return super().to_schema() | parts

    return DescribedOperation


def _query_parameters(form: type[msgspec.Struct]) -> list[dict[str, Any]]:
    schema = _inlined(form)
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.pop("description", ""),
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]


def _header_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": _HEADERS[name], "schema": {"type": "string"}}


def _answer(answer: JsonAnswer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.meaning, "headers": _ANSWER_HEADERS}
    if answer.example is not None:
        described["content"] = {"application/json": {"schema": {"type": "object"}, "example": answer.example}}
    return described


def _problems(names: Sequence[str]) -> dict[str, Any]:
    by_status: dict[str, list[ProblemType]] = {}
    for name in names:
        by_status.setdefault(str(PROBLEMS[name].status), []).append(PROBLEMS[name])
    return {
        status: {
            "description": "\n\n".join(f"`{type_.uri}`: {type_.meaning}" for type_ in types),
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
        for status, types in sorted(by_status.items())
    }


def _inlined(form: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a form's JSON schema with its references replaced by what they refer to."""
    schema = msgspec.json.schema(form)
    definitions = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolved(definitions[node["$ref"].rpartition("/")[2]])
            return {name: resolved(inner) for name, inner in node.items()}
        if isinstance(node, list):
            return [resolved(inner) for inner in node]
        return node

    result: dict[str, Any] = resolved(schema)
    return result
