"""Quotas of tenants as token buckets in arrays: one refill and one count a message, however many tenants it holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.ingress.rules import Quota
from sentra_sim.units import NS_PER_S


class TokenBuckets:
    """One bucket a tenant, full at the start; a tenant without quota has one that never runs dry."""

    def __init__(self, quotas: tuple[Quota, ...], tenants: int, now_ns: int) -> None:
        self._rate_eps = np.zeros(tenants)
        self._burst = np.full(tenants, np.inf)
        for quota in quotas:
            self._rate_eps[quota.tenant], self._burst[quota.tenant] = quota.rate_eps, quota.burst_events
        self._left = self._burst.copy()
        self._refilled_ns = now_ns

    def over(self, tenant: NDArray[np.uint32], now_ns: int) -> NDArray[np.bool_]:
        """Takes a token for each event and tells which events get none, shape of `tenant`: of each tenant the last ones."""
        self._refill(now_ns)
        asked = np.bincount(tenant, minlength=len(self._left))
        granted = np.minimum(asked, np.floor(self._left))
        self._left -= granted
        if np.array_equal(granted, asked):
            return np.zeros(len(tenant), dtype=np.bool_)
        return np.asarray(_rank_within(tenant, asked) >= granted[tenant])

    def take_all(self, tenant: NDArray[np.uint32], now_ns: int) -> bool:
        """Takes a token for each event if there is one for each; otherwise takes none and returns False."""
        self._refill(now_ns)
        asked = np.bincount(tenant, minlength=len(self._left))
        if (asked > self._left).any():
            return False
        self._left -= asked
        return True

    def wait_s(self, tenant: NDArray[np.uint32]) -> float:
        """Returns after how many seconds the buckets hold what was just refused, or are full."""
        asked = np.bincount(tenant, minlength=len(self._left))
        short = (np.minimum(asked, self._burst) - self._left)[asked > 0]
        return float(np.max(short / self._rate_eps[asked > 0], initial=0.0))

    def _refill(self, now_ns: int) -> None:
        passed_s, self._refilled_ns = (now_ns - self._refilled_ns) / NS_PER_S, now_ns
        self._left = np.minimum(self._left + self._rate_eps * passed_s, self._burst)


def _rank_within(tenant: NDArray[np.uint32], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns each event's place among the events of its tenant, from 0, shape of `tenant`."""
    order = np.argsort(tenant, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(tenant), dtype=np.int64)
    rank[order] = np.arange(len(tenant)) - starts[tenant[order]]
    return rank
