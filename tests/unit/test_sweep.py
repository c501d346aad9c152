"""A sweep of rollouts: on processes or on a Dask cluster, and going on where it was killed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from sentra_sim.errors import InputError
from sentra_sim.plan import sweep as module
from sentra_sim.plan.population import Population, draw_release
from sentra_sim.plan.rollouts import RolloutTask, play_rollout
from sentra_sim.plan.summary import summarize
from sentra_sim.plan.sweep import sweep
from sentra_sim.scenario import scenario_data
from tests.pipelines import sentra

POLICY = {
    "canary": "next",
    "steps": [{"weight": 0.5, "hold_s": 6.0}],
    "gates": [{"metric": "e2e_p95_s", "max": 0.12}],
    "start_s": 2.0,
    "window_s": 2.0,
    "look_every_s": 2.0,
}
PIPELINE = sentra({"load.rate_eps": 500.0, "stations.pricing.demand": {"event_s": 6e-4}})
TASK = RolloutTask(scenario_data(PIPELINE), POLICY, Population("pricing", least_factor=10.0, most_factor=20.0), 20.0)
SEEDS = range(10)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Plays in this process, two rollouts a chunk, and lists the seeds that were played."""
    played: list[int] = []

    @contextmanager
    def local(task: RolloutTask, workers: int) -> Iterator[Any]:
        def play(chunks: Any) -> Iterator[list[dict[str, Any]]]:
            for chunk in chunks:
                played.extend(chunk)
                yield [play_rollout(task, seed) for seed in chunk]

        yield play

    monkeypatch.setattr(module, "_local", local)
    monkeypatch.setattr(module, "CHUNK", 2)
    return played


def listening() -> set[tuple[str, int]]:
    """Addresses that this process listens on."""
    found = psutil.Process().net_connections(kind="inet")
    return {tuple(one.laddr) for one in found if one.status == psutil.CONN_LISTEN}


def without_cpu(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what its computation took, which is never twice the same."""
    assert row["cpu_s"] > 0.0
    return {name: value for name, value in row.items() if name != "cpu_s"}


def test_bad_releases_are_taken_back_and_good_ones_go_out(tmp_path: Path, here: list[int]) -> None:
    told: list[tuple[int, int]] = []
    rows = sweep(TASK, SEEDS, tmp_path / "rows.jsonl", progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 10) for done in (0, 2, 4, 6, 8, 10)]
    assert here == list(SEEDS)
    assert {row["bad"] for row in rows} == {True, False}
    assert all(row["outcome"] == ("rolled-back" if row["bad"] else "promoted") for row in rows)
    assert all(row["bad"] == draw_release(TASK.population, row["seed"]).bad for row in rows)


def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path, here: list[int]) -> None:
    out = tmp_path / "rows.jsonl"

    def kill(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(TASK, SEEDS, out, progress=kill)
    with out.open("a", encoding="utf-8") as file:
        file.write('{"seed": 9, "bad"')  # the row that the kill tore
    rows = sweep(TASK, SEEDS, out)
    assert here == list(SEEDS)  # none twice, none left out
    assert rows == [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()[1:]]


def test_rows_of_another_task_are_not_mixed_in(tmp_path: Path, here: list[int]) -> None:
    out = tmp_path / "rows.jsonl"
    sweep(TASK, [1], out)
    other = RolloutTask(TASK.scenario, TASK.policy, TASK.population, 21.0)
    with pytest.raises(InputError, match=r"rows.jsonl: must hold rows of this task, got those of another"):
        sweep(other, [1], out)
    assert here == [1]


def test_a_dask_cluster_of_two_workers_plays_the_same_rows(tmp_path: Path, here: list[int]) -> None:
    distributed = pytest.importorskip("distributed")
    own = sweep(TASK, range(4), tmp_path / "own.jsonl")
    before = listening()
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        opened = listening() - before
        rows = sweep(TASK, range(4), tmp_path / "dask.jsonl", scheduler=cluster.scheduler_address)
        played = [worker.state.executed_count for worker in cluster.workers.values()]
    assert [without_cpu(row) for row in rows] == [without_cpu(row) for row in own]
    assert played == [1, 1]  # of the two chunks
    assert {host for host, _ in opened} == {"127.0.0.1"}
    assert not listening() & opened  # scheduler and workers have ended
    assert here == [0, 1, 2, 3]  # not played here a second time


def test_a_scheduler_that_is_none_is_named(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="--scheduler: must be the address of a Dask scheduler, got 'nowhere:'"):
        sweep(TASK, [1], tmp_path / "rows.jsonl", scheduler="nowhere:")


def row(factor: float, outcome: str, rolled_back_s: float | None = None, took_s: float | None = None) -> dict[str, Any]:
    times = {"rolled_back_s": rolled_back_s, "rollback_s": took_s, "cpu_s": 0.25}
    return {"factor": factor, "bad": factor > 1.0, "outcome": outcome} | times


def test_a_summary_says_how_soon_a_policy_notices_and_how_often_it_is_wrong() -> None:
    good = [row(1.0, "promoted")] * 48 + [row(1.0, "rolled-back", 400.0, 30.0)] * 2
    caught = [row(4.0 + number, "rolled-back", 100.0 + 15 * number, 20.0) for number in range(5)]
    bad = [row(1.3, "promoted"), *caught, row(2.0, "unfinished")]
    found = summarize([*good, *bad], start_s=60.0)
    assert (found.rollouts, found.bad, found.unfinished, found.restored) == (57, 7, 1, 7)
    assert found.false_rollbacks is not None
    assert found.missed is not None
    assert found.false_rollbacks.value == 0.04
    # Wilson's interval of 2 of 50, by hand: (0.04 + z²/100 ± z·sqrt(0.04·0.96/50 + z²/10000)) / (1 + z²/50).
    assert (found.false_rollbacks.low, found.false_rollbacks.high) == pytest.approx((0.01104, 0.13460), abs=1e-5)
    assert found.missed.value == pytest.approx(1 / 7)
    assert [(band.releases, band.missed.value) for band in found.bands] == [(2, 0.5), (2, 0.0), (3, 0.0)]
    assert found.detection_s is not None  # of bad releases, from their first weight: 40, 55, 70, 85, 100 s
    assert (found.detection_s["p50"], found.detection_s["p95"], found.detection_s["max"]) == pytest.approx(
        (70, 97, 100)
    )
    assert found.rollback_s == pytest.approx({"p50": 20.0, "p95": 30.0, "p99": 30.0, "max": 30.0}, abs=3.1)
    assert found.cpu_s == 0.25
    nothing = summarize([row(1.0, "promoted")], start_s=0.0)
    assert (nothing.missed, nothing.detection_s, nothing.rollback_s, nothing.bands) == (None, None, None, ())
