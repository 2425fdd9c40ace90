"""The administration of a running node, on each profile."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from kvcore.testing.nodes import NodeProcess
from tests.e2e.endpoint import Endpoint

OLD = "0190" + "0" * 19 + "a"
"""A version of the year 2024."""


def entry(key: str, **members: Any) -> dict[str, Any]:
    """Return an entry to restore."""
    return {"key": key, "value": 1, "version": OLD} | members


def restore(client: httpx.Client, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    """Restore entries and return the results."""
    answer = client.post("/admin/restore", json={"entries": entries})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]  # type: ignore[no-any-return]  # JSON


def kvctl(*arguments: str) -> Any:
    """Run a command and return the JSON that it writes."""
    command = [sys.executable, "-m", "kvcore.cli", *arguments, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_what_was_restored_is_as_it_was(client: httpx.Client, key: str) -> None:
    """Version, bytes, media type and end are those given, through cache, queue and store."""
    ends = "2099-12-31T23:59:59.123000Z"
    image = {"value_base64": "AP8=", "media_type": "image/png", "expires_at": ends}
    (result,) = restore(client, {"key": key, "version": OLD} | image)
    assert result == {"status": 200, "key": key, "version": OLD, "detail": "restored"}
    answer = client.get(f"/kv/{key}")
    assert answer.content == b"\x00\xff"
    headers = {name: answer.headers[name] for name in ("etag", "content-type", "expires-at", "last-modified")}
    assert headers == {
        "etag": f'"{OLD}"',
        "content-type": "image/png",
        "expires-at": ends,
        "last-modified": "Mon, 10 Jun 2024 02:35:18 GMT",
    }


def test_a_listing_can_be_restored_as_it_is(client: httpx.Client, key: str) -> None:
    """What `GET /keys?values=true` shows of a key can be sent back: on the node that has it, nothing changes."""
    client.put("/kv", json={"data": {"key": f"{key}/json", "value": [1], "ttl": 1000}}, params={"ack": "stored"})
    client.put(f"/kv/{key}/raw", content=b"\xff", params={"ack": "stored"})
    lines = client.get("/keys", params={"prefix": f"{key}/", "values": "true"}).json()["data"]
    entries = [{name: value for name, value in line.items() if name != "size"} for line in lines]
    assert [one["detail"] for one in restore(client, *entries)] == ["restored"] * 2
    assert client.get("/keys", params={"prefix": f"{key}/", "values": "true"}).json()["data"] == lines


def test_what_is_newer_stays(client: httpx.Client, key: str) -> None:
    """Neither a value nor a delete gives way to what was before it, and the cache shows what the store has."""
    client.put("/kv", json={"data": {"key": f"{key}/1", "value": "new"}}, params={"ack": "stored"})
    client.delete("/kv", params={"key": f"{key}/2", "ack": "stored"})
    assert [one["detail"] for one in restore(client, entry(f"{key}/1"), entry(f"{key}/2"))] == ["newer"] * 2
    assert client.get("/kv", params={"key": f"{key}/1"}).json() == {"data": {"value": "new"}}
    assert client.get("/kv", params={"key": f"{key}/2"}).status_code == 404


def test_a_restored_key_that_was_read_before_is_read_anew(client: httpx.Client, key: str) -> None:
    """The cache knows that there was nothing, until there is something."""
    assert [client.get("/kv", params={"key": key}).status_code for _ in range(2)] == [404, 404]
    restore(client, entry(key))
    assert client.get("/kv", params={"key": key}).json() == {"data": {"value": 1}}


def test_a_condition_can_name_a_restored_version(client: httpx.Client, key: str) -> None:
    """Whoever knew the ETag before can go on from it, and what is written then is newer."""
    restore(client, entry(key))
    written = client.put("/kv", json={"data": {"key": key, "value": 2}}, headers={"if-match": f'"{OLD}"'})
    assert written.status_code == 200
    assert written.json()["data"]["version"] > OLD


def test_a_thousand_entries_at_once(client: httpx.Client, key: str) -> None:
    """A request of the greatest length is done; one that is longer, or larger, is refused as a whole."""
    entries = [entry(f"{key}/{number}") for number in range(1000)]
    assert {one["detail"] for one in restore(client, *entries)} == {"restored"}
    assert len(client.get("/keys", params={"prefix": f"{key}/", "limit": 1000}).json()["data"]) == 1000
    too_many = client.post("/admin/restore", json={"entries": [*entries, entry(key)]})
    assert (too_many.status_code, "1001 entries" in too_many.json()["detail"]) == (400, True)
    too_large = client.post("/admin/restore", json={"entries": [entry(key, value="x" * (8 << 20))]})
    assert (too_large.status_code, too_large.json()["type"]) == (413, "/problems/body-too-large")


def test_a_cleared_cache_is_filled_again(client: httpx.Client, key: str) -> None:
    """What was a hit is a miss after it, with the same answer."""
    client.put("/kv", json={"data": {"key": key, "value": 1}}, params={"ack": "stored"})
    answers = [client.get("/kv", params={"key": key}) for _ in range(2)]
    assert answers[1].headers["cache-status"] == "kvcore; hit"
    assert client.post("/admin/cache/clear", json={}).json() == {"detail": "cleared"}
    again = client.get("/kv", params={"key": key})
    assert (again.headers["cache-status"], again.json()) == ("kvcore; fwd=miss", answers[0].json())


def test_a_purge_says_when_it_is_done(client: httpx.Client, key: str) -> None:
    """Portions come to an end, and what was deleted a moment ago is remembered."""
    deleted = client.delete("/kv", params={"key": key, "ack": "stored"}).json()["data"]["version"]
    while (portion := client.post("/admin/purge", json={}).json()["data"])["more"]:
        assert portion["removed"] >= 0
    assert restore(client, entry(key)) == [{"status": 200, "key": key, "version": deleted, "detail": "newer"}]


@pytest.mark.one_process
def test_the_settings_are_those_of_the_command_line(client: httpx.Client, node: Endpoint) -> None:
    """Every setting that `kvctl config show` knows, with the value and the source that this node has."""
    told = client.get("/admin/config").json()["data"]
    by_name = {one["setting"]: one for one in told}
    assert len(by_name) == len(told)
    profile = by_name["profile"]["value"]
    assert profile == client.get("/health").json()["profile"]
    source = by_name["profile"]["source"].rpartition("/")[2]
    assert source == {"embedded": "default", "memory": "flag for profile", "production": "kvcore.toml"}[profile]
    assert by_name["http.port"]["value"] in (0, node.port)
    assert by_name["http.port"]["source"] == "flag for http.port"
    assert by_name.keys() == kvctl("config", "show", "--profile", profile, *chosen(by_name)).keys()


def chosen(told: dict[str, dict[str, Any]]) -> list[str]:
    """Return the flags that a profile cannot work without."""
    needed = [name for name in told if name.endswith((".sentinels", ".hosts", ".url", ".host")) and told[name]["value"]]
    return [text for name in needed for text in ("--set", f"{name}={flag(told[name]['value'])}")]


def flag(value: Any) -> str:
    """Return a value as a flag has it."""
    return json.dumps(value) if isinstance(value, list) else str(value)


def test_the_plugins_are_those_of_the_command_line(client: httpx.Client) -> None:
    """What the node has loaded, what each gives and can do, and what is broken."""
    told = client.get("/admin/plugins").json()
    listed = kvctl("plugins")
    assert told == {"data": listed["plugins"], "broken": listed["broken"]}
    assert {backend["name"] for plugin in told["data"] for backend in plugin["backends"]} >= {"memory", "sqlite"}


def test_the_queue_tells_its_depth_and_its_lag(client: httpx.Client) -> None:
    """Where there is one: what waits, who works, and how long a write takes now; where there is none, 501."""
    depth, lag = client.get("/admin/queue"), client.get("/admin/queue/lag")
    if client.get("/health").json()["profile"] == "embedded":
        assert {answer.json()["type"] for answer in (depth, lag)} == {"/problems/unsupported"}
        return
    assert 0 < lag.json()["data"]["lag_s"] < 5
    told = depth.json()["data"]
    workers = 2 if client.get("/health").json()["profile"] == "production" else 1
    assert (told["dead_letters"], {one["consumers"] for one in told["channels"].values()}) == (0, {workers})
    assert told["channels"].keys() == {"writes", "refreshes"}


def test_the_probe_is_in_no_count_of_writes(memory: NodeProcess) -> None:
    """However often the lag is measured, no key comes to be, and the worker, here in the node, counts no mutation."""
    before = mutations(memory)
    for _ in range(5):
        httpx.get(f"{memory.url}/admin/queue/lag").raise_for_status()
    assert mutations(memory) == before
    assert httpx.get(f"{memory.url}/keys?prefix=kvcore.lag-probe").json()["data"] == []


def mutations(node: Endpoint) -> list[str]:
    """Return the lines that count mutations."""
    lines = httpx.get(f"{node.url}/metrics").text.splitlines()
    return [line for line in lines if line.startswith("kvcore_mutations_total{")]
