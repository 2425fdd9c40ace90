"""`python -m deploy.kubernetes.prometheus_rule`: write the alerts of deploy/monitoring as a resource of the Prometheus Operator.

kustomize reads no file outside of its folder, and cannot put the content of a file into a resource. So the resource is a file of its own,
made from alerts.yml; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Final

__all__ = ("ALERTS", "RULE", "prometheus_rule")

ALERTS: Final = Path(__file__).parents[1] / "monitoring" / "alerts.yml"
RULE: Final = Path(__file__).parent / "components" / "prometheus" / "prometheus-rule.yaml"

_HEAD: Final = """\
# Made by `python -m deploy.kubernetes.prometheus_rule` from deploy/monitoring/alerts.yml: change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: kvcore
  labels: {app.kubernetes.io/name: kvcore}
spec:
"""


def prometheus_rule(alerts: str) -> str:
    """Return the resource for the text of a file of rules: what is in that file is its `spec`."""
    return _HEAD + indent(alerts, "  ")


if __name__ == "__main__":
    RULE.write_text(prometheus_rule(ALERTS.read_text(encoding="utf-8")), encoding="utf-8")
