"""What a way between two hosts adds to a delay. `reference/network.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.draws import draw
from sentra_sim.engine.compiled.memory import Row, Sim, cold, delay_at, host_at, plain
from sentra_sim.engine.network import RETRIES, RTO_MAX_S, RTO_MIN_S


@cold
def crossing(sim: Sim, delay: Row) -> float:
    """Returns what is added to a delay: the time of both links, and TCP's timeouts for what gets lost."""
    one, other = host_at(sim, delay.from_host), host_at(sim, delay.to_host)
    added = one.network + other.network
    loss = 1.0 - (1.0 - one.loss) * (1.0 - other.loss)
    if loss > 0.0:
        timeout, tries = RTO_MIN_S, 0
        while tries < RETRIES and next_uniform(sim) < loss:
            added += timeout
            timeout, tries = min(2.0 * timeout, RTO_MAX_S), tries + 1
    return added  # type: ignore[no-any-return]


@plain
def next_uniform(sim: Sim) -> float:
    """Takes the next number of the stream of what gets lost."""
    return draw(sim, delay_at(sim, sim.loss_draws))
