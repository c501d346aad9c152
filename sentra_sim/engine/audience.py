"""Who listens at an edge: the classes of its slow subscribers, by group of tenants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sentra_sim.scenario import Scenario
from sentra_sim.scenario.keys import key_weights, tenant_of
from sentra_sim.scenario.schema import Subscribers


class Group(NamedTuple):
    """Subscribers of some tenants: the part of all subscribers that they are, and the part of all events that each gets."""

    part: float
    share: float


def groups_of(scenario: Scenario, spec: Subscribers) -> list[Group]:
    """Returns the groups of tenants (congruent modulo their number), with the mean share of events of a tenant in each."""
    load = scenario.load
    weights = key_weights(load.keys, load.key_skew, load.tenant_weights)
    tenants = tenant_of(np.arange(load.keys, dtype=np.uint32), load.tenants)
    by_tenant = np.bincount(tenants, weights=weights, minlength=load.tenants)
    count = min(spec.groups, load.tenants)
    return [Group(len(by_tenant[at::count]) / load.tenants, float(by_tenant[at::count].mean())) for at in range(count)]
