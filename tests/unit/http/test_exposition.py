"""Metrics of several processes as those of one."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kvcore.http.exposition import merged, sparing
from kvcore.metrics import Metrics


def shown_by(number: int) -> bytes:
    """Return what a process shows whose counts tell it from others."""
    registry = CollectorRegistry()
    Counter("asked", 'Questions, "quoted" \\ and\nbroken.', ("what",), registry=registry).labels('a b{"\\').inc(number)
    Gauge("open", "Without labels.", registry=registry).set(-number / 2)
    Histogram("took_seconds", "Seconds.", ("way",), buckets=(1, 2), registry=registry).labels("there").observe(number)
    Counter("never", "Has no samples.", ("what",), registry=registry)
    return generate_latest(registry)


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples by name and labels, each of which there may be once."""
    found = [
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_every_sample_says_which_process_it_is_of() -> None:
    """Nothing is lost or added up, and each sample has the label of its process besides its own."""
    texts = {number: shown_by(number) for number in (0, 3, 11)}
    wanted = {
        (name, labels | {("process", str(number))}): value
        for number, text in texts.items()
        for (name, labels), value in samples(text).items()
    }
    assert samples(merged(texts)) == wanted


def test_a_family_is_described_once() -> None:
    """Prometheus refuses a text that begins the same family twice."""
    lines = merged({0: shown_by(0), 1: shown_by(1)}).splitlines()
    heads = [line for line in lines if line.startswith(b"# TYPE")]
    assert len(set(heads)) == len(heads)
    assert b"# TYPE never_total counter" in heads


def test_a_process_that_does_not_answer_is_left_out() -> None:
    """What the others tell is there."""
    text = shown_by(1)
    assert merged({0: b"", 1: text}) == merged({1: text})


def test_the_metrics_of_a_node_can_be_merged() -> None:
    """Whatever a node counts goes through it."""
    text = generate_latest(Metrics().registry)
    assert len(samples(merged({0: text, 1: text}))) == 2 * len(samples(text))


async def test_metrics_are_made_anew_ten_times_a_second_at_most() -> None:
    """Twenty at once after a pause; whoever asks for more is shown the last ones, since making them holds up everybody else."""
    made, now_s = 0, 0.0

    async def exposition() -> bytes:
        nonlocal made
        made += 1
        return b"%d" % made

    shown = sparing(exposition, clock=lambda: now_s)
    assert [await shown() for _ in range(100)][-1] == b"20"
    now_s = 0.5
    assert [await shown() for _ in range(100)][-1] == b"25"


async def test_metrics_are_made_for_the_others_too_when_one_gives_up() -> None:
    """Who shares them with others, and goes away, takes them from nobody."""
    asked, done = asyncio.Event(), asyncio.Event()

    async def exposition() -> bytes:
        asked.set()
        await done.wait()
        return b"text"

    shown = sparing(exposition, clock=lambda: 0.0)
    readers = [asyncio.ensure_future(shown()) for _ in range(100)]
    await asked.wait()
    readers[-2].cancel()
    await asyncio.wait([readers[-2]])
    done.set()
    assert await readers[-1] == b"text"
    await asyncio.gather(*readers, return_exceptions=True)
