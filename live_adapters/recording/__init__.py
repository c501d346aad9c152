"""The tables of a measured run that a twin is fitted with, beside those that every run has."""

from live_adapters.recording.details import details_table
from live_adapters.recording.jobs import jobs_table
from live_adapters.recording.pauses import pauses_table

__all__ = ["details_table", "jobs_table", "pauses_table"]
