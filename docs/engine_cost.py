"""Measures what an event of the compiled engine costs against the size of a scenario: `python docs/engine_cost.py docs/img`.

Writes engine-cost.csv and engine-cost.svg there. Sizes are stations in a row, stations side by side, and partitions; the cost is CPU
time of a run over what happened in it: a frame coming to a station, or an event coming to a partition.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sentra_sim.engine import Plan, prepare, run_statistics  # noqa: E402
from sentra_sim.plots.look import LIGHT  # noqa: E402
from sentra_sim.scenario import Scenario  # noqa: E402
from tests.pipelines import bare  # noqa: E402

SIZES = (10, 30, 100, 300, 1_000, 3_000, 10_000)
WORK = (
    3_000_000  # frames coming to stations, or events, in each run: so much that it outweighs the set-up of the largest
)
RUNS = 3
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 400, 64, 48, 24, 190


def row(size: int) -> tuple[Scenario, float]:
    """Returns stations one behind the other, and seconds of load."""
    return _stations(size, behind=True), max(1.0, WORK / size / 10.0)


def side_by_side(size: int) -> tuple[Scenario, float]:
    """Returns stations that each get every frame, and seconds of load."""
    return _stations(size, behind=False), max(1.0, WORK / size / 10.0)


def partitions(size: int) -> tuple[Scenario, float]:
    """Returns a log of so many partitions, whose frames all close by linger, and seconds of load."""
    rate = 20_000.0
    changes = {
        "load": {"rate_eps": rate, "arrivals": "poisson", "tick_s": 0.002, "keys": 100_000, "key_skew": 0.0},
        "stations.log.partitions": size,
        "stations.batcher.max_events": 500,
    }
    return bare(changes), WORK / rate


def _stations(size: int, *, behind: bool) -> Scenario:
    pool = {"kind": "pool", "host": "ample", "demand": {"job_s": 1e-4, "noise": {"dist": "exponential"}}}
    names = [f"pool-{number}" for number in range(size)]
    changes: dict[str, Any] = {
        "hosts.ample.cores": 64 + size,
        "stations.group.calls": ["door"],
        "stations.door": {"kind": "pool", "host": "ample", "hop": "entered", "to": names[:1] if behind else names},
    }
    for number, name in enumerate(names):
        after = names[number + 1 : number + 2] if behind else []
        changes[f"stations.{name}"] = pool | {"hop": f"hop_{number}", "to": after}
    return bare(changes)


KINDS: dict[str, tuple[str, Callable[[int], tuple[Scenario, float]]]] = {
    "row": ("stations in a row", row),
    "side": ("stations side by side", side_by_side),
    "partitions": ("partitions", partitions),
}


def measure() -> list[dict[str, float | str]]:
    """Runs every kind at every size."""
    found: list[dict[str, float | str]] = []
    for kind, (_, make) in KINDS.items():
        for size in SIZES:
            scenario, seconds = make(size)
            plan = prepare(scenario, seconds=seconds, seed=1)
            nothing = prepare(scenario, seconds=0.0, seed=1)
            done = run_statistics(plan)  # loads the compiled code and draws what is drawn once
            setup_s = min(_timed(nothing) for _ in range(RUNS))
            spent_s = min(_timed(plan) for _ in range(RUNS))
            work = done.taken if kind == "partitions" else done.frame_hops
            cost = (spent_s - setup_s) / work
            found.append({"kind": kind, "size": size, "ns": round(1e9 * cost, 1), "setup_ms": round(1e3 * setup_s, 2)})
            print(found[-1], flush=True)
    return found


def _timed(plan: Plan) -> float:
    start = process_time()
    run_statistics(plan)
    return process_time() - start


def draw(rows: list[dict[str, float | str]]) -> str:
    """Draws cost against size, the size on a logarithmic axis, as SVG."""
    colours = [*(ink.colour for ink in LIGHT.inks), LIGHT.text]
    most = max(float(row["ns"]) for row in rows) * 1.1
    step = 10.0 ** math.floor(math.log10(most / 2))
    step *= 5 if most / step > 10 else 1

    def x(size: float) -> float:
        return LEFT + (math.log10(size) - 1) / 3 * (WIDTH - LEFT - RIGHT)

    def y(cost: float) -> float:
        return HEIGHT - BOTTOM - cost / most * (HEIGHT - BOTTOM - TOP)

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{LIGHT.ground}"/>']
    for number in range(int(most / step) + 1):
        at = y(number * step)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="{LIGHT.grid}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{number * step:g}</text>')
    for size in (10, 100, 1_000, 10_000):
        parts.append(f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 8}">CPU time per event, ns</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">size of the scenario</text>'
    )
    for (kind, (name, _)), colour in zip(KINDS.items(), colours, strict=True):
        points = [(x(float(row["size"])), y(float(row["ns"]))) for row in rows if row["kind"] == kind]
        way = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        parts.append(f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points)
        parts.append(f'<text x="{points[-1][0] + 10:.1f}" y="{points[-1][1] + 4:.1f}" fill="{colour}">{name}</text>')
    body = "\n".join(parts)
    style = f'font-family="sans-serif" font-size="13" fill="{LIGHT.text}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>\n{body}\n</svg>\n'


def main(folder: Path) -> int:
    """Measures and writes both files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = measure()
    with (folder / "engine-cost.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / "engine-cost.svg").write_text(draw(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
