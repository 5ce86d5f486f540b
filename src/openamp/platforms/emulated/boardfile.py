"""Board files: what their keys mean, and what is wrong with one.

A board file is TOML. Addresses and sizes are integers (`0x1000_0000` is one); ranges are whole 4 KiB pages for
memory; registers lie wherever they lie. Every key is known: a key that is not is an error, with the nearest name.

| table | keys |
|---|---|
| (top) | `description`, `semihosting` |
| `[core]` | `model`, `clock_hz`, `num_irqs`, `priority_bits` |
| `[boot]` | `vectors` (Cortex-M), `entry` (RISC-V: for images that name no entry) |
| `[[memory]]` | `name`, `da`, `size`, `pa`, `pool`, `aliases` |
| `[mailbox]` | `type`, `base`, `receive_irq`, `free_irq`, `vring_channels`, `shutdown_channel` |
| `[[uart]]` | `name`, `type`, `base`, `irq`, `stride` |
| `[[peripheral]]` | `name`, `type`, `base`, `size`, `irq`, `core_id`, `reset`, `ones`, `set_clear`, `follow` |
| `[interrupts]` | `clint`, `plic`, `timer_hz` (RISC-V) |
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openamp.errors import BoardError
from openamp.platforms.emulated.board import (
    CORE_MODELS,
    Board,
    CoreModel,
    InterruptControllerSpec,
    MailboxSpec,
    MemorySpec,
    PeripheralSpec,
    UartSpec,
)

__all__ = ["PAGE", "parse_board", "read_board"]

PAGE = 4096
MAX_MEMORY = 1 << 32
MAX_WINDOW = 16 << 20  # of registers: the engine keeps a little for every page
IPCC_CHANNELS = 6
DEVICE_SIZE = 0x1000  # of a peripheral that gives none
CLINT_SIZE = 0x10000
PLIC_SIZE = 0x400000
UART_TYPES = ("16550", "stm32-usart", "pl011", "cmsdk")
PERIPHERAL_TYPES = ("registers", "hsem", "stm32-timer")
SEMIHOSTING = "semihosting"
_PRIVATE_BUS = (0xE0000000, 0xE0100000)


class _Table:
    """One TOML table that is read key by key, so that every error can name file, key and value."""

    def __init__(self, where: str, path: str, values: Any) -> None:
        self.where = where
        self.path = path
        if not isinstance(values, dict):
            raise BoardError(f"{where}: {path} is {values!r}; it must be a table of keys")
        self.values: dict[str, Any] = dict(values)
        self.known: list[str] = []

    def key(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def fail(self, name: str, problem: str) -> BoardError:
        value = self.values.get(name)
        shown = f"{value:#x}" if type(value) is int else repr(value)
        return BoardError(f"{self.where}: {self.key(name)} = {shown}: {problem}")

    def has(self, name: str) -> bool:
        self.known.append(name)
        return name in self.values

    def _take(self, name: str) -> Any:
        if not self.has(name):
            raise BoardError(f'{self.where}: the key "{name}" is missing in {self.path or "the file"}; add it')
        return self.values[name]

    def integer(self, name: str, *, low: int = 0, high: int = (1 << 64) - 1, align: int = 1) -> int:
        value = self._take(name)
        if type(value) is not int:
            raise self.fail(name, "it must be an integer, such as 0x1000")
        if not low <= value <= high:
            raise self.fail(name, f"it must be between {low:#x} and {high:#x}")
        if value % align:
            raise self.fail(
                name, f"it must be a multiple of {align:#x}; {value - value % align:#x} is the nearest below"
            )
        return value

    def optional(self, name: str, **limits: int) -> int | None:
        return self.integer(name, **limits) if self.has(name) else None

    def flag(self, name: str, default: bool) -> bool:
        if not self.has(name):
            return default
        value = self.values[name]
        if type(value) is not bool:
            raise self.fail(name, "it must be true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        if default is not None and not self.has(name):
            return default
        value = self._take(name)
        if type(value) is not str or (default is None and not value):
            raise self.fail(name, "it must be a text in quotes")
        return value

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise self.fail(name, f"unknown; {_suggest(value, allowed)}it must be one of {', '.join(allowed)}")
        return value

    def integers(self, name: str, *, low: int, high: int, align: int = 1) -> tuple[int, ...]:
        values = self._take(name)
        if not isinstance(values, list):
            raise self.fail(name, "it must be a list of integers")
        for value in values:
            if type(value) is not int or not low <= value <= high or value % align:
                step = f", multiples of {align:#x}" if align > 1 else ""
                raise self.fail(name, f"its items must be integers between {low:#x} and {high:#x}{step}")
        return tuple(values)

    def registers(self, name: str, size: int) -> dict[int, int]:
        """Reads a table of `"0x48" = 0x80000000` items: offset to value."""
        if not self.has(name):
            return {}
        table = self.values[name]
        if not isinstance(table, dict):
            raise self.fail(name, 'it must be a table such as { "0x48" = 0x1 }')
        result: dict[int, int] = {}
        for key, value in table.items():
            try:
                offset = int(key, 0)
            except ValueError:
                offset = -1
            if not 0 <= offset < size or offset % 4:
                raise self.fail(name, f'"{key}" is no offset of a register; write a multiple of 4 below {size:#x}')
            if type(value) is not int or not 0 <= value < 1 << 32:
                raise self.fail(name, f'the value at "{key}" must be an integer of 32 bits')
            result[offset] = value
        return result

    def rows(self, name: str, columns: int, high: int) -> tuple[tuple[int, ...], ...]:
        """Reads a list of lists of `columns` integers each."""
        if not self.has(name):
            return ()
        rows = self.values[name]
        good = isinstance(rows, list) and all(
            isinstance(row, list) and len(row) == columns and all(type(x) is int and 0 <= x <= high for x in row)
            for row in rows
        )
        if not good:
            raise self.fail(name, f"it must be a list of lists of {columns} integers of 32 bits")
        return tuple(tuple(row) for row in rows)

    def table(self, name: str) -> _Table | None:
        return _Table(self.where, self.key(name), self.values[name]) if self.has(name) else None

    def required(self, name: str) -> _Table:
        return _Table(self.where, self.key(name), self._take(name))

    def tables(self, name: str) -> Iterator[_Table]:
        if not self.has(name):
            return
        items = self.values[name]
        if not isinstance(items, list):
            raise self.fail(name, f"it must be a list of tables; write [[{name}]]")
        for index, item in enumerate(items):
            label = item.get("name", index) if isinstance(item, dict) else index
            yield _Table(self.where, f"{name}[{label}]", item)

    def end(self) -> None:
        """Refuses keys that nobody asked for."""
        for name in self.values:
            if name not in self.known:
                raise BoardError(
                    f'{self.where}: unknown key "{self.key(name)}" = {self.values[name]!r}; '
                    f"{_suggest(name, self.known)}known here are {', '.join(dict.fromkeys(self.known))}"
                )


def _suggest(name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, 1)
    return f'did you mean "{near[0]}"? ' if near else ""


def read_board(path: Path) -> Board:
    """Reads and checks a board file.

    Raises:
        BoardError: the file cannot be read or is broken (names file, key, value and remedy).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BoardError(f"cannot read board file {path} ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        raise BoardError(f"board file {path} is not UTF-8 text ({error}); a board file is TOML") from error
    return parse_board(text, name=path.stem, path=str(path))


def parse_board(text: str, *, name: str, path: str = "") -> Board:
    """Reads and checks the text of a board file; raises BoardError as `read_board` does."""
    where = f"board file {path}" if path else f'board "{name}"'
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets without end
        raise BoardError(f"{where} is not TOML: {error}; correct the file there") from error
    top = _Table(where, "", values)
    core = top.required("core")
    model = CORE_MODELS[core.choice("model", tuple(CORE_MODELS))]
    num_irqs = core.integer("num_irqs", low=1, high=480 if model.is_cortex_m else 1023)
    vectors, entry = _boot(top, model)
    board = Board(
        name=name,
        path=path,
        description=top.text("description", ""),
        semihosting=top.flag("semihosting", True),
        core=model,
        clock_hz=core.integer("clock_hz", low=1, high=10**11),
        num_irqs=num_irqs,
        priority_bits=_priority_bits(core, model),
        vectors=vectors,
        entry=entry,
        memory=_memory(top, model),
        mailbox=_mailbox(top.required("mailbox"), num_irqs),
        uarts=tuple(_uart(t, num_irqs) for t in top.tables("uart")),
        peripherals=tuple(_peripheral(t, num_irqs) for t in top.tables("peripheral")),
        interrupts=_interrupts(top, model),
    )
    core.end()
    top.end()
    _check_ranges(where, board)
    return board


def _priority_bits(core: _Table, model: CoreModel) -> int:
    bits = core.optional("priority_bits", low=2, high=8)
    if bits is not None and not model.is_cortex_m:
        raise core.fail("priority_bits", f"a {model.name} has none; remove it")
    return model.priority_bits if bits is None else bits


def _boot(top: _Table, model: CoreModel) -> tuple[int | None, int | None]:
    """Returns the address of the vector table (Cortex-M) and the entry for images that name none (RISC-V)."""
    if model.is_cortex_m:
        boot = top.required("boot")
        vectors, entry = boot.integer("vectors", high=0xFFFFFF80, align=0x80), None
    else:
        found = top.table("boot")
        if found is None:
            return None, None
        boot = found
        vectors, entry = None, boot.integer("entry", align=2)
    boot.end()
    return vectors, entry


def _memory(top: _Table, model: CoreModel) -> tuple[MemorySpec, ...]:
    high = (1 << 32) - PAGE if model.bits == 32 else (1 << 56) - PAGE
    result = []
    for t in top.tables("memory"):
        spec = MemorySpec(
            name=t.text("name"),
            da=t.integer("da", high=high, align=PAGE),
            size=t.integer("size", low=PAGE, high=MAX_MEMORY, align=PAGE),
            pa=t.optional("pa"),
            pool=t.flag("pool", False),
            aliases=t.integers("aliases", low=0, high=high, align=PAGE) if t.has("aliases") else (),
        )
        t.end()
        for da in (spec.da, *spec.aliases):
            if da + spec.size > high + PAGE:
                raise t.fail("size", f"{da:#x} + size is beyond the core's address space; make it smaller")
        result.append(spec)
    if not any(m.pool for m in result):
        raise BoardError(
            f"{top.where}: no [[memory]] has pool = true; mark the memory that both sides share for rings and buffers"
        )
    return tuple(result)


def _mailbox(t: _Table, num_irqs: int) -> MailboxSpec:
    spec = MailboxSpec(
        type=t.choice("type", ("ipcc",)),
        base=t.integer("base", align=4),
        receive_irq=t.integer("receive_irq", high=num_irqs - 1),
        free_irq=t.integer("free_irq", high=num_irqs - 1),
        vring_channels=t.integers("vring_channels", low=1, high=IPCC_CHANNELS),
        shutdown_channel=t.optional("shutdown_channel", low=1, high=IPCC_CHANNELS),
    )
    t.end()
    if not spec.vring_channels or len(set(spec.vring_channels)) != len(spec.vring_channels):
        raise t.fail("vring_channels", "it must name at least one channel, each once, such as [1, 2]")
    if spec.shutdown_channel in spec.vring_channels:
        raise t.fail("shutdown_channel", "this channel belongs to a vring; take another")
    return spec


def _uart(t: _Table, num_irqs: int) -> UartSpec:
    spec = UartSpec(
        name=t.text("name"),
        type=t.choice("type", UART_TYPES),
        base=t.integer("base", align=4),
        irq=t.optional("irq", high=num_irqs - 1),
        stride=t.integer("stride", low=1, high=8) if t.has("stride") else 1,
    )
    t.end()
    if spec.stride not in (1, 2, 4, 8) or (spec.stride != 1 and spec.type != "16550"):
        raise t.fail("stride", "it must be 1, 2, 4 or 8, and only a 16550 has one")
    return spec


def _peripheral(t: _Table, num_irqs: int) -> PeripheralSpec:
    kind = t.choice("type", PERIPHERAL_TYPES)
    size = t.integer("size", low=4, high=MAX_WINDOW, align=4) if t.has("size") else DEVICE_SIZE
    word = (1 << 32) - 1
    spec = PeripheralSpec(
        name=t.text("name"),
        type=kind,
        base=t.integer("base", align=4),
        size=size,
        irq=t.optional("irq", high=num_irqs - 1),
        core_id=t.integer("core_id", high=15) if t.has("core_id") else 2,
        reset=t.registers("reset", size),
        ones=t.registers("ones", size),
        set_clear=tuple((a, b) for a, b in t.rows("set_clear", 2, size)),
        follow=tuple((a, b, c, d) for a, b, c, d in t.rows("follow", 4, word)),
    )
    t.end()
    only = {"registers": ("reset", "ones", "set_clear", "follow"), "hsem": ("core_id",), "stm32-timer": ("irq",)}
    for other, keys in only.items():
        for key in keys:
            if other != kind and key in t.values:
                raise t.fail(key, f'only a peripheral of type "{other}" has it; remove it')
    for first, end in spec.set_clear:
        if first % 4 or end <= first or (end - first) % 8:
            raise t.fail("set_clear", "each item must be [first, end] offsets of whole pairs of registers")
    for at, _bits, source, _source_bits in spec.follow:
        if at % 4 or source % 4 or at >= size or source >= size:
            raise t.fail("follow", "each item must be [offset, bits, offset of the source, source bits]")
    return spec


def _interrupts(top: _Table, model: CoreModel) -> InterruptControllerSpec | None:
    if model.is_cortex_m:
        if top.has("interrupts"):
            raise top.fail("interrupts", f"a {model.name} has its NVIC; remove this table")
        return None
    t = top.required("interrupts")
    spec = InterruptControllerSpec(
        clint=t.integer("clint", align=PAGE),
        plic=t.integer("plic", align=PAGE),
        timer_hz=t.optional("timer_hz", low=1, high=10**11),
    )
    t.end()
    return spec


@dataclass(frozen=True, slots=True)
class _Range:
    start: int
    end: int
    label: str
    kind: str  # "memory", "device" or "window"

    def may_hold(self, other: _Range) -> bool:
        """A window of registers may have devices and smaller windows inside; they go first."""
        return self.kind == "window" and other.kind != "memory" and self.start <= other.start and other.end <= self.end


def _ranges(board: Board) -> Iterator[_Range]:
    for m in board.memory:
        for da in (m.da, *m.aliases):
            yield _Range(da, da + m.size, f'memory "{m.name}"', "memory")
    yield _Range(board.mailbox.base, board.mailbox.base + board.mailbox.size, "the mailbox", "device")
    for u in board.uarts:
        yield _Range(u.base, u.base + u.size, f'uart "{u.name}"', "device")
    for p in board.peripherals:
        kind = "window" if p.type == "registers" else "device"
        yield _Range(p.base, p.base + p.size, f'peripheral "{p.name}"', kind)
    if board.interrupts is None:
        yield _Range(*_PRIVATE_BUS, "the core's private peripheral bus", "memory")
    else:
        clint, plic = board.interrupts.clint, board.interrupts.plic
        yield _Range(clint, clint + CLINT_SIZE, "the CLINT", "memory")
        yield _Range(plic, plic + PLIC_SIZE, "the PLIC", "memory")


def _check_ranges(where: str, board: Board) -> None:
    """Refuses ranges that overlap, names that are used twice, and a boot address outside the memory."""
    ranges = sorted(_ranges(board), key=lambda r: (r.start, -r.end))
    for index, first in enumerate(ranges):
        for second in ranges[index + 1 :]:
            if second.start >= first.end:
                break
            same = (first.start, first.end) == (second.start, second.end)
            if (first.kind == second.kind == "window" and same) or not first.may_hold(second):
                raise BoardError(
                    f"{where}: {second.label} at {second.start:#x}..{second.end:#x} overlaps {first.label} at "
                    f"{first.start:#x}..{first.end:#x}; give one of them another address or size"
                )
    if any(u.name == SEMIHOSTING for u in board.uarts):
        raise BoardError(f'{where}: uart "{SEMIHOSTING}": the semihosting console has that name; take another')
    names = [m.name for m in board.memory] + [u.name for u in board.uarts] + [p.name for p in board.peripherals]
    for name in names:
        if names.count(name) > 1:
            raise BoardError(f'{where}: the name "{name}" is used twice; give each memory, uart and peripheral its own')
    for key, address, size in (("vectors", board.vectors, 8), ("entry", board.entry, 2)):
        if address is not None and not board.holds(address, size):
            raise BoardError(
                f"{where}: boot.{key} = {address:#x}: no [[memory]] is there ({board.describe_memory()}); "
                f"give an address in memory"
            )
