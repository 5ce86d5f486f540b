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
   `_unmapped(address, access)` (`self._pc` on the instruction) is called with the engine at rest; or none of them when
   it only stopped between two blocks. They may use `self._counter.retract(pc)` when a block ended early.

`self._pc` is the truth between two engine entries; write it, not the engine's program counter. Whatever changes what
`_service` would decide, during an engine run, must call `self._reconsider()`.
"""

from __future__ import annotations

import ctypes
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from openamp.errors import BoardError, ClosedError
from openamp.memory import MemoryMap
from openamp.platforms.emulated.counter import NEVER, BlockCounter
from openamp.platforms.emulated.engine import (
    ACCESS,
    FILL,
    FILL_FETCH,
    FILL_WRITE,
    HOOK_ACCESS,
    HOOK_INTERRUPT,
    HOOK_TLB_FILL,
    INTERRUPT,
    READ_WRITE,
    READ_WRITE_EXECUTE,
    UC_ARCH_RISCV,
    Engine,
    RegisterBatch,
)

__all__ = ["NEVER", "Access", "Core", "CoreConfig", "Fault", "Mmio", "RegisterBatch", "Stop"]

PAGE = 0x1000
ENTRY_PRICE = 20
"""What an entry into the engine takes off the budget, in instructions."""

NO_TRAP = -1
HANDLED = -2
"""`Core._trap`: the engine's exception was dealt with inside the engine, which stopped for another reason."""


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
        clint: base of the core-local interruptor (RISC-V).
        plic: base of the platform-level interrupt controller (RISC-V).
        timer_hz: frequency of mtime, or None for the core's clock (RISC-V).
        plain_counter: count in Python even where the compiled counter is there.
    """

    model: str
    regions: MemoryMap
    clock_hz: int = 64_000_000
    num_irqs: int = 32
    priority_bits: int = 4
    vector_base: int = 0
    mmio: Sequence[Mmio] = ()
    core_id: int = 0
    clint: int = 0x0200_0000
    plic: int = 0x0C00_0000
    timer_hz: int | None = None
    plain_counter: bool = False


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


class Core(ABC):
    """One emulated core. It executes only inside `run`, in the caller's thread.

    Attributes:
        config: what it was built from.
        fault: why it cannot go on, or None.
        on_semihosting: called with the core at a semihosting call; the arguments are in the registers, the result
            is written with `set_register`. None: the call is a breakpoint.
        on_output: called with (stream, bytes) for what the firmware writes to a port of the core itself.
        on_reset: called when the firmware asked for a reset, after it was done (`run` then returns EVENT).
        asleep: the core waits for an interrupt.
    """

    def __init__(
        self,
        config: CoreConfig,
        *,
        arch: int,
        mode: int,
        cpu: int,
        pc: int,
        width: int = 4,
        devices: Sequence[Mmio] = (),
    ) -> None:
        """Creates the engine, maps memory and devices and installs the hooks.

        Args:
            config: what to build.
            arch, mode, cpu: unicorn's constants.
            pc: unicorn's number of the program counter.
            width: bytes of a register.
            devices: the architecture's own, which go before those of the board.
        """
        self.config = config
        self.memory = config.regions
        self.fault: Fault | None = None
        self.on_semihosting: Callable[[Core], None] | None = None
        self.on_output: Callable[[str, bytes], None] | None = None
        self.on_reset: Callable[[], None] | None = None
        self.asleep = False
        self._engine = engine = Engine(arch, mode, cpu)
        self._handle = engine.handle
        riscv = arch == UC_ARCH_RISCV
        self._entry_bit = 0 if riscv else 1
        self._pc = 0
        self._end = 0
        self._idle = 0
        self._stop_requested = False
        self._trap = NO_TRAP
        self._missed: tuple[int, Access] | None = None
        self._probed_page: int | None = None
        self._probed: int | None = None
        self._error: BaseException | None = None
        self._keep: list[object] = []
        self._pages: dict[int, int] = {}
        self._data_pages: set[int] = set()
        self._code_pages: set[int] = set()
        code = self._map_memory()
        self._counter = BlockCounter(engine, riscv=8 * width if riscv else 0, code=code, plain=config.plain_counter)
        self._state = self._counter.state
        self._map_devices((*devices, *config.mmio))
        self._probe = self._map_probe()
        self._on_access = ACCESS(self._accessed)
        engine.hook(HOOK_TLB_FILL, FILL(self._fill))
        engine.hook(HOOK_INTERRUPT, INTERRUPT(self._interrupt))
        self._pc_batch = RegisterBatch(self._handle, (pc,), width)
        self._after_reset = engine.snapshot()
        self._at_fault = engine.snapshot()

    # -- building ----------------------------------------------------------------------------------------------

    def _map_memory(self) -> list[tuple[int, int, int]]:
        """Gives the regions' own bytes to the engine; an alias becomes a second way to the same pages.

        So the engine sees a write through one alias to code that it knows by the other.
        """
        code: list[tuple[int, int, int]] = []
        homes: dict[int, int] = {}  # page in this process -> device address
        for region in self.memory:
            if region.da % PAGE or region.size % PAGE:
                raise BoardError(
                    f"memory region {region!r} does not begin and end on a 4 KiB boundary, as the engine needs; "
                    f"round its address and size"
                )
            bytes_ = (ctypes.c_char * region.size).from_buffer(region.data)
            self._keep.append(bytes_)
            pointer = ctypes.addressof(bytes_)
            code.append((region.da, region.end, pointer))
            offsets = range(0, region.size, PAGE)
            if not any(pointer + offset in homes for offset in offsets):
                self._engine.map_memory(region.da, region.size, pointer)
                homes.update((pointer + offset, region.da + offset) for offset in offsets)
            elif not all(pointer + offset in homes for offset in offsets):
                raise BoardError(f"memory region {region!r} is only partly an alias of another; split it in two")
            self._pages.update((region.da + offset, homes[pointer + offset]) for offset in offsets)
        return code

    def _map_devices(self, devices: Sequence[Mmio]) -> None:
        """Maps every page that holds a device, neighbouring pages with the same devices together."""
        by_page: dict[int, list[Mmio]] = {}
        for device in devices:
            for page in range(device.base & -PAGE, device.base + device.size, PAGE):
                if page in self._pages:
                    raise BoardError(f"device {device.name} at {device.base:#x} lies in memory; move one of the two")
                by_page.setdefault(page, []).append(device)
        runs: list[tuple[int, int, list[Mmio]]] = []
        for page, here in sorted(by_page.items()):
            if runs and runs[-1][1] == page and runs[-1][2] == here:
                runs[-1] = (runs[-1][0], page + PAGE, here)
            else:
                runs.append((page, page + PAGE, here))
        for start, end, here in runs:
            self._engine.map_device(start, end - start, *self._device_access(start, here))
        self._pages.update((page, page) for page in by_page)
        self._device_pages = frozenset(by_page)

    def _device_access(
        self, base: int, devices: Sequence[Mmio]
    ) -> tuple[Callable[[Any, int, int, Any], int], Callable[[Any, int, int, int, Any], None]]:
        """Returns the engine's callbacks for a run of pages that `devices` share."""
        known: dict[int, tuple[Mmio, int] | None] = {}

        def find(offset: int) -> tuple[Mmio, int] | None:
            address = base + offset
            here = (device for device in devices if device.base <= address < device.base + device.size)
            device = next(here, None)
            known[offset] = None if device is None else (device, address - device.base)
            return known[offset]

        def read(_engine: int, offset: int, size: int, _data: object) -> int:
            try:
                found = known[offset] if offset in known else find(offset)
                return 0 if found is None else found[0].read(found[1], size)
            except BaseException as error:
                self._failed(error)
                return 0

        def write(_engine: int, offset: int, size: int, value: int, _data: object) -> None:
            try:
                found = known[offset] if offset in known else find(offset)
                if found is not None:
                    found[0].write(found[1], size, value)
            except BaseException as error:
                self._failed(error)

        return read, write

    def _map_probe(self) -> int:
        """Maps a page that the firmware cannot reach, for `_exact_address`."""
        free = next(page for page in range(0xFFFF_E000, 0, -PAGE) if page not in self._pages)

        def read(_engine: int, _offset: int, _size: int, _data: object) -> int:
            self._engine.stop()
            return 0

        def write(_engine: int, _offset: int, _size: int, _value: int, _data: object) -> None:
            self._engine.stop()

        self._engine.map_device(free, PAGE, read, write)
        return free

    # -- called by the engine ----------------------------------------------------------------------------------

    def _fill(self, _engine: int, address: int, kind: int, result: Any, _data: object) -> bool:
        """Translates one page.

        Stores to pages without the execute right are several times faster, so only pages that hold code get it: a
        fetch makes a page one of them. From then on the engine watches it for rewritten code, by any alias.
        """
        try:
            return self._translate(address, kind, result)
        except BaseException as error:
            self._failed(error)
            return False

    def _translate(self, address: int, kind: int, result: Any) -> bool:
        """Does the work of `_fill`."""
        home = self._pages.get(address & -PAGE)
        if home is None and self._probed_page == address & -self._engine.page_size:
            home = self._probe
        if home is None or (kind == FILL_FETCH and home in self._device_pages):
            access = Access.WRITE if kind == FILL_WRITE else Access.FETCH if kind == FILL_FETCH else Access.READ
            self._missed = (address, access)
            return False
        home |= address & (PAGE - 1) & -self._engine.page_size
        if kind == FILL_FETCH and home not in self._code_pages:
            self._code_pages.add(home)
            if home in self._data_pages:
                self._engine.flush_translations()
        entry = result.contents
        entry.address = home
        if home in self._code_pages:
            entry.rights = READ_WRITE_EXECUTE
        else:
            self._data_pages.add(home)
            entry.rights = READ_WRITE
        return True

    def _interrupt(self, _engine: int, number: int, _data: object) -> None:
        self._trap = number
        self._engine.stop()

    def _failed(self, error: BaseException) -> None:
        """Keeps an exception of a callback until the engine has returned."""
        self._error = self._error or error
        self._state.limit = 0

    # -- what the platform uses --------------------------------------------------------------------------------

    @property
    def instructions(self) -> int:
        """Instructions executed since reset, exact and deterministic."""
        return int(self._state.count)

    @property
    def cycles(self) -> int:
        """Virtual time since reset, in core cycles: instructions and skipped idle cycles."""
        return int(self._state.count) + self._idle

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

    def close(self) -> None:
        """Gives the engine back; whatever would need it raises ClosedError from now on."""

        def closed(*_arguments: object) -> None:
            raise ClosedError("this core was closed; create another one")

        for name in ("flush_code", "registers", "reset", "run", "set_register"):
            setattr(self, name, closed)
        self._engine.close()

    def flush_code(self) -> None:
        """Makes the core see code that the host wrote."""
        self._engine.flush_code()
        self._code_pages.clear()
        self._data_pages.clear()
        self._counter.forget()

    def run(self, budget: int) -> Stop:
        """Executes about `budget` instructions, or until there is another reason to stop.

        It stops between two blocks. What takes the host's time counts for several instructions, so that firmware
        cannot make a run long by doing nothing but that.
        """
        state = self._state
        self._end = state.count + budget
        while self.fault is None:
            due = self._service()
            if self.fault is not None:
                break
            state.limit = min(self._end, due)
            if self._stop_requested:
                self._stop_requested = False
                return Stop.EVENT
            if self.asleep:
                return Stop.SLEEP
            if state.count >= self._end:
                return Stop.BUDGET
            self._enter()
            self._charge()
        return Stop.FAULT

    def _charge(self) -> None:
        """Takes the price of an engine entry, or of as much work in a hook, off what is left of the budget."""
        self._end -= ENTRY_PRICE
        if self._state.limit > self._end:
            self._state.limit = self._end
        if self._stop_requested:  # by another thread, meanwhile
            self._state.limit = 0

    def _enter(self) -> None:
        """Runs the engine once and passes on why it came back."""
        state = self._state
        state.stopped = 0
        self._trap = NO_TRAP
        self._missed = None
        status = self._engine.start(self._pc | self._entry_bit)
        trap = self._trap
        halted = not (state.stopped or status or trap != NO_TRAP)
        if state.stopped:
            self._pc = state.stopped_at
        elif halted:  # such an instruction ends its block
            self._pc = state.block + state.size
        elif trap != HANDLED:
            self._pc = self._pc_batch.read()[0]
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if trap >= 0:
            self._trapped(trap)
        elif halted:
            self._halted()
        elif self._missed is not None and status:
            self._unmapped(*self._missed)
        elif status:
            self._invalid()

    def _exact_address(self, address: int) -> int:
        """Returns the address that the instruction at `self._pc` accesses in vain.

        The engine tells only the page. So the instruction runs again with a probe in the place of what is missing,
        and then all registers are put back.
        """
        engine, state = self._engine, self._state
        kept = state.count, state.block, state.size, state.num_conditions
        state.limit, state.num_conditions = state.count + 1, 0
        engine.save(self._at_fault)
        self._probed = None
        self._probed_page = address & -engine.page_size
        hook = engine.hook(HOOK_ACCESS, self._on_access)
        engine.start(self._pc | self._entry_bit)
        engine.unhook(hook)
        state.limit = 0
        engine.start(self._pc | self._entry_bit)  # only the end of a run makes the engine drop the hook
        self._probed_page = None
        engine.restore(self._at_fault)
        engine.flush_code()  # what was translated meanwhile calls the hook
        state.count, state.block, state.size, state.num_conditions = kept
        state.limit = 0
        return address if self._probed is None else address & -PAGE | self._probed

    def _accessed(self, _engine: int, _kind: int, address: int, _size: int, _value: int, _data: object) -> None:
        """Notes the first access to the probe."""
        if self._probed is None and address & -PAGE == self._probe:
            self._probed = address - self._probe

    def _reconsider(self) -> None:
        """Makes the engine stop before the next block, for another `_service`."""
        self._state.limit = 0

    # -- what an architecture provides -------------------------------------------------------------------------

    @abstractmethod
    def reset(self, entry: int | None) -> None:
        """Puts the core into its state after reset; also after new code was loaded."""

    def _reset(self) -> None:
        """The common part of `reset`."""
        self._engine.restore(self._after_reset)
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
