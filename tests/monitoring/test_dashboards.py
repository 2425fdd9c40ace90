"""The dashboards as Grafana reads them: complete, legible, and of nobody's installation."""

from __future__ import annotations

import itertools
import re
from typing import Any, Final

import pytest

from tests.monitoring.expressions import named
from tests.monitoring.monitoring import dashboards, panels

DASHBOARDS = dashboards()
PANELS = panels()
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
UNITS: Final = frozenset({"bytes", "ops", "percentunit", "reqps", "s", "short"})
"""Grafana's ids of units, of those that are used here."""

Panel = dict[str, Any]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_belongs_to_nobody(name: str) -> None:
    """A dashboard has no id of an installation, a name of its own, and the data source, the jobs and instances to choose."""
    dashboard = DASHBOARDS[name]
    assert dashboard["id"] is None
    assert dashboard["uid"] == name.removesuffix(".json")
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["tags"] == ["kvcore"]
    assert dashboard["title"]
    assert dashboard["description"]
    assert [variable["name"] for variable in dashboard["templating"]["list"]][:3] == ["datasource", "job", "instance"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_side_by_side(name: str) -> None:
    """No two panels of a dashboard lie over each other or have one id, and none sticks out."""
    found = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    for panel in found:
        place = panel["gridPos"]
        assert min(place["x"], place["y"]) >= 0
        assert min(place["w"], place["h"]) > 0
        assert place["x"] + place["w"] <= COLUMNS
    for one, other in itertools.combinations(found, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Tell whether two rectangles have a point in common."""
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in (("x", "w"), ("y", "h"))
    )


@pytest.mark.parametrize("panel", [pytest.param(panel, id=name) for name, panel in PANELS])
def test_a_panel_explains_itself(panel: Panel) -> None:
    """Each panel has a title, a sentence about what is seen, a unit, and names for its lines; and asks the data source that was chosen."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == DATASOURCE
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    for target in panel["targets"]:
        assert target["datasource"] == DATASOURCE
        assert target["legendFormat"]


@pytest.mark.parametrize("panel", [pytest.param(panel, id=name) for name, panel in PANELS])
def test_legends_name_labels_that_are_there(panel: Panel) -> None:
    """A legend shows only labels that are left when the expression has added up: others would be empty."""
    for target in panel["targets"]:
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        groupings = named(target["expr"]).groupings
        is_summed = re.search(r"\b(sum|max)\b", target["expr"]) is not None
        assert shown <= (groupings - {"le"} if is_summed else {"instance", "tier", "generation"})


@pytest.mark.parametrize("panel", [pytest.param(panel, id=name) for name, panel in PANELS])
def test_panels_show_what_was_chosen(panel: Panel) -> None:
    """Every metric in a panel is of the jobs and instances chosen above."""
    for target in panel["targets"]:
        found = named(target["expr"])
        for label in ("job", "instance"):
            asked = [matcher.metric for matcher in found.matchers if matcher.label == label]
            assert set(asked) == found.metrics
