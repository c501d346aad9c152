"""The tables of a measured run, from its hop logs: those of every run, and those that a twin is fitted with."""

from live_adapters.recording.details import details_table
from live_adapters.recording.jobs import jobs_table
from live_adapters.recording.pauses import pauses_table

__all__ = ["details_table", "jobs_table", "pauses_table"]
