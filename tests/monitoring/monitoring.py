"""What stands in deploy/monitoring: alerts, the tests of these, and dashboards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = (
    "ALERT_TESTS",
    "DASHBOARDS",
    "MONITORING",
    "ROOT",
    "alerts",
    "dashboards",
    "firing",
    "jobs",
    "panels",
    "rules",
)

ROOT: Final = Path(__file__).parents[2]
MONITORING: Final = ROOT / "deploy" / "monitoring"
ALERT_TESTS: Final = sorted(MONITORING.glob("*_test.yml"))
DASHBOARDS: Final = sorted(MONITORING.glob("dashboards/*.json"))


def rules() -> list[dict[str, Any]]:
    """Return all rules: those with an "alert", and those with a "record"."""
    return [rule for group in _read(MONITORING / "alerts.yml")["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def firing() -> Iterator[tuple[str, bool]]:
    """Give each expectation of the alerts' tests: the alert, and whether it is to fire."""
    for path in ALERT_TESTS:
        for test in _read(path)["tests"]:
            for expected in test["alert_rule_test"]:
                yield expected["alertname"], bool(expected["exp_alerts"])


def jobs() -> set[str]:
    """Return the names of the jobs that are scraped."""
    return {job["job_name"] for job in _read(MONITORING / "prometheus.yml")["scrape_configs"]}


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by the names of their files."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS}


def panels() -> list[tuple[str, dict[str, Any]]]:
    """Return all panels of all dashboards, each with a name for tests."""
    return [
        (f"{name.removesuffix('.json')}: {panel['title']}", panel)
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
    ]


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
