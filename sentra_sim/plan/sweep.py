"""Many rollouts: on this machine's cores or on a Dask cluster, with their rows in a file that a killed sweep goes on from."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from sentra_sim.errors import InputError
from sentra_sim.plan.rollouts import RolloutTask, Row, play_chunk

CHUNK = 20  # rollouts that are played, and lost by a kill, together

Progress = Callable[[int, int], None]
Chunks = Iterator[list[Row]]
Play = Callable[[Sequence[tuple[int, ...]]], Chunks]


def sweep(
    task: RolloutTask,
    seeds: Sequence[int],
    out: Path,
    *,
    workers: int = 2,
    scheduler: str | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Row]:
    """Plays the rollouts of all seeds that the file does not hold yet, and returns all rows in order of the seeds.

    Args:
        task: what all of them share.
        seeds: one a rollout.
        out: JSON lines: the task's digest, then a row each. Rows are added chunk by chunk.
        workers: processes on this machine.
        scheduler: address of a Dask scheduler, whose workers are used instead.
        progress: is told how many rollouts are done, and of how many.

    Raises:
        InputError: the file holds rows of another task, or Dask is missing or does not answer.
    """
    wanted = list(dict.fromkeys(seeds))
    rows = {row["seed"]: row for row in _begun(out, task)}
    left = [seed for seed in wanted if seed not in rows]
    chunks = [tuple(left[first : first + CHUNK]) for first in range(0, len(left), CHUNK)]
    progress(len(wanted) - len(left), len(wanted))
    players = _dask(task, scheduler) if scheduler else _local(task, workers)
    with out.open("a", encoding="utf-8") as file, players as play:
        for chunk in play(chunks):
            file.write("".join(json.dumps(row) + "\n" for row in chunk))
            file.flush()
            os.fsync(file.fileno())
            rows |= {row["seed"]: row for row in chunk}
            progress(sum(seed in rows for seed in wanted), len(wanted))
    return [rows[seed] for seed in wanted]


def _begun(out: Path, task: RolloutTask) -> list[Row]:
    """Returns the rows that are there; begins a file; cuts off a row that a kill left unfinished."""
    head = json.dumps({"task": task.digest()}) + "\n"
    if not out.exists() or not out.stat().st_size:
        out.write_text(head, encoding="utf-8")
        return []
    text = out.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if not whole.startswith(head):
        raise InputError(f"{out}: must hold rows of this task, got those of another; choose another file")
    if len(whole) < len(text):
        out.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()[1:]]


@contextmanager
def _local(task: RolloutTask, workers: int) -> Iterator[Play]:
    # Threads of the compiled engine's libraries do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:

        def play(chunks: Sequence[tuple[int, ...]]) -> Chunks:
            for future in as_completed([pool.submit(play_chunk, task, chunk) for chunk in chunks]):
                yield future.result()

        try:
            yield play
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _dask(task: RolloutTask, scheduler: str) -> Iterator[Play]:
    try:
        from distributed import Client
        from distributed import as_completed as dask_completed
    except ImportError as error:
        raise InputError(f"--scheduler: needs {error.name}, got none; pip install 'sentra-lab[sweep]'") from None
    try:
        client = Client(scheduler, timeout="10s", set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError):
        raise InputError(
            f"--scheduler: must be the address of a Dask scheduler, got {scheduler!r}; start one"
        ) from None
    with client:

        def play(chunks: Sequence[tuple[int, ...]]) -> Chunks:
            futures = [client.submit(play_chunk, task, chunk, pure=False) for chunk in chunks]
            done = dask_completed(futures, loop=client.loop, with_results=True)  # type: ignore[no-untyped-call]
            for future, chunk in done:
                future.release()
                yield chunk

        yield play
