"""A sweep of rollouts: on processes or on a Dask cluster, and going on where it was killed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sentra_sim.errors import InputError
from sentra_sim.plan import sweep as module
from sentra_sim.plan.population import Population, draw_release
from sentra_sim.plan.rollouts import RolloutTask, play_rollout
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
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        rows = sweep(TASK, range(4), tmp_path / "dask.jsonl", scheduler=cluster.scheduler_address)
    assert rows == own
    assert here == [0, 1, 2, 3]


def test_a_scheduler_that_is_none_is_named(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="--scheduler: must be the address of a Dask scheduler, got 'nowhere:'"):
        sweep(TASK, [1], tmp_path / "rows.jsonl", scheduler="nowhere:")
