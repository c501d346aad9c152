"""NumPy arrays as PostgreSQL array parameters, in PostgreSQL's binary format, without a step per element.

asyncpg checks and encodes an array element by element, which for a poll's effects costs the worker about as much as all its own
arithmetic. Its public `set_type_codec` refuses array types, so the codec goes in one level below, at
`ConnectionSettings.add_python_codec`; a test holds the result equal to asyncpg's own encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Array type: its object id, its elements' object id and dtype. All are fixed in PostgreSQL's catalogue (pg_type.dat).
_TYPES = (
    ("_int4", 1007, 23, np.dtype(">i4")),
    ("_int8", 1016, 20, np.dtype(">i8")),
    ("_float8", 1022, 701, np.dtype(">f8")),
)
_HEAD = struct.Struct(">iiIii")  # dimensions, has nulls, element type, length, lower bound
_EMPTY = struct.Struct(">iiI")


def use_packed_arrays(connection: Any) -> None:
    """Lets a connection's statements take NumPy arrays (or lists) as parameters of type integer[], bigint[] and float8[].

    Columns of these types come back undecoded, as bytes.
    """
    settings = connection._protocol.get_settings()
    for name, array_oid, element_oid, dtype in _TYPES:
        encoder: Callable[[ArrayLike], bytes] = partial(pack_array, dtype=dtype, element_oid=element_oid)
        settings.add_python_codec(array_oid, name, "pg_catalog", [], "scalar", encoder, bytes, "binary")


def pack_array(values: ArrayLike, dtype: np.dtype[Any], element_oid: int) -> bytes:
    """Packs a one-dimensional array without nulls in PostgreSQL's binary format (array_send in arrayfuncs.c)."""
    array = np.asarray(values)
    if not array.size:
        return _EMPTY.pack(0, 0, element_oid)
    elements = np.empty(len(array), dtype=[("length", ">i4"), ("value", dtype)])
    elements["length"], elements["value"] = dtype.itemsize, array
    return _HEAD.pack(1, 0, element_oid, len(array), 1) + elements.tobytes()
