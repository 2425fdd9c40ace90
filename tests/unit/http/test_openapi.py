"""What the OpenAPI description says of every operation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from kvcore.config import resolve
from kvcore.http.app import build_app
from kvcore.http.problems import PROBLEMS
from kvcore.plugins import load_plugins
from kvcore.runtime import open_node

BEFORE_ANY_OPERATION = {"malformed-http", "header-too-large", "no-such-resource", "method-not-allowed"}
"""Problems of requests that reach no operation: nothing in the description can name them."""
OF_A_RESULT = {"answer-too-large"}
"""Problems that are part of an answer only."""

WITH_OUTCOME = {"unavailable", "overloaded", "version-not-reached", "clock-skew", "rate-limited", "draining"}
WITH_LIMIT = {"body-too-large", "value-too-large", "key-too-long"}


@pytest.fixture
async def schema() -> dict[str, Any]:
    """Give the description, as a node shows it."""
    plugins = load_plugins()
    async with open_node(resolve(plugins, environment={}, flags={"profile": "memory"}), plugins) as node:
        transport = httpx.ASGITransport(app=build_app(node, plugins))  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get("/docs/openapi.json")).json()  # type: ignore[no-any-return]  # JSON


def operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give each operation."""
    for methods in schema["paths"].values():
        yield from methods.values()


def contents(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the media type, schema and examples of every body, asked and answered."""
    for operation in operations(schema):
        for body in [operation.get("requestBody", {}), *operation["responses"].values()]:
            yield from body.get("content", {}).items()


async def test_every_operation_has_a_name_for_clients(schema: dict[str, Any]) -> None:
    """Each has an operationId in camel case of its own, a summary, and a tag that is described."""
    found = list(operations(schema))
    names = [operation["operationId"] for operation in found]
    assert len(set(names)) == len(names) >= 14
    assert all(re.fullmatch("[a-z]+([A-Z][a-z]+)+", name) for name in names)
    described = {tag["name"] for tag in schema["tags"] if tag["description"]}
    assert all(set(operation["tags"]) <= described and operation["summary"] for operation in found)


async def test_every_example_is_as_its_schema_says(schema: dict[str, Any]) -> None:
    """No JSON body is without a schema and an example, and each example is valid."""
    checked = 0
    for media_type, content in contents(schema):
        if not media_type.endswith("json"):
            continue
        examples = (
            [content["example"]] if "example" in content else [one["value"] for one in content["examples"].values()]
        )
        form = jsonschema_rs.Draft202012Validator(content["schema"] | {"components": schema["components"]})
        for example in examples:
            form.validate(example)
            checked += 1
    assert checked > 100


async def test_every_problem_is_described(schema: dict[str, Any]) -> None:
    """Each type of problem that an operation can answer with stands at one, under its status, with its header fields."""
    told = set()
    for operation in operations(schema):
        for status, answer in operation["responses"].items():
            for name in answer.get("content", {}).get("application/problem+json", {}).get("examples", ()):
                assert PROBLEMS[name].status == int(status)
                told.add(name)
            if status == "429":
                assert answer["headers"]["Retry-After"]["required"]
    assert told == set(PROBLEMS) - BEFORE_ANY_OPERATION - OF_A_RESULT


async def test_every_example_of_a_problem_is_one(schema: dict[str, Any]) -> None:
    """It has the members that such answers have; their `X-Request-Id` may be missing where a connection is refused."""
    for operation in operations(schema):
        for status, answer in operation["responses"].items():
            for name, example in (
                answer.get("content", {}).get("application/problem+json", {}).get("examples", {}).items()
            ):
                value = example["value"]
                assert (value["type"], value["status"]) == (f"/problems/{name}", int(status))
                assert ("outcome" in value) == (name in WITH_OUTCOME)
                assert ("limit_bytes" in value) == (name in WITH_LIMIT)
                assert ("version" in value) == (name == "condition-failed")
            assert answer["headers"]["X-Request-Id"]["required"] == (status not in ("400", "408", "503"))


async def test_reads_that_fail_tell_where_from(schema: dict[str, Any]) -> None:
    """The 404 of a key has the header fields of caches, and 406 those of the value too."""
    answers = schema["paths"]["/kv"]["get"]["responses"]
    assert {"Cache-Status", "Cache-Control"} <= set(answers["404"]["headers"])
    assert {"ETag", "Last-Modified", "Expires-At", "Cache-Status", "Cache-Control"} <= set(answers["406"]["headers"])


async def test_links_lead_from_a_write_to_what_can_follow(schema: dict[str, Any]) -> None:
    """Every answer to a write links to the read of what was written, and to its deletion; what links name is there."""
    names = {operation["operationId"] for operation in operations(schema)}
    for operation in operations(schema):
        for status, answer in operation["responses"].items():
            links = {link["operationId"] for link in answer.get("links", {}).values()}
            assert links <= names
            if operation["operationId"] == "putValue" and status in ("200", "201", "202"):
                assert links == {"getValue", "deleteValue"}
