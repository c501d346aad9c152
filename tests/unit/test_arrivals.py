"""The offered load: the same events for the same seed, however it is drawn, and rates that change in steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sentra_sim.rng import stream
from sentra_sim.scenario.arrivals import Offered, count_offered, draw_chunks, draw_offered, step_edges
from sentra_sim.scenario.keys import draw_keys, key_law, key_weights
from sentra_sim.scenario.schema import Load, Step

STEPS = (Step(rate_eps=1_000.0, seconds=2.0), Step(rate_eps=4_000.0, seconds=3.0))


def at_once(load: Load, seconds: float, seed: int) -> Offered:
    """The load of one rate as plain arrays: how it was first defined."""
    if load.arrivals == "constant":
        intended = np.arange(int(np.ceil(seconds * load.rate_eps))) / load.rate_eps
    else:
        gaps = stream(seed, "load", "arrivals").standard_exponential(int(2 * seconds * load.rate_eps + 100))
        intended = np.cumsum(gaps) / load.rate_eps
        intended = intended[intended < seconds]
    edges = np.cumsum(key_weights(load.keys, load.key_skew))
    keys = np.searchsorted(edges, stream(seed, "load", "keys").random(len(intended)), side="right")
    if load.tick_s == 0.0:
        return Offered(intended, keys.astype(np.uint32), np.arange(len(intended)), intended)
    ticks, message = np.unique(np.ceil(intended / load.tick_s).astype(np.int64), return_inverse=True)
    return Offered(intended, keys.astype(np.uint32), message, ticks * load.tick_s)


def assert_same(one: Offered, other: Offered) -> None:
    for name in ("intended_s", "keys", "message", "send_s"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("rate_eps", [0.5, 777.7, 20_000.0])
@pytest.mark.parametrize("tick_s", [0.002, 0.5, 0.0])
def test_drawing_piece_by_piece_changes_no_bit_of_any_event(arrivals: Any, rate_eps: float, tick_s: float) -> None:
    load = Load(rate_eps=rate_eps, arrivals=arrivals, tick_s=tick_s)
    whole = at_once(load, 1.37, 7)
    assert_same(draw_offered(load, 1.37, 7), whole)
    pieces = list(draw_chunks(load, 1.37, 7, 300))
    assert len(pieces) > 3 or len(whole.keys) < 1_200 or tick_s == 0.5
    for name in ("intended_s", "keys", "send_s"):
        np.testing.assert_array_equal(np.concatenate([getattr(piece, name) for piece in pieces]), getattr(whole, name))
    # A piece holds whole messages, so each begins with a new one.
    fresh = np.concatenate([np.diff(piece.message, prepend=-1) for piece in pieces])
    np.testing.assert_array_equal(np.cumsum(fresh) - 1, whole.message)


def test_a_load_of_one_step_is_the_load_of_that_rate() -> None:
    for arrivals in ("constant", "poisson"):
        load = Load(arrivals=arrivals, steps=(Step(rate_eps=3_000.0, seconds=1.0),))
        assert_same(draw_offered(load, 2.0, 3), draw_offered(Load(arrivals=arrivals, rate_eps=3_000.0), 2.0, 3))


def test_constant_steps_have_even_gaps_of_each_rate() -> None:
    offered = draw_offered(Load(steps=STEPS), 6.0, 1)
    first, second = np.split(offered.intended_s, [2_000])
    np.testing.assert_allclose(first, np.arange(2_000) / 1_000.0)
    np.testing.assert_allclose(
        second, 2.0 + np.arange(16_000) / 4_000.0
    )  # goes on at the last rate to the sixth second


def test_poisson_steps_have_each_step_s_rate_and_independent_exponential_gaps() -> None:
    steps = tuple(Step(rate_eps=rate, seconds=20.0) for rate in (2_000.0, 8_000.0))
    load = Load(arrivals="poisson", steps=steps)
    times = draw_offered(load, 40.0, 5).intended_s
    assert (np.diff(times) >= 0).all()
    for (start, end), rate in zip(pairwise((0.0, 20.0, 40.0)), (2_000.0, 8_000.0), strict=True):
        gaps = np.diff(times[(times >= start) & (times < end)])
        expected = rate * 20.0
        assert len(gaps) == pytest.approx(expected, abs=4 * np.sqrt(expected))
        assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
        assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / np.sqrt(expected)


def test_a_run_shorter_than_its_steps_ends_within_them() -> None:
    load = Load(steps=STEPS)
    assert step_edges(load, 6.0) == (0.0, 2.0, 6.0)
    assert step_edges(load, 1.5) == (0.0, 1.5)
    assert len(draw_offered(load, 1.5, 1).keys) == 1_500
    assert step_edges(Load(), 3.0) == (0.0, 3.0)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_counting_agrees_with_drawing(arrivals: Any) -> None:
    load = Load(arrivals=arrivals, steps=STEPS)
    times = draw_offered(load, 6.0, 9).intended_s
    edges = (0.5, 2.0, 4.25, 6.0)
    assert count_offered(load, edges, 9) == tuple(np.histogram(times, edges)[0].tolist())


def test_no_event_is_no_error() -> None:
    offered = draw_offered(Load(rate_eps=1e-6, arrivals="poisson"), 5.0, 1)
    assert (len(offered.intended_s), len(offered.keys), len(offered.message), len(offered.send_s)) == (0, 0, 0, 0)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_a_load_of_no_length_has_no_event(arrivals: Any) -> None:
    assert len(draw_offered(Load(arrivals=arrivals), 0.0, 1).keys) == 0
    assert len(draw_offered(Load(arrivals=arrivals, steps=STEPS), 0.0, 1).keys) == 0


@pytest.mark.parametrize(
    ("keys", "skew", "weights"),
    [
        (1, 0.0, ()),
        (3, 5.0, ()),
        (10_000, 0.6, ()),
        (100_000, 0.0, ()),
        (50_000, 3.0, ()),
        (50, 1.0, (1.0, 0.0, 5.0)),
    ],
)
def test_the_guide_finds_the_key_that_a_search_finds(keys: int, skew: float, weights: tuple[float, ...]) -> None:
    law = key_law(keys, skew, weights)
    found = draw_keys(20_000, law, np.random.default_rng(3))
    searched = np.searchsorted(law.edges[:-1], np.random.default_rng(3).random(20_000), side="right")
    np.testing.assert_array_equal(found, np.minimum(searched, keys - 1))
