"""The alerts: each can be understood, is tested, and has its section for whoever is on call."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.monitoring.monitoring import ALERT_TESTS, MONITORING, ROOT, alerts, firing
from tests.monitoring.promtool import run_promtool

ALERTS = alerts()


def test_prometheus_understands_its_configuration() -> None:
    """`promtool check config` finds no fault, the rules that it names included."""
    assert "SUCCESS" in run_promtool("check", "config", MONITORING / "prometheus.yml")


def test_prometheus_understands_the_rules() -> None:
    """`promtool check rules` finds no fault."""
    assert "SUCCESS" in run_promtool("check", "rules", MONITORING / "alerts.yml")


@pytest.mark.parametrize("path", ALERT_TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should(path: Path) -> None:
    """`promtool test rules` finds every alert firing, and silent, where its test says so, with the words that it says."""
    assert "SUCCESS" in run_promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_both_ways(alert: str) -> None:
    """For each alert there is a test in which it fires, and one in which it does not."""
    assert {fires for name, fires in firing() if name == alert} == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_what_is_wrong(alert: str) -> None:
    """Each alert says how urgent it is, what has happened in one line and in a sentence, and where to read on."""
    rule = ALERTS[alert]
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["description"].endswith(".")
    assert "{{" not in rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{alert.lower()}"


def test_every_alert_has_a_section_for_whoever_is_on_call() -> None:
    """The sections about alerts are those of the alerts, in the same order."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (Kvcore\w+)$", page, re.MULTILINE) == list(ALERTS)


def test_thresholds_keep_below_the_limits_that_they_warn_of() -> None:
    """What warns before a limit is at most 80 % of it, so that changing the default is noticed here."""
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    most = re.search(r"`queue\.rabbitmq\.max_length` \| [^|]+ \| `(\d+)`", settings)
    ahead = re.search(r"`clock\.max_ahead_s` \| [^|]+ \| `([\d.]+)`", settings)
    assert most is not None
    assert ahead is not None
    assert ALERTS["KvcoreQueueNearlyFull"]["expr"].endswith(f"> 0.8 * {float(most[1]) / 1e6:g}e6")
    assert float(ALERTS["KvcoreClockAhead"]["expr"].split()[-1]) <= 0.8 * float(ahead[1])
