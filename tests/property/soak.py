"""Both engines on any number of random pipelines, whatever happens to them, looked at on the way: `make equality`.

    python -m tests.property.soak --examples 1000 --seed 1

Pipelines come in batches, each drawn from a seed of its own, which is printed with a digest of all that its runs gave. Beginning with a
batch's seed replays it to the last bit. A pipeline on which the engines differ, or whose books do not balance, is shrunk and printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sentra_sim.control.simulated import SimulatedPlant
from sentra_sim.engine import Change, Plan, Simulation, Trace, prepare, start
from sentra_sim.scenario import Scenario, scenario_data
from tests.pipelines import bare
from tests.property.books import FATES, Account, account, assert_follows, final_account
from tests.property.test_changes_equal import _check_books, all_changes
from tests.property.test_engines_equal import _check_conservation, assert_equal, scenarios

BATCH = 10  # pipelines that are drawn from one seed


@dataclass(frozen=True)
class Look:
    """A controller that looks at a run: when, and how far back."""

    at_s: float
    window_s: float


@dataclass(frozen=True)
class Example:
    """A pipeline, what happens to it, and who looks at it when."""

    scenario: Scenario
    seconds: float
    seed: int
    changes: tuple[Change, ...] = ()
    looks: tuple[Look, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """Returns it as plain data, to be read."""
        return {
            "seconds": self.seconds,
            "seed": self.seed,
            "changes": [list(change) for change in self.changes],
            "looks": [[look.at_s, look.window_s] for look in self.looks],
            "scenario": scenario_data(self.scenario),
        }


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Draws a pipeline of all parts, changes of all of them, and looks between, at and after the changes."""
    scenario = draw(scenarios())
    changes = draw(all_changes(scenario))
    moments = [change.at_s for change in changes] or [0.0]
    at_s = st.floats(0.0, 0.6) | st.sampled_from(moments) | st.just(1.0)
    looks = draw(st.lists(st.builds(Look, at_s, st.sampled_from([0.05, 0.2, 60.0])), max_size=6))
    seconds = draw(st.sampled_from([0.3, 0.1, 0.5]))
    return Example(scenario, seconds, draw(st.integers(0, 2**32 - 1)), tuple(changes), tuple(looks))


@dataclass
class Report:
    """What was played: how often what happened, and a digest of all numbers."""

    last: Example | None = None
    distinct: set[bytes] = field(default_factory=set)
    happened: Counter[str] = field(default_factory=Counter)
    digest: Any = field(default_factory=hashlib.sha256)


def play(example: Example, report: Report) -> None:
    """Plays a pipeline in both engines.

    Raises:
        AssertionError: they differ, or the books of one of them do not balance.
    """
    report.last = example
    text = json.dumps(example.as_data()).encode()
    report.digest.update(text)
    report.distinct.add(hashlib.sha256(text).digest())
    plan = prepare(example.scenario, seconds=example.seconds, seed=example.seed)
    both = start(plan), start(plan, engine="reference")
    clock = [0.0]
    plants = [SimulatedPlant(one, plan, lambda: clock[0]) for one in both]
    before: Account | None = None
    for step in _in_order(example):
        clock[0] = max(clock[0], step.at_s)
        if isinstance(step, Change):
            for one in both:
                one.advance(step.at_s)
                one.apply(step)
            report.happened[step.operation] += 1
            continue
        np.testing.assert_equal(*(plant.metrics(step.window_s) for plant in plants))
        found = _look(plan, both, report)
        if before is not None:
            assert_follows(plan, before, found)
        before = found
    trace, other = (one.trace() for one in both)
    _check_end(plan, trace, other, before, report)


def _in_order(example: Example) -> Iterator[Change | Look]:
    """Yields changes and looks by time; those of one moment as they come, changes first."""
    steps: list[Change | Look] = [*example.changes, *example.looks]
    yield from sorted(steps, key=lambda step: step.at_s)


def _look(plan: Plan, both: Sequence[Simulation], report: Report) -> Account:
    """Looks at both engines at one moment: all that can be read is the same, and the books balance."""
    one, other = (simulation.view() for simulation in both)
    assert (one.now_s, one.frames) == (other.now_s, other.frames)
    assert both[0].lag_events == both[1].lag_events
    np.testing.assert_array_equal(one.cpu_s, other.cpu_s, strict=True)
    found, expected = account(plan, one), account(plan, other)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs, strict=True)
        report.digest.update(np.ascontiguousarray(mine).tobytes())
    report.happened["looks"] += 1
    return found


def _check_end(plan: Plan, trace: Trace, other: Trace, before: Account | None, report: Report) -> None:
    assert_equal(trace, other)
    _check_conservation(trace)
    _check_books(trace)
    end = final_account(plan, trace)
    if before is not None:
        assert_follows(plan, before, end)
    for one in fields(Trace):
        report.digest.update(np.ascontiguousarray(getattr(trace, one.name)).tobytes())
    report.happened["events"] += len(end.fate)
    report.happened.update(FATES[number] for number in end.fate.tolist())


def play_batch(number: int, report: Report) -> None:
    """Plays the pipelines of one seed.

    Raises:
        AssertionError: of the smallest pipeline that could be found which still fails; `report.last` is that one.
    """

    # No times and no database of earlier failures: a seed alone decides what is drawn.
    @seed(number)
    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(examples())
    def batch(example: Example) -> None:
        play(example, report)

    batch()


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays batch after batch until there were enough different pipelines; 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.soak")
    parser.add_argument("--examples", type=int, default=1000, help="different pipelines to play")
    parser.add_argument("--seed", type=int, default=1, help="of the first batch; the next ones have the seeds after it")
    options = parser.parse_args(arguments)

    play(Example(bare(), 0.1, 1), Report())  # what is imported on the way is part of what hypothesis draws from
    began_s, total, digest = time.monotonic(), Report(), hashlib.sha256()
    number = options.seed
    while len(total.distinct) < options.examples:
        one = Report()
        try:
            play_batch(number, one)
        except Exception as error:
            _print_failure(number, one, error)
            return 1
        total.distinct |= one.distinct
        total.happened += one.happened
        digest.update(one.digest.digest())
        print(f"seed {number}: {len(one.distinct)} pipelines, digest {one.digest.hexdigest()[:16]}", flush=True)
        number += 1
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(total.happened.items()))
    print(f"{len(total.distinct):,} pipelines equal in both engines, their books balanced at every look: {counts}")
    print(f"seeds {options.seed} to {number - 1}, digest {digest.hexdigest()[:16]}, {time.monotonic() - began_s:.0f} s")
    return 0


def _print_failure(number: int, report: Report, error: Exception) -> None:
    assert report.last is not None
    print(yaml.safe_dump(report.last.as_data(), sort_keys=False, width=120))
    print(f"{type(error).__name__}: {error}")
    print(f"seed {number}: the pipeline above is the smallest that fails; replay it with SEED={number} make equality")


if __name__ == "__main__":
    sys.exit(main())
