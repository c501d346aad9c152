"""What the gateway's process has in its charge, and its end when there is nothing left. `reference/gateway.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.memory import Sim, bucket_at, cold, pressure_of, tenant_at


@cold
def leaves(sim: Sim) -> None:
    """Notes that a message is in frames, or that a frame is acknowledged or given up."""
    sim.in_charge -= 1
    end_if_drained(sim)


@cold
def end_if_drained(sim: Sim) -> None:
    """Ends a gateway that takes nothing and has nothing."""
    if sim.gateway_up and not sim.takes and sim.in_charge == 0:
        end_gateway(sim)


@cold
def end_gateway(sim: Sim) -> None:
    """Ends the gateway's process, and what it knew of who has what in flight."""
    sim.gateway_life += 1
    sim.gateway_up, sim.takes, sim.gateway_starting, sim.in_charge = 0, 0, 0, 0
    if not sim.gated:
        return
    sim.shared = 0
    buckets = sim.key_quota if sim.key_quota >= 0 else 0
    for number in range(sim.tenant_count):
        tenant = tenant_at(sim, number)
        tenant.in_flight = 0
        if tenant.quota >= 0:
            bucket_at(sim, tenant.quota).tokens = bucket_at(sim, tenant.quota).burst
    for number in range(buckets, buckets + sim.key_count):
        bucket_at(sim, number).tokens = bucket_at(sim, number).burst
    pressure = pressure_of(sim)
    if sim.pressed:
        sim.pressed = 0
        pressure.backpressure_s += sim.now - pressure.since
    pressure.acked = 0
