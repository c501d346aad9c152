"""What a run's end is worth telling: that it is no valid measurement, or that it missed its SLO."""

from __future__ import annotations

from typing import Any

from sentra_sim.records import Run


def about_run(run: Run) -> dict[str, Any] | None:
    """Returns the parts of a notice, or None where all is well."""
    from sentra_sim.cli.tables import number
    from sentra_sim.kpi import breaches, kpis

    manifest = run.manifest
    missed = breaches(kpis(run))
    if manifest.validity.valid and not missed:
        return None
    values = {kpi.name: f"{number(kpi.value, kpi.unit)} (bound {kpi.bound})" for kpi in missed}
    offered = {"run": run.path.name, "rate": f"{number(manifest.rate_eps, 'events/s')} events/s"}
    if not manifest.validity.valid:
        return {
            "title": "measured run is not valid",
            "text": "; ".join(manifest.validity.reasons) or "no reason was given",
            "severity": "warning",
            "fields": offered | values,
        }
    text = f"{', '.join(kpi.name for kpi in missed)} out of bounds"
    return {"title": "measured run misses its SLO", "text": text, "severity": "critical", "fields": offered | values}
