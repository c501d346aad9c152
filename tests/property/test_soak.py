"""The soak of both engines: a small one passes and repeats to the last bit; a planted defect is found, shrunk and replayed."""

import re
from typing import Any

import pytest
from hypothesis import strategies as st

from sentra_sim.engine import Change, Rows
from sentra_sim.engine.reference.simulation import ReferenceSimulation
from tests.pipelines import bare
from tests.property import soak

# Pipelines in which nothing but brokers is touched, so that shrinking takes a second.
happenings = st.lists(
    st.builds(Change, st.floats(0.0, 0.1), st.sampled_from(["heal", "slow", "kill"]), st.just("log-1"), st.just(0.02)),
    max_size=6,
)
small = st.builds(
    lambda changes, seed: soak.Example(
        bare({"load.rate_eps": 200.0}), 0.1, seed, tuple(changes), (soak.Look(0.05, 60.0),)
    ),
    happenings,
    st.integers(0, 99),
)


def test_a_soak_with_the_same_seed_is_the_same_to_the_last_bit(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--examples", "6", "--seed", "3"]) == 0
    first = _without_time(capsys.readouterr().out)
    assert re.search(r"^10 pipelines equal in both engines, .* looks", first, re.MULTILINE)
    assert soak.main(["--examples", "6", "--seed", "3"]) == 0
    assert _without_time(capsys.readouterr().out) == first


def test_a_defect_of_one_engine_is_found_shrunk_and_replayed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine that does not hear of slow brokers: one such change is left of a handful of all kinds."""
    apply = ReferenceSimulation.apply

    def deaf(self: Any, change: Change) -> None:
        if change.operation != "slow":
            apply(self, change)

    monkeypatch.setattr(soak, "examples", lambda: small)
    assert soak.main(["--examples", "10", "--seed", "1"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(ReferenceSimulation, "apply", deaf)
    assert soak.main(["--examples", "10", "--seed", "1"]) == 1
    found = capsys.readouterr().out
    assert "replay it with SEED=1 make equality" in found
    assert re.findall(r"^- - .*\n  - (\w+)$", found, re.MULTILINE) == ["slow"]
    assert soak.main(["--examples", "10", "--seed", "1"]) == 1
    assert capsys.readouterr().out == found


def test_books_that_do_not_balance_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that carries an event more than it was given, in both engines alike."""
    example = soak.Example(bare({"load.rate_eps": 200.0}), 0.1, 1, (), (soak.Look(0.05, 60.0),))
    soak.play(example, soak.Report())

    def one_more(partition: Any, events: Any, hops_s: Any, outcome: Any) -> Any:
        return Rows(partition, events + 1, hops_s, outcome)

    for module in ("reference", "compiled"):
        monkeypatch.setattr(f"sentra_sim.engine.{module}.simulation.Rows", one_more)
    with pytest.raises(AssertionError, match="events by frame"):
        soak.play(example, soak.Report())


def _without_time(text: str) -> str:
    return re.sub(r", \d+ s$", "", text, flags=re.MULTILINE)
