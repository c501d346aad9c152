"""Faults planted in the real pipeline are caught with the right ids; the same disturbance of the sound pipeline is found clean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from live_adapters import stack as local_stack
from live_adapters.measure import measure
from live_adapters.pipeline.planted import ACKS_1, AND, CONTROL, DEDUPE_OFF, PLANTS, REPEAT_EVERY
from live_adapters.verify import evidence as names
from live_adapters.verify.evidence import Evidence, load_evidence
from live_adapters.verify.judge import FAULT, NODATA, OK, Finding, judge_evidence
from sentra_sim.scenario import load_scenario
from sentra_sim.scenario.arrivals import draw_offered

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("brief_rest")]

SCENARIO = load_scenario(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml")
RATE_EPS, SECONDS, SEED = 5_000.0, 3.0, 11


def play(folder: Path, plant: str, *, audit: bool = False) -> tuple[Evidence, dict[str, Finding]]:
    run = measure(
        SCENARIO,
        rate_eps=RATE_EPS,
        seconds=SECONDS,
        warmup_s=0.0,
        seed=SEED,
        out=folder / "run",
        plant=plant,
        audit=audit,
    )
    assert not run.manifest.validity.valid
    assert run.manifest.validity.reasons[-1] == f"planted: {plant}"
    evidence = load_evidence(folder / "run")
    return evidence, {finding.invariant: finding for finding in judge_evidence(evidence)}


def faults(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.verdict == FAULT}


def sequences(finding: Finding) -> set[int]:
    return {offence.sequence for offence in finding.ids if offence.sequence is not None}


# A killed leader holds up everything else, so it comes alone; the others all disturb one run.
LEADER_KILLED = (ACKS_1,)
TOGETHER = tuple(plant for plant in PLANTS if plant not in LEADER_KILLED)


@pytest.mark.parametrize("plants", [LEADER_KILLED, TOGETHER], ids=AND.join)
def test_the_disturbances_alone_leave_a_clean_run(
    stack: local_stack.Endpoints, tmp_path: Path, plants: tuple[str, ...]
) -> None:
    evidence, findings = play(tmp_path, AND.join(plant + CONTROL for plant in plants), audit=True)
    assert {name: finding.verdict for name, finding in findings.items()} == dict.fromkeys(findings, OK)
    if DEDUPE_OFF in plants:  # the load did repeat messages, and the worker refused them
        assert evidence.partitions["log_repeated"].sum() > 0


def test_a_worker_that_does_not_refuse_repetitions_is_caught(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    evidence, findings = play(tmp_path, "dedupe-off", audit=True)
    doubled = findings[names.ONCE]
    assert {names.ONCE, names.VERSION, names.OUTBOX, names.ONLINE} <= faults(findings)
    assert names.ACKED not in faults(findings)
    # Every tenth message came twice: those ids and no others.
    offered = draw_offered(SCENARIO.load.model_copy(update={"rate_eps": RATE_EPS}), SECONDS, SEED)
    repeated = set((np.flatnonzero(offered.message % REPEAT_EVERY == 0) + 1).tolist())
    assert sequences(doubled) <= repeated
    assert len(doubled.ids) + doubled.more == evidence.partitions["log_repeated"].sum() > 0


def test_acknowledgements_of_the_leader_alone_are_caught_when_it_is_killed(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    evidence, findings = play(tmp_path, "acks-1")
    lost = findings[names.ACKED]
    assert lost.verdict == FAULT
    assert len(lost.ids) > 0
    effect = evidence.ids.filter(pl.col("state") == "effect")
    for sequence in sequences(lost):
        assert effect.filter((pl.col("first") <= sequence) & (pl.col("last") >= sequence)).is_empty()


def test_effects_outside_of_the_progress_s_transaction_are_caught(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    _, findings = play(tmp_path, "effects-outside")
    doubled = findings[names.ONCE]
    assert doubled.verdict == FAULT
    assert {offence.what for offence in doubled.ids} == {"took effect twice: its batch was applied again"}
    # One poll was applied again: of each partition, neighbours in the log.
    for partition in {offence.partition for offence in doubled.ids}:
        offsets = sorted(offence.offset or 0 for offence in doubled.ids if offence.partition == partition)
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


def test_a_relay_whose_repetitions_nobody_recognises_is_caught(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    evidence, findings = play(tmp_path, "relay-without-ids", audit=True)
    assert {names.OUTBOX, names.CLICKHOUSE, names.ONLINE} <= faults(findings)
    assert not {names.ONCE, names.ACKED, names.VERSION} & faults(findings)
    assert findings[names.DEAD].verdict in (OK, NODATA)
    twice = evidence.frames.filter(pl.col("delivered_rows") > pl.col("rows"))
    assert {offence.frame for offence in findings[names.OUTBOX].ids} <= set(twice["frame"])
