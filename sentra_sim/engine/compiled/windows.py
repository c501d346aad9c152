"""Tables of things that come and go by number: each holds a window of rows, those still needed and room for the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

AMPLE_BYTES = 1 << 18  # up to here a window grows whenever it is asked for more, needed or not

Arrays = dict[str, NDArray[Any]]


class Window:
    """Tables whose rows have the same numbers; `end` is the first number that there is no room for.

    The address in the state is where row 0 would lie, so that compiled code finds a row by its number wherever the window is.
    """

    def __init__(
        self, state: NDArray[np.void], arrays: Arrays, end: str, tables: Mapping[str, Any], rows: int, *, ample: bool
    ) -> None:
        self._state, self._arrays, self._end, self._tables = state, arrays, end, tables
        self._row_bytes = sum(np.dtype(dtype).itemsize * width for dtype, width in tables.values())
        while ample and 2 * rows * self._row_bytes <= AMPLE_BYTES:
            rows *= 2
        self.first, self.rows = 0, rows
        for name, (dtype, width) in tables.items():
            arrays[name] = np.empty((rows, width) if width > 1 else rows, dtype)
        self._publish()

    def make_room(self, kept: int, used: int, need: int = 1) -> None:
        """Gives up the rows before `kept`; of what is then there, those before `used` are in use, `need` more are to come."""
        rows, live = self.rows, used - kept
        if 2 * rows * self._row_bytes <= AMPLE_BYTES:
            rows *= 2  # asked for less often, at a size that caches hold
        while rows < 2 * (live + need):
            rows *= 2
        for name in self._tables:
            old = self._arrays[name]
            new = old if rows == self.rows else np.empty((rows, *old.shape[1:]), old.dtype)
            new[:live] = old[kept - self.first : used - self.first]
            self._arrays[name] = new
        self.first, self.rows = kept, rows
        self._publish()

    def adopt(self, arrays: Arrays) -> None:
        """Takes whole tables from elsewhere, not to be moved or added to."""
        self._arrays.update(arrays)
        self.first, self.rows = 0, min(len(array) for array in arrays.values())
        self._publish()

    def column(self, name: str, first: int, end: int) -> NDArray[Any]:
        """Returns rows of one of the tables by their numbers."""
        return self._arrays[name][first - self.first : end - self.first]

    def _publish(self) -> None:
        for name in self._tables:
            array = self._arrays[name]
            self._state[name] = array.ctypes.data - self.first * array.strides[0]
        self._state[self._end] = self.first + self.rows
