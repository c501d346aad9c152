"""Random numbers of the compiled engine, block by block."""

from __future__ import annotations

from sentra_sim.engine.compiled.memory import Row, Sim, inline, more, number_at


@inline
def draw(sim: Sim, row: Row) -> float:
    """Takes the next number of a stream."""
    if row.drawn == row.draw_count:
        if row.stream < 0:  # a constant one, which holds one number
            row.drawn = 0
        else:
            more(sim, row.stream)
    row.drawn += 1
    return number_at(row.numbers, row.drawn - 1).value  # type: ignore[no-any-return]
