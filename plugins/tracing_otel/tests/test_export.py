"""From a request to the collector, and what becomes of a node whose collector is away."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from kvcore.config import resolve
from kvcore.errors import SettingsError
from kvcore.http.app import build_app
from kvcore.plugins import load_plugins
from kvcore.runtime import open_node
from kvcore.secret import Secret
from kvcore.testing.nodes import running_node
from kvcore_tracing_otel import OtelSettings, open_otel

CALLER = f"00-{'a1' * 16}-{'b2' * 8}-01"


def flags(endpoint: str) -> dict[str, str]:
    """Return the settings of a node on the memory profile that exports its spans."""
    return {"profile": "memory", "tracing.exporter": "otel", "tracing.otel.endpoint": endpoint}


@pytest.mark.parametrize(("ack", "publishes"), [("accepted", "queue.publish"), ("stored", "queue.submit")])
async def test_a_write_is_one_trace_from_the_request_to_the_store(collector: Any, ack: str, publishes: str) -> None:
    """Request, queue, worker and store are one trace, which is the caller's, each a child of the one before."""
    plugins = load_plugins()
    async with open_node(resolve(plugins, environment={}, flags=flags(collector.endpoint)), plugins) as node:
        transport = httpx.ASGITransport(app=build_app(node, plugins))  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.put(
                f"/kv?ack={ack}", json={"data": {"key": "k", "value": 1}}, headers={"traceparent": CALLER}
            )
        assert answer.is_success
        request, worker = await collector.named("PUT"), await collector.named("writes process")
        queue, store = await collector.named(publishes), await collector.named("store.apply")
    assert {span.trace_id.hex() for span in (request, queue, worker, store)} == {"a1" * 16}
    assert request.parent_span_id.hex() == "b2" * 8
    assert queue.parent_span_id == worker.parent_span_id == request.span_id
    assert store.parent_span_id == worker.span_id
    assert collector.resources[0]["service.name"] == "kvcore"
    assert collector.resources[0]["service.instance.id"] == node.tag


async def test_what_a_node_does_by_itself_makes_no_spans(collector: Any) -> None:
    """Purging, and looking at the queue, belong to nobody's trace: all spans have a request behind them."""
    plugins = load_plugins()
    async with open_node(resolve(plugins, environment={}, flags=flags(collector.endpoint)), plugins) as node:
        transport = httpx.ASGITransport(app=build_app(node, plugins))  # type: ignore[arg-type]  # Litestar's types of the messages are narrower
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/kv?key=k")).status_code == 404
    assert [span.name for span in collector.spans if not span.parent_span_id] == ["GET"]


async def test_header_fields_are_sent_and_never_shown(
    opened: Any, collector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each field of `headers` is sent, percent-decoded, and not told when the collector refuses."""
    collector.status = 403
    async with opened(headers=Secret("authorization=Bearer%20s3cret,x-tenant=one")) as tracer:
        tracer.begin("work", "server", (), {}).end({})
    sent = {name.lower(): value for name, value in collector.headers[0].items()}
    assert (sent["authorization"], sent["x-tenant"]) == ("Bearer s3cret", "one")
    assert "403" in caplog.text
    assert "s3cret" not in caplog.text


async def test_an_outage_of_the_collector_is_two_lines(
    opened: Any, collector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """However many batches are refused, the log says once that they are, and once that it is over."""
    caplog.set_level("INFO")
    collector.status = 400
    async with opened() as tracer:
        for expected in range(1, 4):
            tracer.begin("lost", "server", (), {}).end({})
            await collector.asked(expected)
        collector.status = 200
        tracer.begin("taken", "server", (), {}).end({})
        await collector.named("taken")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "spans are not taken, and are dropped until they are",
        "spans are taken again",
    ]


@pytest.mark.parametrize("listens", [False, True], ids=["nothing is there", "nothing is answered"])
def test_a_node_without_its_collector_serves_and_stops(listens: bool) -> None:
    """A collector that is away, or takes a connection and says nothing, delays no request, and no end for long."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        with running_node(flags(endpoint)) as node, httpx.Client() as client:
            for number in range(100):
                assert client.put(f"{node.url}/kv/{number}", content=b"x").is_success
            assert node.stop() == 0
            assert sum("spans are not taken" in line for line in node.lines) <= 1
            assert not any("Traceback" in line or "xporter" in line for line in node.lines)


@pytest.mark.parametrize(
    "settings",
    [
        {"endpoint": "127.0.0.1:4318"},
        {"endpoint": "ftp://collector/v1/traces"},
        {"endpoint": "http:///v1/traces"},
        {"endpoint": "http://[::1/v1/traces"},
        {"endpoint": "http://collector:port/v1/traces"},
        {"endpoint": "http://name:s3cret@collector/v1/traces"},
        {"headers": Secret("s3cret")},
        {"headers": Secret("a=b,=s3cret")},
        {"headers": Secret("authorization=s3cret%0d%0ax-other: y")},
        {"headers": Secret("authorization=s3cret€")},
    ],
    ids=str,
)
async def test_what_cannot_work_is_refused_at_once(settings: dict[str, Any]) -> None:
    """An endpoint or header field that cannot be sent to, or sent, is an error of settings that shows no secret."""
    with pytest.raises(SettingsError, match=r"^tracing\.otel\.(endpoint|headers): ") as refused:
        async with open_otel(OtelSettings(**settings), "node"):
            pass
    assert "s3cret" not in str(refused.value)


def test_the_settings_are_those_of_the_configuration() -> None:
    """`[tracing.otel]` is read with the other settings, and its header fields are hidden where these are shown."""
    resolved = resolve(load_plugins(), environment={}, flags=flags("http://c/") | {"tracing.otel.headers": "a=s3cret"})
    assert resolved.flat()["tracing.otel.headers"] == "******"
    assert isinstance(resolved.tracing, OtelSettings)
