"""The compiled engine: an event calendar over the tables of a plan.

It repeats the reference engine (`reference/`, which documents the model) event by event. The calendar is ordered by (time,
sequence of scheduling), like SimPy's, and every wake-up that the reference schedules is scheduled here at the same place, so
that ties fall alike.
"""

from sentra_sim.engine.compiled.simulation import CompiledSimulation

__all__ = ["CompiledSimulation"]
