"""Writes the pages of the documentation that are made from the code: the API, commands, settings, problems and metrics.

python docs/generate.py            write them
python docs/generate.py --check    only compare; exit 1 and name the pages that differ
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import httpx
import msgspec
from typer.main import get_command
from typer.testing import CliRunner

from kvcore.cli._app import app
from kvcore.cli._toml import literal
from kvcore.config import Setting, describe, resolve
from kvcore.http.app import build_app
from kvcore.http.openapi import OF_EVERY_REQUEST
from kvcore.http.problems import PROBLEMS
from kvcore.metrics import Metrics, Values
from kvcore.plugins import load_plugins
from kvcore.runtime import open_node
from kvcore.secret import Secret

FOLDER: Final = Path(__file__).parent

CLI_HEAD: Final = """\
# The command line

<!-- Made by docs/generate.py from the commands themselves: change those. -->

`kvctl` runs nodes and workers, reads and writes keys of a running node, and explains plugins and settings.

* Results go to standard output, everything else to standard error.
* `--json` prints the result as one JSON document, and `list` one for each key. It is there on every command that has a result, so not on
  `serve` and `worker`, which run until they are stopped; the results of `batch` always are JSON.
* Commands that ask a node take its URL from `--url` or from `KVCORE_URL`, and the token for it from `--token-file` or from `KVCORE_TOKEN`:
  an argument could be read by every user of the machine. They ask again, for some seconds, when a node refuses for the moment.
* What destroys something asks first. Without a terminal it refuses, unless `--yes` is given.
* Output holds no colours, but for `top` on a terminal, where `NO_COLOR` switches them off.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed; standard error says why in one line |
| 2 | wrong usage: an unknown option, a missing argument, a value of a wrong form; what only a node can tell is 1 |
| 3 | the key does not exist |
| 4 | the condition does not hold: nothing was written; of `get --if-none-match`: the key still has that version |
| 130 | Ctrl-C |

"""

SETTINGS_HEAD: Final = """\
# Settings

<!-- Made by docs/generate.py from the settings themselves: change those. -->

A setting is known by its path, such as `http.port`. What is in force comes from these layers, each over the one before:

1. the defaults below;
2. the profile: `memory`, `embedded` (the default) or `production`;
3. a TOML file: `--config FILE`, or the one that `KVCORE_CONFIG` names, or `kvcore.toml` in the current folder;
4. the environment: `KVCORE_HTTP__PORT` is `http.port`;
5. flags: `--set http.port=9000`, and those with names of their own, such as `--port`.

A list is written as JSON in the environment and in flags: `KVCORE_QUEUE__RABBITMQ__HOSTS='["a:5672", "b:5672"]'`.
A secret is shown nowhere, and can be read from a file: its name with `_file` at the end names that.

Unknown names, wrong types and combinations that cannot work are refused, with the path and where the value came from. `kvctl config show`
prints what is in force and why, `kvctl config check` tells whether it can work, and `kvctl config init` writes a commented file.

"""


PROBLEMS_HEAD: Final = """\
# Problems

<!-- Made by docs/generate.py from the types themselves: change those. -->

Every error answer is a document of RFC 9457 (`application/problem+json`):

```json
{"type": "/problems/key-too-long", "title": "Key too long", "status": 414,
 "detail": "the key has 70000 bytes, and at most 65536 are allowed", "limit_bytes": 65536}
```

`type` is stable: branch by it. `detail` is for people, and says what to do. Answers 503 carry `Retry-After` in seconds and, as `outcome`,
what became of the request. Only the 503 of `/health` is no problem where the node is unhealthy: it is the same document of the node and its
tiers as with 200 (`application/json`, without `Retry-After`).

"""

API_HEAD: Final = """\
# The API, operation by operation

<!-- Made by docs/generate.py from the OpenAPI description: change that. -->

What each operation takes and gives. [The HTTP API](http-api.md) says what it means. A node shows this at `/docs`, to be
tried out, and as OpenAPI 3.1 at `/docs/openapi.json`. Every operation takes `X-Request-Id` and `traceparent`,
and every answer has `X-Request-Id`, but for some that are given before a request is known (400, 408, 503).

"""

METRICS_HEAD: Final = """\
# Metrics

<!-- Made by docs/generate.py from the metrics themselves: change those. -->

`GET /metrics` of a node, and of a worker, shows these in the Prometheus text format, counted since the process began, and what
prometheus-client knows of every process (`process_*`, `python_*`). With `http.processes` above 1 every sample has the label `process`
besides: the number of the process.

Nodes and workers show the same names. What concerns the queue moves where a worker runs, in `kvctl worker` or in a node with
`worker.in_node`. Add over all of them; but each worker sees the same queue (`kvcore_queue_*`): take the largest there, except
of `unsettled`.

A label has no other values than are named here, however many keys, addresses and tokens there are. Counters whose labels are all listed
are there with 0 before anything happens, so that a rate sees the first event; those by tier, for the tiers that the process has.

"""


def cli_page() -> str:
    """Return the page about the commands: the help of each, as `kvctl` prints it."""

    def walk(path: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
        yield path
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk((*path, name), inner)

    runner = CliRunner()
    sections = []
    for path in walk((), get_command(app)):
        result = runner.invoke(
            app,
            [*path, "--help"],
            prog_name="kvctl",
            terminal_width=100,
            env={"KVCORE_URL": None},
            catch_exceptions=False,
        )
        title = " ".join(("kvctl", *path))
        sections.append(f"## {title}\n\n```text\n{result.stdout.rstrip()}\n```\n")
    return CLI_HEAD + "\n".join(sections)


def settings_page() -> str:
    """Return the page about the settings: a table for each group."""
    sections = []
    for table, settings in groupby(describe(load_plugins()), lambda setting: setting.path.rpartition(".")[0]):
        rows = "\n".join(_row(setting) for setting in settings)
        title = f"## `[{table}]`" if table else "## At the top"
        sections.append(f"{title}\n\n| setting | type | default | meaning |\n| --- | --- | --- | --- |\n{rows}\n")
    return SETTINGS_HEAD + "\n".join(sections)


def problems_page() -> str:
    """Return the page about the problems: what each means, by status."""
    rows = "\n".join(f"| {type_.status} | `{type_.uri}` | {type_.meaning} |" for type_ in PROBLEMS.values())
    return f"{PROBLEMS_HEAD}| status | type | meaning |\n| --- | --- | --- |\n{rows}\n"


def metrics_page() -> str:
    """Return the page about the metrics: each that is kvcore's own, with its kind, unit and labels."""
    rows = "\n".join(
        _cells(f"`{metric.name}`", metric.type, _unit(metric.name), _labels(metric.labels), metric.meaning)
        for metric in Metrics().described()
    )
    return f"{METRICS_HEAD}| metric | kind | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n{rows}\n"


def api_page() -> str:
    """Return the page about the API: every operation, as OpenAPI describes it."""
    schema = _openapi()
    sections = []
    for tag in schema["tags"]:
        sections.append(f"## {tag['name'].capitalize()}\n\n{tag['description']}\n")
        sections += [
            _operation(method, path, operation)
            for path, operations in schema["paths"].items()
            for method, operation in operations.items()
            if tag["name"] in operation["tags"]
        ]
    forms = [_form(name, form) for name, form in schema["components"]["schemas"].items()]
    return API_HEAD + "\n".join([*sections, "## Forms\n", *forms])


def _openapi() -> dict[str, Any]:
    """Return the description that a node gives of its API."""

    async def described() -> dict[str, Any]:
        plugins = load_plugins()
        async with open_node(resolve(plugins, environment={}, flags={"profile": "memory"}), plugins) as node:
            transport = httpx.ASGITransport(app=build_app(node, plugins))  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                schema: dict[str, Any] = (await client.get("/docs/openapi.json")).json()
                return schema

    return asyncio.run(described())


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"### `{method.upper()} {path}`\n\n{operation['summary']}: `{operation['operationId']}`.\n"]
    if "description" in operation:
        parts.append(operation["description"] + "\n")
    parameters = [parameter for parameter in operation["parameters"] if parameter["name"] not in OF_EVERY_REQUEST]
    if parameters:
        rows = "\n".join(map(_parameter, parameters))
        parts.append(f"| parameter | in | type | meaning |\n| --- | --- | --- | --- |\n{rows}\n")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body: {_content(media_type, content)}\n")
    rows = "\n".join(_response(status, answer) for status, answer in sorted(operation["responses"].items()))
    parts.append(f"| status | meaning | body | header fields |\n| --- | --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


def _parameter(parameter: dict[str, Any]) -> str:
    name = f"`{parameter['name']}`" + (", required" if parameter["required"] else "")
    return _cells(name, parameter["in"], schema_text(parameter["schema"]), parameter.get("description", ""))


def _response(status: str, answer: dict[str, Any]) -> str:
    problems = answer.get("content", {}).get("application/problem+json", {}).get("examples", ())
    meanings = [] if problems else [answer["description"]]
    meanings += [f"[`/problems/{name}`](problems.md)" for name in problems]
    bodies = [_content(*content) for content in answer.get("content", {}).items() if "example" in content[1]]
    if not problems and not bodies:
        bodies = [f"`{media_type}`" for media_type in answer.get("content", ())]
    headers = ", ".join(f"`{name}`" for name in answer["headers"] if name != "X-Request-Id")
    return _cells(status, ", ".join(meanings), ", ".join(bodies), headers)


def _content(media_type: str, content: dict[str, Any]) -> str:
    example = content.get("example")
    shown = example if isinstance(example, str) else json.dumps(example)
    return f"`{media_type}` {schema_text(content['schema'])}, such as `{shown}`".replace(" any,", ",")


def _form(name: str, form: dict[str, Any]) -> str:
    head = f"### {name}\n\n{form.get('description', '')}\n"
    if "properties" not in form:
        return f"{head}\n{schema_text(form)}\n"
    required = form.get("required", ())
    rows = "\n".join(
        _cells(
            f"`{member}`" + (", required" * (member in required)), schema_text(schema), schema.get("description", "")
        )
        for member, schema in form["properties"].items()
    )
    return f"{head}\n| member | type | meaning |\n| --- | --- | --- |\n{rows}\n"


def schema_text(schema: dict[str, Any]) -> str:
    """Return what a JSON schema takes, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for kind in ("anyOf", "oneOf"):
        if kind in schema:
            return " or ".join(schema_text(option) for option in schema[kind])
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{json.dumps(option)}`" for option in schema.get("enum", [schema.get("const")]))
    name = schema.get("type", "any")
    if name == "array":
        return f"list of {schema_text(schema['items'])}"
    bounds = [f"{sign} {schema[word]}" for sign, word in (("≥", "minimum"), ("≤", "maximum")) if word in schema]
    if "pattern" in schema:
        bounds.append(f"`{schema['pattern']}`")
    return ", ".join([name, *bounds])


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |"


def _unit(name: str) -> str:
    return next((unit for unit in ("seconds", "bytes") if name.removesuffix("_total").endswith(f"_{unit}")), "number")


def _labels(labels: Mapping[str, Values]) -> str:
    """Return labels with the values that each can have."""
    return "; ".join(
        f"`{label}`: {values if isinstance(values, str) else ', '.join(f'`{value}`' for value in values)}"
        for label, values in labels.items()
    )


def _row(setting: Setting) -> str:
    default = (
        ""
        if setting.default in (msgspec.NODEFAULT, None)
        else f"`{literal(msgspec.to_builtins(setting.default, enc_hook=str))}`"
    )
    cells = (f"`{setting.path}`", type_text(setting.type), default or "no default", setting.description)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def type_text(type_: Any) -> str:
    """Return what a setting takes, in words."""
    bounds = []
    while hasattr(type_, "__metadata__"):
        for meta in type_.__metadata__:
            if isinstance(meta, msgspec.Meta):
                bounds += [
                    f"{sign} {limit}"
                    for sign, limit in ((">", meta.gt), ("≥", meta.ge), ("<", meta.lt), ("≤", meta.le))
                    if limit is not None
                ]
        type_ = type_.__origin__
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return "tables"
    words = {bool: "true or false", int: "integer", float: "number", str: "text", Secret: "secret text"}
    if type_ in words:
        name = words[type_]
    elif get_origin(type_) in (list, tuple):
        name = f"list of {type_text(get_args(type_)[0])}"
    else:
        options = [type_text(one) for one in get_args(type_) if one is not type(None)]
        name = " or ".join(options) or getattr(type_, "__name__", str(type_))
    return ", ".join([name, *bounds])


PAGES: Final = {
    "api.md": api_page,
    "cli.md": cli_page,
    "settings.md": settings_page,
    "problems.md": problems_page,
    "metrics.md": metrics_page,
}


def stale_pages(folder: Path = FOLDER) -> list[str]:
    """Return the names of the pages that differ from what the code says."""
    return [
        name
        for name, make in PAGES.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != make()
    ]


def main(arguments: list[str]) -> int:
    """Write or compare the pages; return the exit code."""
    if arguments == ["--check"]:
        stale = stale_pages()
        for name in stale:
            print(f"docs/{name} is not what the code says: run python docs/generate.py", file=sys.stderr)
        return 1 if stale else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
