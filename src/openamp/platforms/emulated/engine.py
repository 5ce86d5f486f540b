"""The unicorn engine through its C interface: typed, thin, and only what an emulated core needs.

unicorn's own Python classes convert every value through several layers; here a call costs what ctypes costs. Nothing
in this module knows of an architecture.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from openamp.errors import MissingDependencyError, PlatformError

try:
    from unicorn import unicorn_const as const
    from unicorn.unicorn_py3.unicorn import uclib as _library
except ImportError as error:
    raise MissingDependencyError(
        "the emulated platform needs the unicorn engine, which is not installed; pip install 'openamp[emulated]'"
    ) from error

__all__ = ["FILL", "FILL_FETCH", "FILL_WRITE", "HOOK_INTERRUPT", "HOOK_TLB_FILL", "Engine", "RegisterBatch"]

HOOK_INTERRUPT: int = const.UC_HOOK_INTR
HOOK_BLOCK: int = const.UC_HOOK_BLOCK
HOOK_NEW_BLOCK: int = const.UC_HOOK_EDGE_GENERATED
HOOK_ACCESS: int = const.UC_HOOK_MEM_READ | const.UC_HOOK_MEM_WRITE
HOOK_TLB_FILL: int = const.UC_HOOK_TLB_FILL
FILL_WRITE: int = const.UC_MEM_WRITE
FILL_FETCH: int = const.UC_MEM_FETCH
UC_ARCH_RISCV: int = const.UC_ARCH_RISCV
READ_WRITE: int = const.UC_PROT_READ | const.UC_PROT_WRITE
READ_WRITE_EXECUTE: int = const.UC_PROT_ALL

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_U32 = ctypes.c_uint32
_U64 = ctypes.c_uint64

INTERRUPT = ctypes.CFUNCTYPE(None, _POINTER, _U32, _POINTER)
BLOCK = ctypes.CFUNCTYPE(None, _POINTER, _U64, _U32, _POINTER)
NEW_BLOCK = ctypes.CFUNCTYPE(None, _POINTER, _POINTER, _POINTER, _POINTER)
ACCESS = ctypes.CFUNCTYPE(None, _POINTER, _INT, _U64, _INT, ctypes.c_int64, _POINTER)
DEVICE_READ = ctypes.CFUNCTYPE(_U64, _POINTER, _U64, ctypes.c_uint, _POINTER)
DEVICE_WRITE = ctypes.CFUNCTYPE(None, _POINTER, _U64, ctypes.c_uint, _U64, _POINTER)
"""The C types of the engine's callbacks; FILL is below."""


class Translation(ctypes.Structure):
    """uc_tlb_entry: what a fill hook answers."""

    _fields_ = (("address", ctypes.c_uint64), ("rights", ctypes.c_uint32))


class TranslationBlock(ctypes.Structure):
    """uc_tb: a block of translated code."""

    _fields_ = (("pc", ctypes.c_uint64), ("instructions", ctypes.c_uint16), ("size", ctypes.c_uint16))


FILL = ctypes.CFUNCTYPE(ctypes.c_bool, _POINTER, _U64, _INT, ctypes.POINTER(Translation), _POINTER)


def _function(name: str, *arguments: Any) -> Callable[..., int]:
    return ctypes.CFUNCTYPE(_INT, *arguments)((name, _library))


_library_without_release = ctypes.PyDLL(_library._name)


def quick_function(name: str) -> Callable[..., int]:
    """Returns a function of the engine's library for short calls; a third of the price of a typed one.

    Arguments are not converted (pass `ctypes` objects for addresses), and other threads do not run meanwhile.
    """
    return getattr(_library_without_release, name)  # type: ignore[no-any-return]


def address_of(name: str) -> int:
    """Returns the address of a function of the engine's library."""
    return ctypes.cast(getattr(_library, name), _POINTER).value or 0


_open = _function("uc_open", _INT, _INT, _POINTER)
_close = _function("uc_close", _POINTER)
_start = _function("uc_emu_start", _POINTER, _U64, _U64, _U64, ctypes.c_size_t)
_stop = _function("uc_emu_stop", _POINTER)
_map_pointer = _function("uc_mem_map_ptr", _POINTER, _U64, ctypes.c_size_t, _U32, _POINTER)
_map_device = _function("uc_mmio_map", _POINTER, _U64, ctypes.c_size_t, *[_POINTER] * 4)
_hook_add = _function("uc_hook_add", _POINTER, _POINTER, _INT, _POINTER, _POINTER, _U64, _U64)
_hook_del = _function("uc_hook_del", _POINTER, ctypes.c_size_t)
_reg_read = _function("uc_reg_read", _POINTER, _INT, _POINTER)
_reg_write = _function("uc_reg_write", _POINTER, _INT, _POINTER)
_batch_read = _function("uc_reg_read_batch", _POINTER, _POINTER, _POINTER, _INT)
_batch_write = _function("uc_reg_write_batch", _POINTER, _POINTER, _POINTER, _INT)
_context_alloc = _function("uc_context_alloc", _POINTER, _POINTER)
_context_save = _function("uc_context_save", _POINTER, _POINTER)
_context_restore = _function("uc_context_restore", _POINTER, _POINTER)
_context_free = _function("uc_context_free", _POINTER)


class Engine:
    """One engine, with virtual translation, no exit address and a small translation buffer.

    Attributes:
        handle: for functions of the C library.
        page_size: the granularity of translations.
    """

    TRANSLATION_BUFFER = 4 << 20

    def __init__(self, architecture: int, mode: int, cpu: int) -> None:
        """Creates the engine; the arguments are unicorn's constants."""
        handle = ctypes.c_void_p()
        self.handle = 0
        self._contexts: list[int] = []
        self._keep: list[object] = []
        self._check(_open(architecture, mode, ctypes.addressof(handle)), "create an engine")
        self.handle = handle.value or 0
        self._control(const.UC_CTL_CPU_MODEL, const.UC_CTL_IO_WRITE, _INT(cpu))
        self._control(const.UC_CTL_TCG_BUFFER_SIZE, const.UC_CTL_IO_WRITE, _U32(self.TRANSLATION_BUFFER))
        self._control(const.UC_CTL_TLB_TYPE, const.UC_CTL_IO_WRITE, ctypes.c_uint(const.UC_TLB_VIRTUAL))
        # With the list of exits in use and empty, no address ends a run and none is looked up after it.
        self._control(const.UC_CTL_UC_USE_EXITS, const.UC_CTL_IO_WRITE, _INT(1))
        size = _U32()
        self._control(const.UC_CTL_UC_PAGE_SIZE, const.UC_CTL_IO_READ, ctypes.byref(size))
        self.page_size = size.value

    def close(self) -> None:
        """Gives the engine's memory back now, not when the garbage collector finds it; it cannot be used any more."""
        while self._contexts:
            _context_free(self._contexts.pop())
        if self.handle:
            _close(self.handle)
            self.handle = 0
        self._keep.clear()

    def __del__(self) -> None:
        self.close()

    @staticmethod
    def _check(status: int, doing: str) -> None:
        if status:
            text = _library.uc_strerror(status).decode("ascii")
            raise PlatformError(f"unicorn cannot {doing}: {text}; check the board's memory and devices")

    def _control(self, control: int, direction: int, *arguments: object) -> None:
        code = control | len(arguments) << 26 | direction << 30
        code -= (code & 1 << 31) << 1
        self._check(_library.uc_ctl(self.handle, code, *arguments), f"do control {control}")

    def map_memory(self, address: int, size: int, pointer: int) -> None:
        """Maps bytes of this process; the caller keeps them alive."""
        self._check(_map_pointer(self.handle, address, size, const.UC_PROT_ALL, pointer), f"map memory at {address:#x}")

    def map_device(
        self,
        address: int,
        size: int,
        read: Callable[[Any, int, int, Any], int],
        write: Callable[[Any, int, int, int, Any], None],
    ) -> None:
        """Maps registers.

        Args:
            address: where.
            size: in bytes.
            read: called with (engine, offset, size, None); must not raise.
            write: called with (engine, offset, size, value, None); must not raise.
        """
        thunks = (DEVICE_READ(read), DEVICE_WRITE(write))
        self._keep.append(thunks)
        pointers = [ctypes.cast(thunk, _POINTER).value for thunk in thunks]
        self._check(
            _map_device(self.handle, address, size, pointers[0], None, pointers[1], None),
            f"map a device at {address:#x}",
        )

    def hook(self, kind: int, callback: Any, data: int | None = None, *, first: int = 1, last: int = 0) -> int:
        """Adds a hook: a callback of the C type for that kind, or a C function's address.

        Args:
            kind: unicorn's constant.
            callback: what is called.
            data: passed on to it.
            first, last: the addresses where it applies; everywhere if `first` is the greater one.
        """
        if callback not in self._keep:
            self._keep.append(callback)
        pointer = callback if isinstance(callback, int) else ctypes.cast(callback, _POINTER).value
        hook = ctypes.c_size_t()
        status = _hook_add(self.handle, ctypes.addressof(hook), kind, pointer, data, first, last)
        self._check(status, "add a hook")
        return hook.value

    def unhook(self, hook: int) -> None:
        """Removes a hook."""
        self._check(_hook_del(self.handle, hook), "remove a hook")

    def start(self, address: int) -> int:
        """Executes until something stops it; returns unicorn's error number, 0 for none."""
        return _start(self.handle, address, 0, 0, 0)

    def stop(self) -> None:
        """Stops the run under way; only from within a callback."""
        _stop(self.handle)

    def flush_code(self) -> None:
        """Forgets all translated code and all translations of addresses."""
        self._control(const.UC_CTL_TB_FLUSH, const.UC_CTL_IO_WRITE)
        self.flush_translations()

    def forget_code(self, address: int, size: int) -> None:
        """Forgets the translated code of a range; only at rest."""
        self._control(const.UC_CTL_TB_REMOVE_CACHE, const.UC_CTL_IO_WRITE, _U64(address), _U64(address + size))

    def flush_translations(self) -> None:
        """Forgets all translations of addresses."""
        self._control(const.UC_CTL_TLB_FLUSH, const.UC_CTL_IO_WRITE)

    def snapshot(self) -> int:
        """Returns a copy of all registers, for `restore`; the engine keeps it."""
        context = ctypes.c_void_p()
        self._check(_context_alloc(self.handle, ctypes.addressof(context)), "keep the registers")
        self._contexts.append(context.value or 0)
        self.save(self._contexts[-1])
        return self._contexts[-1]

    def save(self, context: int) -> None:
        """Writes the present registers into a copy."""
        self._check(_context_save(self.handle, context), "keep the registers")

    def restore(self, context: int) -> None:
        """Puts all registers back to what a copy holds."""
        self._check(_context_restore(self.handle, context), "restore the registers")

    def read(self, register: int) -> int:
        """Returns one register by unicorn's number."""
        value = _U64()
        _reg_read(self.handle, register, ctypes.addressof(value))
        return value.value

    def write(self, register: int, value: int) -> None:
        """Sets one register by unicorn's number."""
        number = _U64(value)  # lives until the call is over, which lets other threads run
        _reg_write(self.handle, register, ctypes.addressof(number))


class RegisterBatch:
    """A fixed list of registers that moves in one call; a register may be in it more than once.

    Args:
        handle: the engine's.
        registers: unicorn's numbers, in the order of the values and of the transfer.
        width: bytes of a value, 4 or 8.
    """

    def __init__(self, handle: int, registers: Sequence[int], width: int = 4) -> None:
        number = len(registers)
        self._ids = (ctypes.c_int32 * number)(*registers)
        self._values: Any = ((_U64 if width == 8 else _U32) * number)()
        base = ctypes.addressof(self._values)
        self._pointers = (_POINTER * number)(*(base + width * i for i in range(number)))
        # Addresses instead of typed pointers: converting those costs a third of the call.
        self._arguments = (handle, ctypes.addressof(self._ids), ctypes.addressof(self._pointers), number)

    def read(self) -> list[int]:
        """Returns the registers' values."""
        _batch_read(*self._arguments)
        return self._values[:]  # type: ignore[no-any-return]

    def write(self, values: Sequence[int]) -> None:
        """Sets all the registers, in order."""
        self._values[:] = values
        _batch_write(*self._arguments)
