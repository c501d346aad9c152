"""Impatient clients: what is not acknowledged in time, or is refused, they send again."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import ARRIVE, IMPATIENT, NONE, RESEND, delay_of, push
from sentra_sim.engine.compiled.memory import Sim, message_at, plain
from sentra_sim.engine.compiled.queues import put


@plain
def sent(sim: Sim, message: int) -> None:
    """Begins to wait for a message's acknowledgement."""
    row = message_at(sim, message)
    row.sends += 1
    if row.sends == 1 and sim.budgeted:
        sim.retry_tokens = min(sim.budget_burst, sim.retry_tokens + sim.budget_ratio)
    row.waits_for = row.sends
    push(sim, sim.retry_timeout, IMPATIENT, message, row.sends)


@plain
def resent(sim: Sim, message: int) -> None:
    """Takes a message to the network again."""
    push(sim, delay_of(sim, sim.network_delay), ARRIVE, message, NONE)
    sent(sim, message)


@plain
def impatient(sim: Sim, message: int, sending: int) -> None:
    """A sending has been waited for long enough, or was refused."""
    row = message_at(sim, message)
    if sending == 0 or sending != row.waits_for or row.missing == 0:
        return
    row.waits_for = 0
    if row.sends > sim.retries:
        return
    if sim.budgeted:
        if sim.retry_tokens < 1.0:
            return
        sim.retry_tokens -= 1.0
    push(sim, delay_of(sim, sim.backoff_delay), RESEND, message, NONE)


@plain
def resend(sim: Sim, message: int) -> None:
    """Queues a message to be sent again, unless it has been acknowledged meanwhile."""
    if message_at(sim, message).missing > 0:
        put(sim, sim.resend_server, sim.resend_work, message)
