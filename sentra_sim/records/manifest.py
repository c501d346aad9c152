"""What a run is: source, scenario, seed, versions, machine, and whether it may be believed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sentra_sim.scenario import Scenario, hop_edges, parse_scenario


class Validity(BaseModel):
    """Verdict on a measured run: the instrument's own health. A simulated run is always valid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    valid: bool = True
    reasons: tuple[str, ...] = ()  # one line per broken rule, with the value
    send_delay_p99_s: float | None = None  # generator: sent minus intended
    generator_lateness_max_s: float | None = None
    steal_fraction: float | None = None  # of all cores over the measured window
    host_speed: float | None = None  # fixed calibration loop, relative to the stack's first run (1.0)


class Manifest(BaseModel):
    """The manifest of a run folder, `manifest.json`. Times in seconds; the window holds what the KPIs are computed of.

    An event belongs to the window when its intended send time is in [warmup_s, warmup_s + seconds).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contract_version: Literal[1] = 1
    source: Literal["simulated", "measured"]
    scenario: dict[str, Any]
    scenario_hash: str
    seed: int
    rate_eps: float
    warmup_s: float
    seconds: float
    started_at: str  # ISO 8601, UTC
    versions: dict[str, str]
    machine: dict[str, str | int | float]
    stack: dict[str, str] = {}  # component → version; empty when simulated
    engine: str | None = None  # simulated only
    twin: str | None = None  # simulated only: hash of the twin file
    trace_run: str | None = None  # measured only: what trace ids are derived from, together with the frame's id
    offered_events: int  # intended sends within the window
    counters: dict[str, int] = {}  # sent, acked, delivered, effects, duplicates, lost... over the whole run
    validity: Validity = Field(default_factory=Validity)
    files: dict[str, str] = {}  # table → SHA-256 of its Parquet file; `write_run` fills it in

    def load_scenario(self) -> Scenario:
        """Returns the scenario that the run was of."""
        return parse_scenario(self.scenario, place="manifest.json: scenario")

    def hops(self) -> tuple[str, ...]:
        """Returns the run's hops in order of a frame's way."""
        return tuple(edge.hop for edge in hop_edges(self.load_scenario()))
