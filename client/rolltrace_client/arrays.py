"""Token ids and log-probabilities as arrays: views of the bytes that came, not copies.

With numpy they are read-only numpy arrays of "<i4" and "<f4"; without it array.array of "i" and "f",
which holds a copy. numpy is imported when the first array is asked for.
"""

from __future__ import annotations

import array
import importlib
import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Int32Array = npt.NDArray[np.int32]
    Float32Array = npt.NDArray[np.float32]
    AnyArray = npt.NDArray[Any]


def int32s(data: bytes) -> Int32Array:
    """Little-endian int32, shape [len(data) / 4]."""
    values: Int32Array = _read(data, "<i4", "i")
    return values


def float32s(data: bytes) -> Float32Array:
    """Little-endian float32, shape [len(data) / 4]."""
    values: Float32Array = _read(data, "<f4", "f")
    return values


def shaped(data: bytes, dtype: str, shape: Iterable[int]) -> AnyArray:
    """Any array in C order; `data` itself without numpy. Raises ValueError, TypeError."""
    numpy = _numpy()
    values: Any = data if numpy is None else numpy.frombuffer(data, dtype).reshape(tuple(shape))
    found: AnyArray = values
    return found


def _read(data: bytes, dtype: str, typecode: str) -> Any:
    numpy = _numpy()
    if numpy is not None:
        return numpy.frombuffer(data, dtype)
    values = array.array(typecode, data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


@cache
def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError:
        return None
