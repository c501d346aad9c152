"""Classic histograms fed with arrays: a batch costs one bucketing, an event nothing of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

# An edge lies exactly at each SLO, 0.12 s and 0.3 s: the share within it can be told, not estimated.
EDGES_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0)


class Histogram:
    """Counts of durations by bucket; a value on an edge belongs below it, as `le` says."""

    def __init__(self, edges_s: tuple[float, ...] = EDGES_S) -> None:
        self._edges_s = np.array(edges_s)
        self.counts: NDArray[np.float64] = np.zeros(len(edges_s) + 1)
        self.sum_s = 0.0
        self._exemplars: dict[int, Exemplar] = {}

    def add(self, durations_s: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Counts durations, shape (n,), each `weights` times."""
        values = np.asarray(durations_s, dtype=np.float64)
        times = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
        places = np.searchsorted(self._edges_s, values, side="left")
        self.counts += np.bincount(places, weights=times, minlength=len(self.counts))
        self.sum_s += float(values @ times)

    def show(self, duration_s: float, trace_id: str) -> None:
        """Keeps a duration as the example of its bucket."""
        place = int(np.searchsorted(self._edges_s, duration_s, side="left"))
        self._exemplars[place] = Exemplar({"trace_id": trace_id}, duration_s)

    def buckets(self) -> Iterator[tuple[str, float, Exemplar | None]]:
        """Yields upper edge, cumulative count and example of each bucket."""
        names = [*map(floatToGoString, self._edges_s.tolist()), "+Inf"]
        for place, (name, count) in enumerate(zip(names, np.cumsum(self.counts).tolist(), strict=True)):
            yield name, count, self._exemplars.get(place)


def histogram(name: str, text: str, found: Histogram) -> Metric:
    """Returns a histogram without labels."""
    family = HistogramMetricFamily(name, text)
    family.add_metric([], list(found.buckets()), found.sum_s)  # type: ignore[arg-type]
    return family


def histograms(name: str, text: str, label: str, found: Mapping[str, Histogram]) -> Metric:
    """Returns a histogram with one label."""
    family = HistogramMetricFamily(name, text, labels=[label])
    for value, each in found.items():
        family.add_metric([value], list(each.buckets()), each.sum_s)  # type: ignore[arg-type]
    return family
