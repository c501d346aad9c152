"""Room for what is in flight at the batcher, by tenant: what is reserved for it, and up to where it may use what is shared."""

from __future__ import annotations

import math

from sentra_sim.scenario.schema import Admission

SILVER_SHARE, BRONZE_SHARE = 0.75, 0.5  # of the shared room, as in the live gateway


def tenant_bounds(spec: Admission, tenants: int) -> tuple[list[int], list[float]]:
    """Returns the events reserved for each tenant, and the bound of its class on the shared events in flight.

    Sharing with minimum allocation (Kamoun & Kleinrock 1980): `guaranteed` of the room is reserved in proportion to the weights,
    the rest is for whoever comes.
    """
    if spec.max_in_flight_events is None:
        return [0] * tenants, [math.inf] * tenants
    weights = spec.weights or (1.0,) * tenants
    whole = math.fsum(weights)
    reserved = [math.floor(spec.guaranteed * spec.max_in_flight_events * weight / whole) for weight in weights]
    shared = float(spec.max_in_flight_events - sum(reserved))
    share = dict.fromkeys(spec.silver, SILVER_SHARE) | dict.fromkeys(spec.bronze, BRONZE_SHARE)
    return reserved, [share.get(tenant, 1.0) * shared for tenant in range(tenants)]
