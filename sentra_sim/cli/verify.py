"""What `sentra verify` prints: each invariant, and the ids that break it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sentra_sim.cli.tables import console, table

MARKS = {"ok": "[green]ok[/]", "FAULT": "[bold red]FAULT[/]", "nodata": "[yellow]nodata[/]"}
SHOWN = 10  # ids of an invariant in the table; --json has all that the evidence names


def print_findings(run: Path, findings: Sequence[Any], *, as_json: bool) -> int:
    """Prints the findings; returns 1 when there is a fault."""
    faulty = any(finding.verdict == "FAULT" for finding in findings)
    if as_json:
        print(json.dumps({"run": str(run), "faulty": faulty, "findings": [asdict(finding) for finding in findings]}))
        return int(faulty)
    out = console()
    made = table(f"{run.name}: exactly once?", "invariant", "verdict", "found")
    made.columns[2].justify = "left"
    made.columns[2].no_wrap = False
    for finding in findings:
        made.add_row(finding.invariant, MARKS[finding.verdict], finding.detail)
    out.print(made)
    for finding in findings:
        for offence in finding.ids[:SHOWN]:
            out.print(f"{finding.invariant}: {offence.place}: {offence.what}", soft_wrap=True)
        rest = max(0, len(finding.ids) - SHOWN) + finding.more
        if rest:
            out.print(f"{finding.invariant}: and {rest:,} more")
    return int(faulty)
