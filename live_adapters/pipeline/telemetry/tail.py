"""Reads a hop log while it grows: each look returns the rows that are new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class LogTail:
    """One hop log, from its start on; a torn last row is returned once it is whole."""

    def __init__(self, file: Path, dtype: np.dtype[np.void]) -> None:
        self._file, self._dtype = file, dtype
        self._offset = 0

    def look(self) -> NDArray[np.void]:
        """Returns the rows written since the last look, shape (rows,); none while there is no file."""
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return np.empty(0, dtype=self._dtype)
        whole = len(data) // self._dtype.itemsize * self._dtype.itemsize
        self._offset += whole
        return np.frombuffer(data[:whole], dtype=self._dtype)
