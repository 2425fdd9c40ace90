"""The OpenAPI description of handlers that read their requests themselves.

A handler names the forms that it reads and answers with (msgspec Structs) and the problems that it gives; the description is
made from those, so that what is documented is what is checked.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec
from litestar.openapi.spec import Components, Operation, SecurityScheme

from kvcore.http.problem_examples import EXAMPLE_VERSION, example_of
from kvcore.http.problems import PROBLEMS, ProblemType
from kvcore.problem_types import ProblemName

__all__ = (
    "BEARER",
    "EXAMPLE_VERSION",
    "OF_EVERY_REQUEST",
    "DescribedAnswer",
    "Problem",
    "components",
    "described",
    "reference",
)

Schema = dict[str, Any]

BEARER: Final = "bearer"
_SCHEMAS: Final = "#/components/schemas/"
_ETAG: Final[Schema] = {"type": "string", "pattern": '^"[0-9a-f]{24}"$', "examples": [f'"{EXAMPLE_VERSION}"']}


def _field(description: str, *, required: bool = False, **schema: Any) -> Schema:
    return {"description": description, "required": required, "schema": {"type": "string"} | schema}


_REQUEST_HEADERS: Final = {
    "If-Match": _field(
        "An ETag: write only if the key has this version. `*`: only if the key exists. Not together with `If-None-Match`.",
        anyOf=[{"const": "*"}, {"pattern": '^"(?!0{24})[0-9a-f]{24}"$'}],
        examples=["*"],
    ),
    "If-None-Match": _field("`*`: write only if the key does not exist.", enum=["*"]),
    "If-None-Match of a read": _field(
        "An ETag, or several: answered with 304 if the key still has one of these versions.",
        pattern=r'^(\*|([ \t,]*(W/)?"[!#-~\u0080-\u00ff]*")+[ \t,]*)?$',
        examples=["*"],
    ),
    "Idempotency-Key": _field(
        "1 to 255 visible ASCII characters, with a condition only: the same request with the same key again gets the first answer.",
        pattern=r"^[!#-~]{1,255}$",
    ),
    "Cache-Control": _field("`no-cache`: read the store, not the cache.", examples=["no-cache"]),
    "X-Request-Id": _field("Up to 128 visible ASCII characters, which name the request; others are replaced."),
    "traceparent": _field("The trace that the request belongs to (W3C Trace Context); what is none is ignored."),
}
OF_EVERY_REQUEST: Final = ("X-Request-Id", "traceparent")
_ANSWER_HEADERS: Final = {
    "Allow": _field("The methods of this path.", required=True),
    "Cache-Control": _field("`no-cache`: ask again before using a kept answer.", required=True),
    "Cache-Status": _field(
        "Where the answer came from (RFC 9211).", required=True, pattern="^kvcore; (hit|fwd=[a-z]+)$"
    ),
    "Content-Security-Policy": _field("A browser runs nothing of what is shown.", required=True),
    "ETag": _field("The version that the key has, in quotes.", required=True, **_ETAG),
    "ETag, if any": _field("The version that the key has, in quotes, where it exists.", **_ETAG),
    "Expires-At": _field("When the key ends, where it has a time to live (RFC 3339).", format="date-time"),
    "Last-Modified": _field("When the version was written.", required=True),
    "Retry-After": _field("Seconds to wait before sending the same again.", required=True, type="integer", minimum=1),
    "WWW-Authenticate": _field("How to show a token.", required=True),
    "X-Content-Type-Options": _field("`nosniff`: a browser does not guess a type.", required=True),
    "X-Request-Id": _field("The request's id, as sent or made here.", required=True),
}
_BEFORE_A_REQUEST: Final = (400, 408, 503)
"""Statuses of answers that may be given before a request is known, which have no id then."""
_HEADERS_OF_PROBLEMS: Final = {
    "key-not-found": ("Cache-Status", "Cache-Control"),
    "not-json": ("ETag", "Last-Modified", "Expires-At", "Cache-Status", "Cache-Control"),
    "condition-failed": ("ETag, if any",),
    "unauthenticated": ("WWW-Authenticate",),
}
_ANYWHERE: Final = ("invalid-request", "request-timeout", "unknown-host", "rate-limited", "overloaded", "internal")
_CLOSED: Final = ("unauthenticated", "forbidden")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong and what to do (RFC 9457): branch by `type`, see docs/problems.md."""

    type: str
    title: str
    status: int
    detail: str
    outcome: str | msgspec.UnsetType = msgspec.UNSET
    limit_bytes: int | msgspec.UnsetType = msgspec.UNSET
    version: str | msgspec.UnsetType = msgspec.UNSET


class DescribedAnswer(msgspec.Struct, frozen=True):
    """An answer: what it means, its body (a `form` in JSON, or anything of a `media_type`; None: none), its header fields.

    `links` names operations that can follow, with their parameters as runtime expressions.
    """

    meaning: str
    example: Any = None
    form: type[msgspec.Struct] | None = None
    media_type: str | None = None
    headers: tuple[str, ...] = ()
    links: Mapping[str, Mapping[str, str]] = {}


def reference(form: type[msgspec.Struct]) -> Schema:
    """Return the schema that refers to a form's, which `components` has to be given."""
    return {"$ref": _SCHEMAS + form.__name__}


def described(
    *,
    query: type[msgspec.Struct],
    answers: Mapping[int, DescribedAnswer],
    problems: Sequence[ProblemName] = (),
    path: Mapping[str, Schema] | None = None,
    headers: Sequence[str] = (),
    body: type[msgspec.Struct] | None = None,
    example: Any = None,
    media_type: str = "application/json",
    body_meaning: str = "",
    referred: Sequence[type[msgspec.Struct]] = (),
    rules: Mapping[str, Schema] | None = None,
    is_open: bool = False,
) -> type[Operation]:
    """Return the operation class of a handler that reads these forms and gives these answers.

    `body` is the form of a body of JSON, with an `example`; without a form, any bytes of `media_type`, where there is an
    example; `body_meaning` is told of it. `referred` are forms that others refer to by `reference`, and `rules` what holds
    for forms, by name, beyond what their types say. `is_open`: nobody is asked for a token.
    """
    parts: Schema = {
        "parameters": [
            *_path_parameters(path or {}),
            *_query_parameters(query),
            *map(_header_parameter, (*headers, *OF_EVERY_REQUEST)),
        ],
        "responses": {str(status): _answer(answer) for status, answer in answers.items()}
        | _problems(answers, [*problems, *_ANYWHERE, *(() if is_open else _CLOSED)]),
    }
    if example is not None or body is not None:
        schema = reference(body) if body is not None else {}
        parts["requestBody"] = {"required": True, "content": {media_type: {"schema": schema, "example": example}}}
        if body_meaning:
            parts["requestBody"]["description"] = body_meaning
    if is_open:
        parts["security"] = []
    told = [form for form in (body, *referred, *(answer.form for answer in answers.values())) if form is not None]

    @dataclass
    class DescribedOperation(Operation):
        forms: ClassVar = tuple(told)
        rules_of_forms: ClassVar = dict(rules or {})

        def to_schema(self) -> Schema:
            return super().to_schema() | parts

    return DescribedOperation


def components(operations: Iterable[type[Operation]]) -> Components:
    """Return what operations refer to: the schemas of their forms, and how to show a token."""
    operations = list(operations)
    forms = {form for operation in operations for form in getattr(operation, "forms", ())}
    _, schemas = msgspec.json.schema_components([Problem, *forms], ref_template=_SCHEMAS + "{name}")
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    for operation in operations:
        for name, rule in getattr(operation, "rules_of_forms", {}).items():
            schemas[name] |= rule
    token = SecurityScheme(
        type="http",
        scheme="bearer",
        description='A token, as `kvctl token create` makes them. A node with `auth.mode` "none" asks nobody for one.',
    )

    @dataclass
    class DescribedComponents(Components):
        def to_schema(self) -> Schema:
            parts = super().to_schema()
            return parts | {"schemas": dict(sorted((parts.get("schemas", {}) | schemas).items()))}

    return DescribedComponents(security_schemes={BEARER: token})


def _path_parameters(path: Mapping[str, Schema]) -> list[Schema]:
    return [{"name": name, "in": "path", "required": True, **described} for name, described in path.items()]


def _query_parameters(form: type[msgspec.Struct]) -> list[Schema]:
    schema = msgspec.json.schema_components([form])[1][form.__name__]
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.pop("description", ""),
            "schema": _without_null(field),
        }
        for name, field in schema["properties"].items()
    ]


def _without_null(schema: Schema) -> Schema:
    """Return the schema of what may be left out, as it is where it is there: a query cannot say null."""
    if schema.get("default", ...) is None:
        del schema["default"]
    if "anyOf" in schema:
        (schema,) = (option for option in schema["anyOf"] if option != {"type": "null"})
    if None in schema.get("enum", ()):
        schema["enum"] = [option for option in schema["enum"] if option is not None]
    return schema


def _header_parameter(name: str) -> Schema:
    return {"name": name.partition(" ")[0], "in": "header", **_REQUEST_HEADERS[name]}


def _answer(answer: DescribedAnswer) -> Schema:
    told: Schema = {"description": answer.meaning, "headers": _headers(answer.headers)}
    if answer.form is not None:
        content: Schema = {"schema": reference(answer.form)}
        if answer.example is not None:
            content["example"] = answer.example
        told["content"] = {"application/json": content}
    elif answer.media_type is not None:
        told["content"] = {
            answer.media_type: {"schema": {}} | ({} if answer.example is None else {"example": answer.example})
        }
    if answer.links:
        told["links"] = {
            name: {"operationId": name, "parameters": dict(parameters)} for name, parameters in answer.links.items()
        }
    return told


def _headers(names: Iterable[str]) -> Schema:
    return {name.partition(",")[0]: _ANSWER_HEADERS[name] for name in (*names, "X-Request-Id")}


def _problems(answers: Mapping[int, DescribedAnswer], names: Iterable[ProblemName]) -> Schema:
    by_status: dict[int, dict[ProblemName, ProblemType]] = {}
    for name in names:
        by_status.setdefault(PROBLEMS[name].status, {})[name] = PROBLEMS[name]
    told: Schema = {}
    for status, types in sorted(by_status.items()):
        content = {"application/problem+json": _problem_content(types)}
        headers = {header for name in types for header in _HEADERS_OF_PROBLEMS.get(name, ())}
        if status in (429, 503):
            headers.add("Retry-After")
        meanings = [f"`{type_.uri}`: {type_.meaning}" for type_ in types.values()]
        if status in answers:
            meanings.insert(0, answers[status].meaning)
            content |= _answer(answers[status])["content"]
            headers.clear()
        fields = _headers(sorted(headers))
        if status in _BEFORE_A_REQUEST:
            fields["X-Request-Id"] = _ANSWER_HEADERS["X-Request-Id"] | {"required": False}
        told[str(status)] = {
            "description": "\n\n".join(meanings),
            "headers": fields,
            "content": content,
        }
    return told


def _problem_content(types: Mapping[ProblemName, ProblemType]) -> Schema:
    known = {"type": {"enum": [type_.uri for type_ in types.values()]}}
    examples = {
        name: {
            "summary": type_.title,
            "value": example_of(name),
        }
        for name, type_ in types.items()
    }
    return {"schema": {"allOf": [reference(Problem), {"properties": known}]}, "examples": examples}
