"""Names that those who start and record a run need to know."""

from sentra_sim.records.traceids import SPANS_FILE

OBSERVER = "observer"

__all__ = ["OBSERVER", "SPANS_FILE"]
