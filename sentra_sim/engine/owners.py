"""Under which names random numbers are drawn: whose they are, and what for."""

from __future__ import annotations

from sentra_sim.scenario import ConsumerGroup, Log
from sentra_sim.scenario.schema import AnyStation


def broker_name(log: str, number: int) -> str:
    """Returns the name under which broker `number` (from 0) draws; no station can be called so."""
    return f"{log}/{number + 1}"


def replica_name(group: str, number: int) -> str:
    """Returns the name under which consumer `number` (from 0) draws; no station can be called so."""
    return f"{group}/{number + 1}"


def release_name(pool: str, release: str) -> str:
    """Returns the name under which a release of a pool draws; no station can be called so."""
    return f"{pool}/{release}"


def station_of(owner: str) -> str:
    """Returns the station that a broker, a replica or the station itself, as the owner of a stream, belongs to."""
    return owner.partition("/")[0]


def background_purpose(number: int) -> str:
    """Returns the purpose of a station's background job `number` (from 0)."""
    return f"background-{number}"


def blocking_purpose(number: int) -> str:
    """Returns the purpose of a store's blocking command `number` (from 0)."""
    return f"blocking-{number}"


def child_purpose(number: int) -> str:
    """Returns the purpose of what a store's blocking command `number` (from 0) leaves behind."""
    return f"child-{number}"


def background_owners(name: str, station: AnyStation) -> tuple[str, ...]:
    """Returns who runs a station's background jobs: each broker of a log its own, else the station."""
    if isinstance(station, Log):
        return tuple(broker_name(name, number) for number in range(station.brokers))
    return (name,)


def host_owner(host: str) -> str:
    """Returns the name under which a host draws; no station can be called so."""
    return f"host/{host}"


def process_owners(name: str, station: AnyStation) -> tuple[str, ...]:
    """Returns who draws for each process of a station: a log's brokers, a consumer group's replicas, else the station."""
    if isinstance(station, ConsumerGroup):
        return tuple(replica_name(name, number) for number in range(station.most_replicas))
    return background_owners(name, station)


def pause_purpose(number: int, part: str) -> str:
    """Returns the purpose of the `gap` or the `length` of pause `number` (from 0)."""
    return f"pause-{number}-{part}"
