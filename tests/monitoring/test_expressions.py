"""Every expression of alerts and dashboards names only what nodes and workers really show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.monitoring.expressions import Matcher, named, without_variables
from tests.monitoring.monitoring import dashboards, jobs, panels, rules
from tests.monitoring.promtool import run_promtool
from tests.monitoring.real_metrics import ADDED, STATUS, Real, Values, real_metrics

Samples = Mapping[str, Mapping[str, Values]]

EXPRESSIONS = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()] + [
    (f"{title}, {target['refId']}", target["expr"]) for title, panel in panels() for target in panel["targets"]
]


@pytest.fixture(scope="module")
def real() -> Real:
    """Give what a running node shows."""
    return real_metrics()


@pytest.fixture(scope="module")
def samples(real: Real) -> Samples:
    """Give the samples of a running node by name, with the labels of each, and what the rules record."""
    recorded: dict[str, Mapping[str, Values]] = {rule["record"]: {} for rule in rules() if "record" in rule}
    return {**real.samples, **recorded, "up": {}}


@pytest.mark.parametrize("expression", [pytest.param(expression, id=name) for name, expression in EXPRESSIONS])
def test_an_expression_names_what_there_is(expression: str, samples: Samples) -> None:
    """Each metric is shown, has the labels that are asked for, and these can have the values that are asked for."""
    found = named(expression)
    assert found.metrics
    assert found.metrics <= samples.keys()
    labels = ADDED.union(*(samples[name] for name in found.metrics))
    assert found.groupings <= labels
    for matcher in found.matchers:
        check_matcher(matcher, samples[matcher.metric])


def check_matcher(matcher: Matcher, labels: Mapping[str, Values]) -> None:
    """Check that a label is there, and that each value, or each alternative of a pattern, is one that it can have."""
    values: Values = jobs() if matcher.label == "job" else labels.get(matcher.label, set())
    if matcher.label in ADDED - {"job"}:
        return
    assert matcher.label == "job" or matcher.label in labels, matcher
    alternatives = matcher.value.split("|") if "~" in matcher.operator else [re.escape(matcher.value)]
    for alternative in alternatives:
        if values is None:  # a status
            assert STATUS.fullmatch(alternative.replace(".", "0")), matcher
        else:
            assert any(re.fullmatch(alternative, value) for value in values), (matcher, sorted(values))


@pytest.mark.parametrize(
    "expression",
    [
        "sum(rate(kvcore_no_such_metric_total[5m]))",
        'kvcore_cache_reads_total{result="hits"}',
        'kvcore_cache_reads_total{result=~"hit|no"}',
        'kvcore_cache_reads_total{outcome="hit"}',
        'up{job="kvcore"} == 0',
        'kvcore_http_request_duration_seconds_count{status=~"8.."}',
        "sum by (tiers) (kvcore_breaker_open)",
        "kvcore_lag_seconds > 1",
    ],
)
def test_what_there_is_not_is_found(expression: str, samples: Samples) -> None:
    """The check notices a metric, a label, a value and a grouping that do not exist, and a histogram without its ending."""
    with pytest.raises(AssertionError):
        test_an_expression_names_what_there_is(expression, samples)


def test_prometheus_understands_the_dashboards(tmp_path: Path) -> None:
    """Each expression of a panel, with something in the place of its variables, is valid PromQL."""
    recorded = [
        {"record": f"recorded_{number}", "expr": without_variables(expression)}
        for number, (_, expression) in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "dashboards.yml"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": recorded}]}), encoding="utf-8")
    assert f"SUCCESS: {len(recorded)} rules found" in run_promtool("check", "rules", path)


@pytest.mark.parametrize("name", dashboards())
def test_the_choices_of_a_dashboard_are_made_from_what_there_is(name: str, samples: Samples) -> None:
    """What fills the lists of jobs and instances is a metric that every process shows."""
    for variable in dashboards()[name]["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (job|instance)\)", variable["query"]["query"])
            assert match is not None
            assert named(match[1]).metrics == {"kvcore_build_info"} <= samples.keys()


@pytest.mark.parametrize("record", ["kvcore:operations:rate5m", "kvcore:failed_operations:rate5m"])
def test_failures_of_every_operation_are_counted(record: str, real: Real) -> None:
    """What the ratio of failures is made of are all operations that clients come for, and none of operators."""
    expression = next(rule["expr"] for rule in rules() if rule.get("record") == record)
    asked = [
        m.value for m in named(expression).matchers if m.metric.startswith("kvcore_http_") and m.label == "operation"
    ]
    assert [set(value.split("|")) for value in asked] == [real.of_clients | {"none"}]
