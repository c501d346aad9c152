"""What stores, edges and the batcher count during a run, by name: whatever no hop of a frame shows."""

from __future__ import annotations

from sentra_sim.scenario import Batcher, Broadcast, Pool, Scenario, Store

TRANSACTIONAL = ("commits", "flushes", "images", "checkpoints", "retried", "recoveries", "relayed")
COLUMNAR = ("inserts", "parts", "most_parts", "merges", "merged_rows", "delayed_inserts", "refused_inserts")
EDGE = (
    *("writes", "drops", "reconnects", "replayed", "gap", "redone", "recoveries"),
    *("slow_offered", "slow_delivered", "slow_pending", "slow_wait_s", "slow_wait_max_s"),
)
SSE = ("sse_writes", "sse_drops", "sse_reconnects")  # the part of an edge's that is over server-sent events

# Of a batcher under backpressure: events shed for it, how often it began, and for how long in all it held.
BACKPRESSURE = ("backpressure_shed", "backpressure_periods", "backpressure_s")

TIERS = 16  # of the sizes of a columnar store's parts; what the last one holds is merged into itself


def tally_names(scenario: Scenario) -> tuple[str, ...]:
    """Returns the names of a run's tallies, `station.tally`, in the order of the stations."""
    return tuple(f"{name}.{tally}" for name, tallies in tallies_of(scenario).items() for tally in tallies)


def tallies_of(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """Returns what each station counts; those that count nothing are left out."""
    kinds: dict[str, tuple[str, ...]] = {}
    for name, found in scenario.stations.items():
        station = found.as_store if isinstance(found, Pool) and found.recovery is not None else found
        if isinstance(station, Store) and station.is_transactional:
            kinds[name] = TRANSACTIONAL
        elif isinstance(station, Store) and station.is_columnar:
            kinds[name] = COLUMNAR
        elif isinstance(station, Broadcast) and station.subscribers is not None:
            kinds[name] = EDGE if station.subscribers.sse is None else (*EDGE, *SSE)
        elif isinstance(station, Batcher) and station.admission and station.admission.backpressure:
            kinds[name] = BACKPRESSURE
    return kinds
