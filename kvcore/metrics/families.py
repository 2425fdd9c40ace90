"""Counters, gauges and histograms that cost a request next to nothing.

Those of prometheus_client take a mutex for every count, and a histogram of theirs looks at its bounds one by one: some
microseconds for a request that counts a few things. All of this happens in one thread, that of the event loop, so no
mutex is needed, and a search finds the bucket. What is collected is prometheus_client's again.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

__all__ = ("Count", "Described", "Families", "Family", "Histogram", "Level", "Values")

Values = Sequence[str] | str
"""The values that a label can have; a text says where they come from when they are bounded, and not known here."""

Type = Literal["counter", "gauge", "histogram"]

Shown = tuple[str, dict[str, str], float]
"""A sample: the end of its name, labels besides those of its family, and the value."""


class Child(Protocol):
    """What is counted for one combination of labels."""

    def samples(self) -> Iterable[Shown]:
        """Give what is shown."""
        ...


class Count:
    """A number that goes up."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Count so many, which is not less than 0."""
        self.value += amount

    def samples(self) -> Iterator[Shown]:
        """Give the number."""
        yield "_total", {}, self.value


class Level:
    """A number that goes up and down."""

    __slots__ = ("_read",)

    def __init__(self) -> None:
        self._read: Callable[[], float] = float

    def set(self, value: float) -> None:
        """Show this value."""
        self._read = lambda: value

    def set_function(self, read: Callable[[], float]) -> None:
        """Show what this says whenever it is asked."""
        self._read = read

    def samples(self) -> Iterator[Shown]:
        """Give the number as it is now."""
        yield "", {}, self._read()


class Histogram:
    """How many values were at most as large as each of some bounds, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = [float(bound) for bound in bounds]
        self._counts = [0] * (len(bounds) + 1)
        self._sum: float = 0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self) -> Iterator[Shown]:
        """Give the buckets, each of which holds those before it, the number and the sum."""
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield "_bucket", {"le": bound}, total
        yield "_count", {}, total
        yield "_sum", {}, self._sum


C = TypeVar("C", bound=Child)


class Described(NamedTuple):
    """A metric for people; `name` is the one that it is asked for by."""

    name: str
    type: Type
    labels: Mapping[str, Values]
    meaning: str


class Family(Generic[C]):
    """A metric: what is counted for each combination of its labels' values."""

    def __init__(self, described: Described, make: Callable[[], C]) -> None:
        self.described = described
        self._make = make
        self._children: dict[tuple[str, ...], C] = {}

    def labels(self, *values: str) -> C:
        """Return what counts for these values, which costs more than to count: whoever counts often keeps it."""
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self.described.labels):
                raise ValueError(f"{self.described.name} has the labels {', '.join(self.described.labels) or 'none'}")
            child = self._children[values] = self._make()
        return child

    def from_zero(self) -> Self:
        """Show every combination of values before anything is counted: else the first event would not be an increase."""
        for values in itertools.product(*self.described.labels.values()):
            self.labels(*values)
        return self

    def clear(self) -> None:
        """Show nothing until something is counted."""
        self._children.clear()

    def collected(self) -> Metric:
        """Return what is shown."""
        name, type_, labels, meaning = self.described
        family = Metric(name.removesuffix("_total"), meaning, type_)
        for values, child in self._children.items():
            common = dict(zip(labels, values, strict=True))
            for ending, own, value in child.samples():
                family.add_sample(family.name + ending, common | own, value)
        return family


class Families(Collector):
    """The metrics of a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families: list[Family[Count] | Family[Level] | Family[Histogram]] = []
        self._beforehand: list[Callable[[], None]] = []
        registry.register(self)

    def counter(self, name: str, meaning: str, **labels: Values) -> Family[Count]:
        """Add a counter."""
        family = Family(Described(name, "counter", labels, meaning), Count)
        self._families.append(family)
        return family

    def gauge(self, name: str, meaning: str, **labels: Values) -> Family[Level]:
        """Add a gauge."""
        family = Family(Described(name, "gauge", labels, meaning), Level)
        self._families.append(family)
        return family

    def histogram(self, name: str, meaning: str, bounds: Sequence[float], **labels: Values) -> Family[Histogram]:
        """Add a histogram with these upper bounds, besides infinity."""
        family = Family(Described(name, "histogram", labels, meaning), partial(Histogram, bounds))
        self._families.append(family)
        return family

    def beforehand(self, look: Callable[[], None]) -> None:
        """Call this whenever the metrics are asked for, before they are shown."""
        self._beforehand.append(look)

    def described(self) -> list[Described]:
        """Return all by name, those that count nothing yet included."""
        return sorted(family.described for family in self._families)

    def collect(self) -> Iterator[Metric]:
        """Give what is shown now."""
        for look in self._beforehand:
            look()
        for family in self._families:
            yield family.collected()
