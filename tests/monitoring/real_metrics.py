"""The metrics that a running node shows: their names, labels, and the values of these."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Mapping
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from kvcore.metrics import Metrics
from kvcore.testing.nodes import running_node

__all__ = ("ADDED", "STATUS", "Real", "real_metrics")

ADDED: Final = frozenset({"job", "instance", "process"})
"""Labels that Prometheus adds to every sample, and `process`, which a node with several processes adds."""
_OF_OPERATORS: Final = frozenset({"operations", "administration"})
"""Tags of the OpenAPI document."""
STATUS: Final = re.compile(r"[1-5]\d\d")

Values = set[str] | None
"""The values of a label; None: any status of HTTP."""


class Real(NamedTuple):
    """By name of sample, as an expression names it, the labels and their values; and the operations that clients come for."""

    samples: Mapping[str, Mapping[str, Values]]
    of_clients: set[str]


def real_metrics() -> Real:
    """Ask a node in which a worker runs, and which therefore shows what nodes and workers show, after it has served something."""
    with running_node({"profile": "memory"}) as node:
        _get(f"{node.url}/kv", method="PUT", body=b'{"data": {"key": "a", "value": 1}}')
        _get(f"{node.url}/kv?key=a")
        schema = json.loads(_get(f"{node.url}/docs/openapi.json"))
        text = _get(f"{node.url}/metrics")
    described = [operation for path in schema["paths"].values() for operation in path.values()]
    operations = {operation["operationId"] for operation in described} | {"none"}
    of_clients = {one["operationId"] for one in described if not _OF_OPERATORS.intersection(one["tags"])}
    seen: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                seen.setdefault(sample.name, {}).setdefault(label, set()).add(value)
            seen.setdefault(sample.name, {})
    samples: dict[str, Mapping[str, Values]] = {
        name: dict(labels) for name, labels in seen.items() if not name.startswith("kvcore_")
    }
    for metric in Metrics().described():
        assert f"# HELP {metric.name} " in text, metric.name
        endings = ("_bucket", "_count", "_sum") if metric.type == "histogram" else ("",)
        for ending in endings:
            name = metric.name + ending
            labels: dict[str, Values] = {"le": seen.get(name, {}).get("le", set())} if ending == "_bucket" else {}
            for label, values in metric.labels.items():
                if not isinstance(values, str):
                    labels[label] = set(values)
                elif label == "status":
                    labels[label] = None
                elif metric.name.startswith("kvcore_http_"):
                    labels[label] = operations
                else:
                    labels[label] = seen.get(name, {}).get(label, set())
            samples[name] = labels
    return Real(samples, of_clients)


def _get(url: str, *, method: str = "GET", body: bytes | None = None) -> str:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
        return text
