"""The data plane: two engines, one in plain SimPy to be read and one compiled to be fast, that play the same plan."""

from sentra_sim.engine.changes import Change, Operation, Simulation
from sentra_sim.engine.plan import Plan, prepare
from sentra_sim.engine.replications import Replicated, simulate_until
from sentra_sim.engine.run import run, run_statistics, simulate, start
from sentra_sim.engine.statistics import Histogram, Statistics
from sentra_sim.engine.trace import Rows, Trace, View

__all__ = [
    "Change",
    "Histogram",
    "Operation",
    "Plan",
    "Replicated",
    "Rows",
    "Simulation",
    "Statistics",
    "Trace",
    "View",
    "prepare",
    "run",
    "run_statistics",
    "simulate",
    "simulate_until",
    "start",
]
