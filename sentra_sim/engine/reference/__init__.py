"""The reference engine: the model of a pipeline in plain SimPy, written to be read.

Every station is a set of threads; a thread is a SimPy process that takes a job from its queue, runs it on its host (which makes
it wait for a core, see `hosts.py`) and goes on with what the station does next. Pure delays occupy no core. The
compiled engine repeats this model event by event and is held equal to it by tests.
"""

from sentra_sim.engine.reference.simulation import ReferenceSimulation

__all__ = ["ReferenceSimulation"]
