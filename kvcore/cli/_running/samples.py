"""What a node or worker shows at /metrics, read to be reckoned with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

__all__ = ("Samples",)

Labels = Mapping[str, str]


def _any(labels: Labels) -> bool:
    return True


class Samples:
    """Metrics at one moment. A node of several processes has each series several times, with the label `process`.

    None stands for what is not shown, and for what is not a finite number.
    """

    def __init__(self, text: str) -> None:
        """Read them.

        Raises:
            ValueError: this is not Prometheus' text format.
        """
        self._series: dict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if math.isfinite(sample.value):
                    self._series[sample.name][tuple(sorted(sample.labels.items()))] = sample.value

    def total(self, name: str) -> float | None:
        """Return the sum of all series of a metric: what processes have each of their own."""
        values = [value for _, value in self.each(name)]
        return sum(values) if values else None

    def largest(self, name: str) -> float | None:
        """Return the largest series of a metric: what all processes see of the same thing."""
        return max((value for _, value in self.each(name)), default=None)

    def each(self, name: str) -> Iterator[tuple[Labels, float]]:
        """Yield the series of a metric."""
        for labels, value in self._series.get(name, {}).items():
            yield dict(labels), value

    def growth(self, name: str, since: Samples, where: Callable[[Labels], bool] = _any) -> float | None:
        """Return how much a counter has grown, in the series that are meant; None where it has no series at all.

        A series that is smaller than before has begun again at 0, with its process.
        """
        return sum(value for _, value in self._grown(name, since, where)) if name in self._series else None

    def quantile(self, name: str, share: float, since: Samples, where: Callable[[Labels], bool] = _any) -> float | None:
        """Return what a share of the observations since then was at most, as PromQL's histogram_quantile does.

        None: there were no observations. What is beyond the last bound is said to be there.
        """
        buckets: dict[float, float] = defaultdict(float)
        for labels, value in self._grown(f"{name}_bucket", since, where):
            buckets[float(labels["le"])] += value
        count = buckets.get(math.inf, 0.0)
        if not count:
            return None
        below_s = below = 0.0
        for bound in sorted(buckets):
            if buckets[bound] >= share * count:
                if math.isinf(bound):
                    break
                return below_s + (bound - below_s) * (share * count - below) / (buckets[bound] - below)
            below_s, below = bound, buckets[bound]
        return below_s

    def _grown(self, name: str, since: Samples, where: Callable[[Labels], bool]) -> Iterator[tuple[Labels, float]]:
        before = since._series.get(name, {})
        for series, value in self._series.get(name, {}).items():
            labels = dict(series)
            if where(labels):
                earlier = before.get(series, 0.0)
                yield labels, value - earlier if value >= earlier else value
