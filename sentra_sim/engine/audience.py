"""Who listens at an edge: the classes of its subscribers, by group of tenants, transport and pace."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sentra_sim.scenario import Scenario
from sentra_sim.scenario.keys import key_weights, tenant_of
from sentra_sim.scenario.schema import Demand, Subscribers


class Group(NamedTuple):
    """Subscribers of some tenants: the part of all subscribers that they are, and the part of all events that each gets."""

    part: float
    share: float


class Class(NamedTuple):
    """Subscribers of a group that are alike: slow ones, or fast ones, which matter while they are away."""

    part: float  # of all subscribers, be they slow or fast
    share: float
    fast: bool
    sse: bool

    def clients(self, count: int, slow_share: float) -> float:
        """Returns how many of all subscribers they are."""
        return count * (1.0 - slow_share if self.fast else slow_share) * self.part


def classes_of(scenario: Scenario, spec: Subscribers) -> list[Class]:
    """Returns the classes of an edge: the slow ones of each group; with `sse`, of each transport, then the fast ones."""
    groups = groups_of(scenario, spec)
    if spec.sse is None:
        return [Class(group.part, group.share, fast=False, sse=False) for group in groups]
    parts = ((False, 1.0 - spec.sse.share), (True, spec.sse.share))
    return [
        Class(group.part * part, group.share, fast, sse)
        for fast in (False, True)
        for sse, part in parts
        for group in groups
    ]


def sse_demands(spec: Subscribers) -> dict[str, Demand]:
    """Returns what server-sent events cost, by purpose: as WebSocket where nothing else is said. Nothing without `sse`."""
    if spec.sse is None:
        return {}
    return {"sse-deliver": spec.sse.deliver or spec.deliver, "sse-connect": spec.sse.connect or spec.connect}


def groups_of(scenario: Scenario, spec: Subscribers) -> list[Group]:
    """Returns the groups of tenants (congruent modulo their number), with the mean share of events of a tenant in each."""
    load = scenario.load
    weights = key_weights(load.keys, load.key_skew, load.tenant_weights)
    tenants = tenant_of(np.arange(load.keys, dtype=np.uint32), load.tenants)
    by_tenant = np.bincount(tenants, weights=weights, minlength=load.tenants)
    count = min(spec.groups, load.tenants)
    return [Group(len(by_tenant[at::count]) / load.tenants, float(by_tenant[at::count].mean())) for at in range(count)]
