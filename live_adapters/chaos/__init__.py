"""Real faults on the live pipeline under load, and the proof that nothing was lost or done twice."""

from live_adapters.chaos.campaign import Account, Played, run_faults, run_rolling_restart
from live_adapters.chaos.faults import FAULTS, Fault, draw_schedule, find_fault
from live_adapters.chaos.lookout import Bounds
from live_adapters.chaos.results import Summary, save, summarise
from live_adapters.chaos.trial import Outcome

__all__ = [
    "FAULTS",
    "Account",
    "Bounds",
    "Fault",
    "Outcome",
    "Played",
    "Summary",
    "draw_schedule",
    "find_fault",
    "run_faults",
    "run_rolling_restart",
    "save",
    "summarise",
]
