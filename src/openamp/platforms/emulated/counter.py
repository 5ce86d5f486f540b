"""Exact instruction counts, and stops between two blocks: the hook that the engine calls before every block.

The engine executes straight runs of instructions ("blocks") and knows nothing of counts, budgets or pending
interrupts. A block hook does: it adds the block's number of instructions to a counter and, at a limit or when the
watched registers come to allow a pending interrupt, stops the engine *before* the block begins, so the program
counter is exact and no instruction runs twice. The hook is compiled when possible (`_counter.pyx`); the functions here
do the same, slower, with the same results; `OPENAMP_PLAIN=1` in the environment chooses them.

A block's instructions are counted once, from the code's bytes, and remembered by address and length; when the engine
translates a block anew, what was remembered of its address is forgotten, so code that the firmware rewrites is counted
afresh.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from openamp.platforms.emulated.engine import (
    BLOCK,
    HOOK_BLOCK,
    HOOK_NEW_BLOCK,
    NEW_BLOCK,
    Engine,
    TranslationBlock,
    address_of,
)

__all__ = ["NEEDS_LOOK", "NEVER", "BlockCounter", "Condition", "implementation"]

NEVER = (1 << 63) - 1
"""A limit that is never reached."""

NEEDS_LOOK = 2
"""`stopped`: a RISC-V block is new and may hold an instruction that the engine would execute wrongly."""

SLACK = 2.0
"""Seconds by which a source may be newer: an installer writes files in any order."""

MAX_CONDITIONS = 3
NUM_LENGTHS = 4096
MASK32 = 0xFFFFFFFF


class Condition(ctypes.Structure):
    """A register's test: it holds while ((value & mask) - bias) mod 2**32 >= minimum."""

    _fields_ = (
        ("register", ctypes.c_int32),
        ("mask", ctypes.c_uint32),
        ("bias", ctypes.c_uint32),
        ("minimum", ctypes.c_uint32),
    )


class CodeRange(ctypes.Structure):
    """Where in this process the bytes of the addresses `start .. end` are."""

    _fields_ = (("start", ctypes.c_uint64), ("end", ctypes.c_uint64), ("bytes", ctypes.c_void_p))


class BlockLength(ctypes.Structure):
    """What the compiled hook remembers of a block."""

    _fields_ = (("block", ctypes.c_uint64), ("size", ctypes.c_uint32), ("length", ctypes.c_uint32))


class CounterState(ctypes.Structure):
    """What the hook and its owner share; `_counter.pyx` declares the same structure."""

    _fields_ = (
        ("count", ctypes.c_int64),  # instructions executed, the whole of the last block included
        ("limit", ctypes.c_int64),  # stop before the first block that begins with count >= limit
        ("block", ctypes.c_uint64),  # address of the last block begun
        ("stopped_at", ctypes.c_uint64),  # the block before which the hook stopped the engine
        ("size", ctypes.c_uint32),  # the last block's length in bytes
        ("stopped", ctypes.c_uint32),  # the hook stopped the engine: 1, or `NEEDS_LOOK`
        ("riscv", ctypes.c_uint32),  # instruction lengths: 0 Thumb, 32 or 64 RISC-V
        ("num_conditions", ctypes.c_uint32),  # all of which must hold to stop; 0: do not look
        ("num_ranges", ctypes.c_uint64),
        ("ranges", ctypes.POINTER(CodeRange)),
        ("lengths", ctypes.POINTER(BlockLength)),
        ("stop", ctypes.c_void_p),  # uc_emu_stop
        ("read", ctypes.c_void_p),  # uc_reg_read
        ("conditions", Condition * MAX_CONDITIONS),
    )


def _load() -> Any:
    """Returns the compiled hook's module, or None where it is missing, unwanted or out of date."""
    if os.environ.get("OPENAMP_PLAIN", "0") not in {"", "0"}:
        return None
    try:
        from openamp.platforms.emulated import _counter
    except ImportError:
        return None
    source = Path(__file__).with_name("_counter.pyx")  # there in a source tree only
    newer = source.exists() and source.stat().st_mtime > Path(_counter.__file__).stat().st_mtime + SLACK
    if newer or ctypes.sizeof(CounterState) != _counter.STATE_SIZE:
        warnings.warn(
            f"{_counter.__file__} is out of date; instructions are counted in Python, slower; "
            "build it again with `pip install -e .`, or set OPENAMP_PLAIN=1 to count in Python on purpose",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return _counter


_compiled = _load()

implementation: Literal["compiled", "plain"] = "plain" if _compiled is None else "compiled"
"""Which form of the hook runs."""


def count_instructions(code: bytes, riscv: bool) -> int:
    """Returns the number of Thumb or RISC-V instructions in `code`."""
    number = offset = 0
    while offset + 1 < len(code):
        wide = code[offset] & 3 == 3 if riscv else code[offset + 1] >= 0xE8
        offset += 4 if wide else 2
        number += 1
    return number


class BlockCounter:
    """Counts one engine's instructions and stops it between two blocks.

    Attributes:
        state: the structure shared with the hook; the owner reads and writes it directly.
    """

    def __init__(
        self, engine: Engine, *, riscv: int, code: Sequence[tuple[int, int, int]], plain: bool = False
    ) -> None:
        """Installs the hooks.

        Args:
            engine: the engine.
            riscv: 32 or 64: instruction lengths of RISC-V instead of Thumb.
            code: (start, end, address of the bytes in this process) of all memory that may hold code.
            plain: do not use the compiled hook.
        """
        self._engine = engine
        self._riscv = riscv
        ranges = (CodeRange * max(len(code), 1))(*(CodeRange(*item) for item in code))
        self._keep = ranges
        self._ranges = code
        self._table = (BlockLength * NUM_LENGTHS)()
        self._lengths: dict[int, tuple[int, int]] = {}
        self._conditions: Sequence[tuple[int, int, int, int]] = ()
        self.state: Any = CounterState(limit=NEVER, riscv=riscv, num_ranges=len(code), ranges=ranges)
        self.state.lengths = self._table
        self.state.stop = address_of("uc_emu_stop")
        self.state.read = address_of("uc_reg_read")
        if _compiled is None or plain:
            engine.hook(HOOK_BLOCK, BLOCK(self._block))
            engine.hook(HOOK_NEW_BLOCK, NEW_BLOCK(self._new_block))
        else:
            engine.hook(HOOK_BLOCK, _compiled.BLOCK, ctypes.addressof(self.state))
            engine.hook(HOOK_NEW_BLOCK, _compiled.NEW_BLOCK, ctypes.addressof(self.state))

    def forget(self) -> None:
        """Forgets all lengths: the code has changed."""
        self._lengths.clear()
        ctypes.memset(self._table, 0, ctypes.sizeof(self._table))

    def watch(self, conditions: Sequence[tuple[int, int, int, int]]) -> None:
        """Stops before the first block that begins while all (register, mask, bias, minimum) hold; (): never."""
        if conditions and conditions != self._conditions:
            for index, condition in enumerate(conditions):
                self.state.conditions[index] = Condition(*condition)
            self._conditions = conditions
        self.state.num_conditions = len(conditions)

    def retract(self, pc: int) -> None:
        """Takes back the last block's instructions from `pc` on: it ended there."""
        state = self.state
        end = state.block + state.size
        if state.block <= pc < end:
            state.count -= count_instructions(self._code(pc, end - pc), bool(self._riscv))
            state.size = pc - state.block

    def _code(self, address: int, size: int) -> bytes:
        for start, end, pointer in self._ranges:
            if start <= address < end:
                return ctypes.string_at(pointer + address - start, min(size, end - address))
        return b""

    def _block(self, _handle: int, address: int, size: int, _data: object) -> None:
        state = self.state
        if state.count >= state.limit or (state.num_conditions and self._hold()):
            state.stopped = 1
            state.stopped_at = address
            self._engine.stop()
            return
        known = self._lengths.get(address)
        if known is None or known[0] != size:
            known = (size, count_instructions(self._code(address, size), bool(self._riscv)))
            self._lengths[address] = known
            if self._riscv:
                state.block = state.stopped_at = address
                state.size = size
                state.stopped = NEEDS_LOOK
                self._engine.stop()
                return
        state.block = address
        state.size = size
        state.count += known[1]

    def _hold(self) -> bool:
        read = self._engine.read
        return all(
            ((read(register) & mask) - bias) & MASK32 >= minimum for register, mask, bias, minimum in self._conditions
        )

    def _new_block(self, _handle: int, new: int, _previous: int, _data: object) -> None:
        self._lengths.pop(TranslationBlock.from_address(new).pc, None)
