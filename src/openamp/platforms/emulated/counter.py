"""Exact instruction counts, and stops between two blocks: the hook that the engine calls before every block.

The engine executes straight runs of instructions ("blocks") and knows nothing of counts, budgets or pending
interrupts. A block hook does: it adds the block's number of instructions to a counter and, at a limit or when a
watched register comes to allow a pending interrupt, stops the engine *before* the block begins, so the program
counter is exact and no instruction runs twice. The hook is compiled when possible (`_counter`); the function here
does the same, slower, with the same results.

A block's instructions are counted once, from the code's bytes, and remembered by address and length; the engine's
"new block" hook forgets what it is about to replace, so code that the firmware rewrites is counted afresh.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

from unicorn import unicorn_const as uc
from unicorn.unicorn_py3 import unicorn as binding

__all__ = ["NEVER", "BlockCounter", "Condition", "CounterState"]

NEVER = (1 << 63) - 1
"""A limit that is never reached."""

MAX_CONDITIONS = 3
MASK32 = 0xFFFFFFFF


class Condition(ctypes.Structure):
    """One register's test: it holds when ((value & mask) - bias) mod 2**32 >= minimum."""

    _fields_ = (
        ("register", ctypes.c_int32),
        ("mask", ctypes.c_uint32),
        ("bias", ctypes.c_uint32),
        ("minimum", ctypes.c_uint32),
    )


class CodeRange(ctypes.Structure):
    """Where the bytes of the addresses `start .. end` are."""

    _fields_ = (("start", ctypes.c_uint64), ("end", ctypes.c_uint64), ("bytes", ctypes.c_void_p))


class CounterState(ctypes.Structure):
    """What the hook and its owner share; `_counter` declares the same structure in C."""

    _fields_ = (
        ("count", ctypes.c_int64),  # instructions executed, the whole of the last block included
        ("limit", ctypes.c_int64),  # stop before the first block that begins with count >= limit
        ("block", ctypes.c_uint64),  # address of the last block begun
        ("size", ctypes.c_uint32),  # its length in bytes
        ("length", ctypes.c_uint32),  # its length in instructions
        ("stopped_at", ctypes.c_uint64),  # the block before which the hook stopped
        ("stopped", ctypes.c_uint32),  # the hook stopped the engine
        ("riscv", ctypes.c_uint32),  # 0: Thumb, 1: RISC-V instruction lengths
        ("conditions", ctypes.c_uint32),  # how many of `condition` must hold to stop; 0: do not look
        ("ranges", ctypes.c_uint32),
        ("range", ctypes.POINTER(CodeRange)),
        ("condition", Condition * MAX_CONDITIONS),
        ("stop", ctypes.c_void_p),  # uc_emu_stop
        ("read", ctypes.c_void_p),  # uc_reg_read
    )


def count_instructions(code: bytes, riscv: bool) -> int:
    """Returns the number of instructions in `code`, whole instructions of Thumb or RISC-V."""
    number = offset = 0
    while offset + 1 < len(code):
        low, high = code[offset], code[offset + 1]
        wide = low & 3 == 3 if riscv else high >= 0xE8
        offset += 4 if wide else 2
        number += 1
    return number


class BlockCounter:
    """Counts one engine's instructions and stops it between two blocks.

    Attributes:
        state: the shared structure; the owner reads and writes it directly.
    """

    def __init__(self, handle: ctypes.c_void_p, *, riscv: bool, code: Sequence[tuple[int, int, int]]) -> None:
        """Installs the hooks.

        Args:
            handle: the engine.
            riscv: instruction lengths of RISC-V instead of Thumb.
            code: (start, end, address of the bytes in this process) of all memory that may hold code.
        """
        self._handle = handle
        self._ranges = (CodeRange * max(len(code), 1))(*code)
        self.state = CounterState(limit=NEVER, riscv=riscv, ranges=len(code), range=self._ranges)
        self.state.stop = ctypes.cast(binding.uclib.uc_emu_stop, ctypes.c_void_p).value
        self.state.read = ctypes.cast(binding.uclib.uc_reg_read, ctypes.c_void_p).value
        self._riscv = riscv
        self._lengths: dict[tuple[int, int], int] = {}
        self._value = ctypes.c_uint64()
        self._install(uc.UC_HOOK_BLOCK, binding.HOOK_CODE_CFUNC(self._block))
        self._install(uc.UC_HOOK_EDGE_GENERATED, binding.HOOK_EDGE_GEN_CFUNC(self._new_block))

    def _install(self, kind: int, callback: object) -> None:
        self._callbacks = (*getattr(self, "_callbacks", ()), callback)
        hook = ctypes.c_size_t()
        pointer = ctypes.cast(callback, ctypes.c_void_p)  # type: ignore[arg-type]
        everywhere = (ctypes.c_uint64(1), ctypes.c_uint64(0))
        status = binding.uclib.uc_hook_add(self._handle, ctypes.byref(hook), kind, pointer, None, *everywhere)
        if status:
            raise binding.UcError(status)

    def forget(self) -> None:
        """Forgets all lengths: the code has changed."""
        self._lengths.clear()

    def watch(self, conditions: Sequence[tuple[int, int, int, int]]) -> None:
        """Stops before the first block that begins while all (register, mask, bias, minimum) hold; none: never."""
        for index, condition in enumerate(conditions):
            self.state.condition[index] = condition
        self.state.conditions = len(conditions)

    def retract(self, pc: int) -> None:
        """Takes back the last block's instructions from `pc` on: it ended there."""
        state = self.state
        end = state.block + state.size
        if state.block <= pc < end:
            state.count -= count_instructions(self._code(pc, end - pc), self._riscv)

    def _code(self, address: int, size: int) -> bytes:
        for entry in self._ranges:
            if entry.start <= address < entry.end:
                size = min(size, entry.end - address)
                return ctypes.string_at(entry.bytes + address - entry.start, size)
        return b""

    def _block(self, handle: int, address: int, size: int, _data: object) -> None:
        state = self.state
        if state.count >= state.limit or (state.conditions and self._holds()):
            state.stopped = 1
            state.stopped_at = address
            binding.uclib.uc_emu_stop(handle)
            return
        length = self._lengths.get((address, size))
        if length is None:
            length = self._lengths[address, size] = count_instructions(self._code(address, size), self._riscv)
        state.block = address
        state.size = size
        state.length = length
        state.count += length

    def _holds(self) -> bool:
        state = self.state
        for index in range(state.conditions):
            condition = state.condition[index]
            binding.uclib.uc_reg_read(self._handle, condition.register, ctypes.byref(self._value))
            if ((self._value.value & condition.mask) - condition.bias) & MASK32 < condition.minimum:
                return False
        return True

    def _new_block(self, _handle: int, new: Callable[..., None], _previous: object, _data: object) -> None:
        block = new.contents  # type: ignore[attr-defined]
        self._lengths.pop((block.pc, block.size), None)
