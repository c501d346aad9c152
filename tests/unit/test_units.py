"""Durations as a person reads them, and the factors between the units of the lab."""

from __future__ import annotations

import pytest

from sentra_sim import units
from sentra_sim.units import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (2.5e-6, "2.5 µs"),
        (0.000999, "999 µs"),
        (0.001, "1 ms"),
        (0.0123, "12.3 ms"),
        (0.9994, "999 ms"),
        (1.0, "1 s"),
        (95.04, "95 s"),
        (-0.0031, "-3.1 ms"),
    ],
)
def test_a_duration_has_three_digits_and_the_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_factors_fit_together() -> None:
    assert units.NS_PER_S == units.MS_PER_S * units.US_PER_S
