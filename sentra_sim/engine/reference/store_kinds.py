"""Which model a store needs."""

from __future__ import annotations

from sentra_sim.engine.reference.parts import ColumnarModel
from sentra_sim.engine.reference.stores import FlushingModel, StoreModel
from sentra_sim.engine.reference.transactions import TransactionalModel
from sentra_sim.scenario import Store


def store_kind(spec: Store) -> type[StoreModel] | None:
    """Returns the model of a store that does more than serve a queue."""
    if spec.is_columnar:
        return ColumnarModel
    if spec.flush_s > 0.0:
        return FlushingModel
    return TransactionalModel if spec.is_transactional else None
