"""What an expression of PromQL names: metrics, and what it asks of their labels.

Not a parser: promtool checks the syntax. It takes the expression apart in an order in which nothing is left over that it
does not know, so that no name is passed over.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ("Matcher", "Named", "named", "without_variables")

_VARIABLES: Final = {"$__rate_interval": "5m", "$job": ".+", "$instance": ".+", "$tier": ".+"}
_RANGE: Final = re.compile(r"\[[^\]]*\]")
_SELECTOR: Final = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\s*\{(?P<matchers>[^}]*)\}")
_MATCHER: Final = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*,?')
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_FUNCTION: Final = re.compile(r"[a-zA-Z_]\w*\s*(?=\()")
_OPERATOR: Final = re.compile(r"\b(?:and|or|unless|bool|offset|sum|count|max|min|avg)\b")
_NAME: Final = re.compile(r"(?<![\w:])[a-zA-Z_:][\w:]*")


class Matcher(NamedTuple):
    """What is asked of a label."""

    metric: str
    label: str
    operator: str
    value: str


class Named(NamedTuple):
    """What an expression names; `groupings` are the labels that it groups or joins by."""

    metrics: set[str]
    matchers: list[Matcher]
    groupings: set[str]


def without_variables(expression: str) -> str:
    """Put something in the place of the variables of a dashboard."""
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"an unknown variable: {expression}"
    return expression


def named(expression: str) -> Named:
    """Return what an expression names."""
    found = Named(set(), [], set())

    def selector(match: re.Match[str]) -> str:
        name, matchers = match["name"], match["matchers"]
        found.metrics.add(name)
        assert not _MATCHER.sub("", matchers).strip(), f"not understood: {matchers}"
        found.matchers.extend(Matcher(name, *matcher) for matcher in _MATCHER.findall(matchers))
        return " "

    def grouping(match: re.Match[str]) -> str:
        found.groupings.update(label.strip() for label in match[1].split(",") if label.strip())
        return " "

    rest = _SELECTOR.sub(selector, _RANGE.sub(" ", without_variables(expression)))
    rest = _OPERATOR.sub(" ", _FUNCTION.sub(" ", _GROUPING.sub(grouping, rest)))
    found.metrics.update(_NAME.findall(rest))
    return found
