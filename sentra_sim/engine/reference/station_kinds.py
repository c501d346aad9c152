"""Which model a station behind the consumers needs."""

from __future__ import annotations

from sentra_sim.engine.reference.edge import BroadcastModel
from sentra_sim.engine.reference.parts import ColumnarModel
from sentra_sim.engine.reference.releases import ReleasesModel
from sentra_sim.engine.reference.served import ServedModel
from sentra_sim.engine.reference.stores import FlushingModel, StoreModel
from sentra_sim.engine.reference.subscribers import make_edge
from sentra_sim.engine.reference.transactions import TransactionalModel
from sentra_sim.engine.reference.world import World
from sentra_sim.scenario import Broadcast, Pool, Store

Behind = ServedModel | StoreModel | BroadcastModel


def make_served(world: World, name: str, *, called: bool) -> Behind:
    """Returns the model of a station behind the consumers, with all stations behind it."""
    spec = world.scenario.stations[name]
    if isinstance(spec, Broadcast):
        return make_edge(world, name, spec)
    assert isinstance(spec, Pool | Store)  # held by check_topology
    behind = [make_served(world, successor, called=False) for successor in spec.to]
    if isinstance(spec, Pool) and spec.releases:
        return ReleasesModel(world, name, spec, behind, called=called)
    if isinstance(spec, Pool) and spec.recovery is not None:
        spec = spec.as_store
    kind = store_kind(spec) if isinstance(spec, Store) else None
    if isinstance(spec, Store) and kind is not None:
        return kind(world, name, spec, behind, called=called)
    return ServedModel(world, name, spec, behind, called=called)


def store_kind(spec: Store) -> type[StoreModel] | None:
    """Returns the model of a store that does more than serve a queue."""
    if spec.is_columnar:
        return ColumnarModel
    if spec.flush_s > 0.0:
        return FlushingModel
    return TransactionalModel if spec.is_transactional else None
