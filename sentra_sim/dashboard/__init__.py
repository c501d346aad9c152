"""The dashboard: may the twin be trusted, and how do two runs compare."""

from sentra_sim.dashboard.app import serve

__all__ = ["serve"]
