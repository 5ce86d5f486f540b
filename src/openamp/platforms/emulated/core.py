"""The abstract core: one unicorn engine, its memory and devices, exact counting, slices, sleep and virtual time.

**A user** (the platform) builds a `CoreConfig`, then calls `reset(entry)` and `run(budget)` again and again; between
two runs it may read registers, drive interrupt lines and write to memory.

**A device** is an `Mmio`: `read` and `write` are called from within `run`, with the offset of an access of 1, 2, 4 or
8 bytes. Within such a call a device may use `core.cycles`, `core.set_irq()` and `core.request_stop()`: their effects
come before the next block of instructions (a block ends at a branch, ISB, CPS, MSR or CSR write at the latest), so
no access ever executes twice. Time inside a block stands still.

**A subclass** (one architecture) implements the abstract methods. `run` does, until there is a reason to return:

1. `_service()`: take the pending exception that preempts (write registers and stack, set `self._pc`), wake a
   sleeping core, tell the counter what to watch for (`self._counter.watch`) where a pending exception is only
   masked, and return the instruction count at which the next own timer is due;
2. enter the engine at `self._pc`; it runs until the limit, a watch condition, or an event. Then exactly one of
   `_trapped(number)` (an exception of the engine's own numbering), `_halted()` (a wait-for-interrupt instruction,
   `self._pc` is behind it), `_invalid()` (an instruction that the engine refuses, `self._pc` is on it) or
   `_unmapped(pc, access)` (`self._pc` on the instruction) is called with the engine at rest; or none of them when
   it only stopped between two blocks. They may use `self._counter.retract(pc)` when a block ended early.

`self._pc` is the truth between two engine entries; write it, not the engine's program counter. Whatever changes what
`_service` would decide, during an engine run, must call `self._reconsider()`.
"""

from __future__ import annotations

import ctypes
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import unicorn
from unicorn import unicorn_const as uc
from unicorn.unicorn_py3 import unicorn as binding

from openamp.errors import BoardError, PlatformError
from openamp.memory import MemoryMap
from openamp.platforms.emulated.counter import NEVER, BlockCounter

__all__ = ["NEVER", "Access", "Core", "CoreConfig", "Fault", "Mmio", "RegisterBatch", "Stop"]

PAGE = 0x1000
TRANSLATION_BUFFER = 4 << 20
ANYWHERE = (ctypes.c_uint64(1), ctypes.c_uint64(0))


class Stop(enum.Enum):
    """Why `Core.run` returned."""

    BUDGET = "the instructions are used up"
    SLEEP = "the core waits for an interrupt and none is pending"
    EVENT = "a device asked to stop"
    FAULT = "the core cannot go on; see Core.fault"


class Access(enum.Enum):
    """The kind of a memory access that found nothing."""

    READ = "read"
    WRITE = "write"
    FETCH = "fetch"


class Mmio(Protocol):
    """Memory-mapped registers.

    Where ranges overlap, the device that comes first in `CoreConfig.mmio` answers; a range that no device covers
    but that shares a 4 KiB page with one reads as zero and ignores writes.
    """

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> int: ...

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> int: ...

    def write(self, offset: int, size: int, value: int) -> None: ...


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """What a core is made of.

    Attributes:
        model: such as "cortex-m4".
        regions: its memory; starts and lengths are multiples of 4 KiB. Two regions over the same bytes are aliases.
        clock_hz: its clock; virtual time counts in it.
        num_irqs: number of external interrupts.
        priority_bits: implemented priority bits (Cortex-M).
        vector_base: address of the vector table at reset (Cortex-M).
        mmio: devices.
        core_id: the hart id (RISC-V).
    """

    model: str
    regions: MemoryMap
    clock_hz: int = 64_000_000
    num_irqs: int = 32
    priority_bits: int = 4
    vector_base: int = 0
    mmio: Sequence[Mmio] = ()
    core_id: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a core cannot go on.

    Attributes:
        reason: one line.
        pc: the instruction that caused it.
        address: the data address whose access failed, or None.
        registers: at the fault.
        details: further lines for people.
    """

    reason: str
    pc: int
    address: int | None = None
    registers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    details: tuple[str, ...] = ()


class RegisterBatch:
    """A fixed set of registers that moves in one call.

    Args:
        handle: the engine.
        registers: unicorn's register numbers, in the order of the values.
        width: bytes of one register, 4 or 8.
    """

    def __init__(self, handle: ctypes.c_void_p, registers: Sequence[int], width: int = 4) -> None:
        number = len(registers)
        self._handle = handle
        self._number = number
        self._ids = (ctypes.c_int32 * number)(*registers)
        self._values = ((ctypes.c_uint64 if width == 8 else ctypes.c_uint32) * number)()
        base = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * number)(*(base + width * i for i in range(number)))
        # Untyped prototypes of our own: converting typed pointers costs a third of the call.
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
        self._read = prototype(("uc_reg_read_batch", binding.uclib))
        self._write = prototype(("uc_reg_write_batch", binding.uclib))
        self._arguments = (handle, ctypes.addressof(self._ids), ctypes.addressof(self._pointers), number)

    def read(self) -> list[int]:
        """Returns the registers' values."""
        self._read(*self._arguments)
        return self._values[:]

    def write(self, values: Sequence[int]) -> None:
        """Sets all the registers."""
        self._values[:] = values
        self._write(*self._arguments)


class Core(ABC):
    """One emulated core. It executes only inside `run`, in the caller's thread.

    Attributes:
        config: what it was built from.
        fault: why it cannot go on, or None.
        on_semihosting: called with the core at a semihosting call; the arguments are in the registers, the result
            is written with `set_register`. None: the call is a breakpoint.
        on_reset: called when the firmware asked for a reset, after it was done (`run` then returns EVENT).
        asleep: the core waits for an interrupt.
    """

    def __init__(self, config: CoreConfig, *, arch: int, mode: int, cpu: int, pc: int, width: int = 4) -> None:
        """Creates the engine.

        Args:
            config: memory and devices.
            arch, mode, cpu: unicorn's constants.
            pc: unicorn's number of the program counter.
            width: bytes of a register.
        """
        self.config = config
        self.fault: Fault | None = None
        self.on_semihosting: Callable[[Core], None] | None = None
        self.on_reset: Callable[[], None] | None = None
        self.asleep = False
        self._pc = 0
        self._idle = 0
        self._stop_requested = False
        self._trap = -1
        self._missed: tuple[int, Access] | None = None
        self._exception: BaseException | None = None
        self._callbacks: list[object] = []
        self._engine = self._open(arch, mode, cpu)
        self._handle = self._engine._uch
        self._emu_start = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t
        )(("uc_emu_start", binding.uclib))
        self._entry_bit = 1 if arch == uc.UC_ARCH_ARM else 0
        self._pages: dict[int, int] = {}
        self._executable: set[int] = set()
        code = self._map_memory()
        self._map_devices(config.mmio)
        self._hook(uc.UC_HOOK_TLB_FILL, binding.HOOK_TLB_FILL_CFUNC(self._fill))
        self._hook(uc.UC_HOOK_INTR, binding.HOOK_INTR_CFUNC(self._interrupt))
        self._counter = BlockCounter(self._handle, riscv=arch == uc.UC_ARCH_RISCV, code=code)
        self._state = self._counter.state
        self._pc_batch = RegisterBatch(self._handle, (pc,), width)

    # -- building ----------------------------------------------------------------------------------------------

    @staticmethod
    def _open(arch: int, mode: int, cpu: int) -> unicorn.Uc:
        engine = unicorn.Uc(arch, mode)
        engine.ctl_set_cpu_model(cpu)
        engine.ctl_set_tcg_buffer_size(TRANSLATION_BUFFER)
        engine.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
        engine.ctl_exits_enabled(True)
        engine.ctl_set_exits([])
        return engine

    def _check(self, status: int, doing: str) -> None:
        if status:
            raise PlatformError(f"unicorn cannot {doing}: {binding.UcError(status)}; see the board's memory map")

    def _hook(self, kind: int, callback: object) -> None:
        self._callbacks.append(callback)
        pointer = ctypes.cast(callback, ctypes.c_void_p)  # type: ignore[arg-type]
        hook = ctypes.c_size_t()
        self._check(
            binding.uclib.uc_hook_add(self._handle, ctypes.byref(hook), kind, pointer, None, *ANYWHERE), "add a hook"
        )

    def _map_memory(self) -> list[tuple[int, int, int]]:
        """Gives the regions' own bytes to the engine; an alias becomes a second way to the same pages."""
        code: list[tuple[int, int, int]] = []
        first: dict[int, int] = {}  # address in this process -> device address
        for region in self.config.regions:
            if region.da % PAGE or region.size % PAGE:
                raise BoardError(
                    f"memory region {region!r} does not begin and end on a 4 KiB boundary, as the engine needs; "
                    f"round its address and size"
                )
            item = (ctypes.c_char * region.size).from_buffer(region.data)
            self._callbacks.append(item)
            pointer = ctypes.addressof(item)
            home = first.setdefault(pointer, region.da)
            if home == region.da:
                self._check(
                    binding.uclib.uc_mem_map_ptr(self._handle, region.da, region.size, uc.UC_PROT_ALL, pointer),
                    f"map {region!r}",
                )
            code.append((region.da, region.end, pointer))
            for offset in range(0, region.size, PAGE):
                self._pages[region.da + offset] = first.setdefault(pointer + offset, region.da + offset)
        return code

    def _map_devices(self, devices: Iterable[Mmio]) -> None:
        """Maps every page that holds a device; neighbouring pages together."""
        by_page: dict[int, list[Mmio]] = {}
        for device in devices:
            for page in range(device.base & -PAGE, device.base + device.size, PAGE):
                if page in self._pages and page not in by_page:
                    raise BoardError(f"device {device.name} at {device.base:#x} lies in memory; move one of the two")
                by_page.setdefault(page, []).append(device)
        for page, here in sorted(by_page.items()):
            self._pages[page] = page
            read, write = self._device_page(page, here)
            self._callbacks += (read, write)
            pointers = [ctypes.cast(f, ctypes.c_void_p) for f in (read, write)]
            self._check(
                binding.uclib.uc_mmio_map(self._handle, page, PAGE, pointers[0], None, pointers[1], None),
                f"map {here[0].name}",
            )

    def _device_page(self, page: int, devices: Sequence[Mmio]) -> tuple[Callable[..., int], Callable[..., None]]:
        lookup: dict[int, tuple[Mmio, int]] = {}

        def find(offset: int) -> tuple[Mmio, int] | None:
            address = page + offset
            for device in devices:
                if device.base <= address < device.base + device.size:
                    lookup[offset] = (device, address - device.base)
                    return lookup[offset]
            return None

        def read(_handle: int, offset: int, size: int, _data: object) -> int:
            try:
                found = lookup.get(offset) or find(offset)
                return found[0].read(found[1], size) if found else 0
            except BaseException as error:
                self._failed(error)
                return 0

        def write(_handle: int, offset: int, size: int, value: int, _data: object) -> None:
            try:
                found = lookup.get(offset) or find(offset)
                if found:
                    found[0].write(found[1], size, value)
            except BaseException as error:
                self._failed(error)

        return binding.MMIO_READ_CFUNC(read), binding.MMIO_WRITE_CFUNC(write)

    # -- called by the engine ----------------------------------------------------------------------------------

    def _fill(self, _handle: int, address: int, kind: int, result: object, _data: object) -> bool:
        """Translates a page. Only pages that hold code get the execute right: stores to the others are far faster."""
        page = self._pages.get(address & -PAGE)
        if page is None:
            access = {uc.UC_MEM_WRITE: Access.WRITE, uc.UC_MEM_FETCH: Access.FETCH}.get(kind, Access.READ)
            self._missed = (address, access)
            return False
        entry = result.contents  # type: ignore[attr-defined]
        entry.paddr = page
        if kind == uc.UC_MEM_FETCH and page not in self._executable:
            self._executable.add(page)
            self._flush_tlb()
        entry.perms = uc.UC_PROT_ALL if page in self._executable else uc.UC_PROT_READ | uc.UC_PROT_WRITE
        return True

    def _flush_tlb(self) -> None:
        self._engine.ctl(uc.UC_CTL_TLB_FLUSH, uc.UC_CTL_IO_WRITE)

    def _interrupt(self, handle: int, number: int, _data: object) -> None:
        self._trap = number
        binding.uclib.uc_emu_stop(handle)

    def _failed(self, error: BaseException) -> None:
        """Keeps an exception of a device until the engine has returned."""
        self._exception = self._exception or error
        self._state.limit = 0

    # -- what the platform uses --------------------------------------------------------------------------------

    @property
    def instructions(self) -> int:
        """Instructions executed since reset, exact and deterministic."""
        return self._state.count

    @property
    def cycles(self) -> int:
        """Virtual time since reset, in core cycles: instructions and skipped idle cycles."""
        return self._state.count + self._idle

    @property
    def pc(self) -> int:
        """The next instruction's address."""
        return self._pc

    def skip(self, cycles: int) -> None:
        """Advances virtual time while the core sleeps."""
        self._idle += cycles

    def request_stop(self) -> None:
        """Makes `run` return EVENT before the next block; the next `run` if none is under way. From any thread."""
        self._stop_requested = True
        self._state.limit = 0

    def flush_code(self) -> None:
        """Makes the core see code that the host wrote."""
        self._engine.ctl_flush_tb()
        self._flush_tlb()
        self._executable.clear()
        self._counter.forget()

    def run(self, budget: int) -> Stop:
        """Executes about `budget` instructions (to the end of a block), or until there is another reason to stop."""
        state = self._state
        end = state.count + budget
        while self.fault is None:
            due = self._service()
            if self.fault is not None:
                break
            state.limit = min(end, due)
            if self._stop_requested:
                self._stop_requested = False
                return Stop.EVENT
            if self.asleep:
                return Stop.SLEEP
            if state.count >= end:
                return Stop.BUDGET
            self._enter()
        return Stop.FAULT

    def _enter(self) -> None:
        """Runs the engine once and passes on why it came back."""
        state = self._state
        state.stopped = 0
        self._trap = -1
        self._missed = None
        status = self._emu_start(self._handle, self._pc | self._entry_bit, 0, 0, 0)
        if self._exception is not None:
            error, self._exception = self._exception, None
            self._pc = state.stopped_at if state.stopped else self._pc_batch.read()[0]
            raise error
        if state.stopped:
            self._pc = state.stopped_at
            return
        self._pc = self._pc_batch.read()[0]
        if self._trap >= 0:
            self._trapped(self._trap)
        elif self._missed is not None and status:
            self._unmapped(*self._missed)
        elif status:
            self._invalid()
        else:
            self._halted()

    def _reconsider(self) -> None:
        """Makes the engine stop before the next block, for another `_service`."""
        self._state.limit = 0

    # -- what an architecture provides -------------------------------------------------------------------------

    @abstractmethod
    def reset(self, entry: int | None) -> None:
        """Puts the core into its state after reset; also after new code was loaded."""

    def _reset(self) -> None:
        """The common part of `reset`."""
        self.flush_code()
        self.fault = None
        self.asleep = False
        self._stop_requested = False
        self._idle = 0
        self._state.count = 0
        self._state.limit = NEVER
        self._counter.watch(())

    @abstractmethod
    def set_irq(self, number: int, level: bool) -> None:
        """Drives an external interrupt line; a pending enabled interrupt wakes a sleeping core."""

    @abstractmethod
    def idle_cycles(self) -> int | None:
        """While asleep: cycles until the core's own timer interrupts, None: never."""

    @abstractmethod
    def registers(self) -> dict[str, int]:
        """Returns all registers by name, in the usual order."""

    @abstractmethod
    def set_register(self, name: str, value: int) -> None:
        """Sets one register by its name in `registers()`."""

    @abstractmethod
    def _service(self) -> int:
        """Takes what is pending; returns the instruction count of the next timer event, or NEVER."""

    @abstractmethod
    def _trapped(self, number: int) -> None:
        """The engine raised an exception."""

    @abstractmethod
    def _halted(self) -> None:
        """A wait-for-interrupt instruction was executed."""

    @abstractmethod
    def _invalid(self) -> None:
        """The engine refused the instruction at `self._pc`."""

    @abstractmethod
    def _unmapped(self, address: int, access: Access) -> None:
        """The instruction at `self._pc` accessed `address`, where there is nothing."""
