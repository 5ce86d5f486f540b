"""What the queues use instead of C when they run as plain Python: memory barriers and the address of a view.

The compiled form takes its own from `virtqueue.pxd` (C11 fences) and never calls these.

**What orders accesses in plain CPython.** A store or load of one `memoryview.cast("H")` item is one machine
instruction, and the interpreter issues them in program order; the compiler cannot move them, because each goes
through a call it cannot see into. What the processor does with them then depends on the machine:

- *x86-64* keeps loads in order, stores in order, and stores behind earlier loads by itself; only a store followed
  by a load of something else can swap. So `load_barrier` and `store_barrier` have nothing to do, and `full_barrier`
  takes and releases a free lock: both are locked read-modify-write instructions, and one is enough (Intel SDM
  volume 3, 9.2.3.9; AMD64 manual volume 2, 7.4.2).
- *AArch64* (and the others) may swap anything. A release operation followed by an acquire operation of the
  same thread are kept in order, everything before the release stays before it, and everything after the acquire
  stays after it (Arm ARM B2.3, barrier-ordered-before). Releasing a lock and taking it again is just that, so
  all three barriers take and release the lock twice: the release in the middle of the two is the wall's one face,
  the acquire behind it the other.

Two Python-level calls of a lock cost about 80 ns; a fence through ctypes would cost several times that.
"""

from __future__ import annotations

import contextlib
import os
import threading
from time import monotonic_ns as monotonic

__all__ = [
    "address_of",
    "compiled",
    "full_barrier",
    "load_barrier",
    "monotonic",
    "nogil",
    "relax",
    "store_barrier",
]

compiled = False
"""Stands in for `cython.compiled`, which the compiler knows at compile time."""

nogil = contextlib.nullcontext()
"""Stands in for `cython.nogil`: what runs within it, in C, needs nothing of Python's."""

_lock = threading.Lock()
_acquire = _lock.acquire
_release = _lock.release


def _locked_instruction() -> None:
    # Not `with`: it costs twice as much. Another thread, or Ctrl-C between the two calls, may leave the lock in
    # either state; both calls cope, and the next one starts clean.
    _acquire(False)
    try:
        _release()
    except RuntimeError:
        return  # another thread released it: the switch between us went through the interpreter's own locks


def _both_faces() -> None:
    _locked_instruction()
    _locked_instruction()


def _nothing() -> None:
    pass


relax = _nothing

if os.uname().machine in {"x86_64", "AMD64", "i686"}:
    full_barrier = _locked_instruction
    load_barrier = store_barrier = _nothing
else:
    full_barrier = load_barrier = store_barrier = _both_faces


def address_of(view: memoryview) -> int:
    """Returns the address of a writable view's first byte."""
    import ctypes  # here, as it takes milliseconds to import and the compiled form does without

    return ctypes.addressof(ctypes.c_char.from_buffer(view))
