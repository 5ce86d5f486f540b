"""What `rings.py` uses instead of C when it runs as plain Python: reading and writing messages in their buffers."""

from __future__ import annotations

from struct import Struct
from time import monotonic_ns as monotonic

from openamp.rpmsg.wire import HEADER, HEADER_SIZE

__all__ = ["compiled", "copy_out", "fill", "fill_header", "monotonic", "unpack"]

compiled = False
"""Stands in for `cython.compiled`, which the compiler knows at compile time."""

_LARGE = 4096
"""Payloads from here on are not joined with the header first: one more memcpy would cost more than a slice."""

_pack = HEADER.pack

unpack = Struct("<II4xH").unpack_from
"""Returns source, destination and payload length of the message in a buffer."""


def copy_out(view: memoryview, start: int, end: int) -> bytes:
    """Returns the bytes `start` to `end` of a buffer."""
    return view[start:end].tobytes()


def fill(view: memoryview, src: int, dst: int, data: bytes, length: int) -> None:
    """Writes a message into a buffer that is ours and large enough."""
    if length < _LARGE:
        view[: HEADER_SIZE + length] = _pack(src, dst, 0, length, 0) + data
    else:
        view[:HEADER_SIZE] = _pack(src, dst, 0, length, 0)
        view[HEADER_SIZE : HEADER_SIZE + length] = data


def fill_header(view: memoryview, src: int, dst: int, length: int) -> None:
    """Writes the header of a message whose payload is written apart from it."""
    view[:HEADER_SIZE] = _pack(src, dst, 0, length, 0)
