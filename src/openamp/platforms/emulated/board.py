"""Boards: which core, which memory, which mailbox.

A board is data, not code: a TOML file in `boards/` or anywhere a user keeps one. `load_board` finds it by name or
path and refuses a file it does not wholly understand. What the keys mean is in `boardfile`, which reads them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from openamp.errors import BoardError
from openamp.firmware import EM_ARM, EM_RISCV, FirmwareImage, Segment

__all__ = [
    "CORE_MODELS",
    "Board",
    "CoreModel",
    "InterruptControllerSpec",
    "MailboxSpec",
    "MemorySpec",
    "PeripheralSpec",
    "UartSpec",
    "boards_for",
    "list_boards",
    "load_board",
]

BOARD_DIRECTORY = Path(__file__).parent / "boards"
_MACHINE_NAMES = {EM_ARM: "Arm", EM_RISCV: "RISC-V"}


@dataclass(frozen=True, slots=True)
class CoreModel:
    """A core that can be emulated.

    Attributes:
        name: as board files write it.
        machine: the ELF `e_machine` of its programs.
        bits: the ELF class of its programs, 32 or 64.
        priority_bits: implemented interrupt priority bits where the board file does not say (Cortex-M).
    """

    name: str
    machine: int
    bits: int
    priority_bits: int = 4

    @property
    def is_cortex_m(self) -> bool:
        """The core boots through a vector table and has an NVIC."""
        return self.machine == EM_ARM

    @property
    def machine_name(self) -> str:
        """For people, such as "32-bit Arm"."""
        return f"{self.bits}-bit {_MACHINE_NAMES[self.machine]}"


CORE_MODELS: Mapping[str, CoreModel] = {
    model.name: model
    for model in (
        CoreModel("cortex-m0", EM_ARM, 32, 2),
        CoreModel("cortex-m0plus", EM_ARM, 32, 2),
        CoreModel("cortex-m3", EM_ARM, 32),
        CoreModel("cortex-m4", EM_ARM, 32),
        CoreModel("cortex-m7", EM_ARM, 32),
        CoreModel("cortex-m33", EM_ARM, 32),
        CoreModel("rv32", EM_RISCV, 32),
        CoreModel("rv64", EM_RISCV, 64),
    )
}


@dataclass(frozen=True, slots=True)
class MemorySpec:
    """A run of memory.

    Attributes:
        name: for people.
        da: first device address.
        size: in bytes, whole 4 KiB pages.
        pa: its address on the host's side, or None where that is `da`.
        pool: the host may place rings, buffers and carve-outs here.
        aliases: further device addresses of the same bytes.
    """

    name: str
    da: int
    size: int
    pa: int | None = None
    pool: bool = False
    aliases: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """The inter-processor mailbox.

    Attributes:
        type: "ipcc".
        base: device address of its registers.
        receive_irq: raised while the host's flag is set on an unmasked channel.
        free_irq: raised while an unmasked channel towards the host is free.
        vring_channels: the channel (from 1) of vring 0, vring 1, ...
        shutdown_channel: the channel on which the host asks for a shutdown, or None.
    """

    type: str
    base: int
    receive_irq: int
    free_irq: int
    vring_channels: tuple[int, ...]
    shutdown_channel: int | None = None

    @property
    def size(self) -> int:
        """Length of the register block in bytes."""
        return 0x400


@dataclass(frozen=True, slots=True)
class UartSpec:
    """A serial port whose output is a console stream.

    Attributes:
        name: of the stream.
        type: "16550", "stm32-usart", "pl011" or "cmsdk".
        base: device address of its registers.
        irq: its interrupt, or None.
        stride: distance of two registers in bytes ("16550" only).
    """

    name: str
    type: str
    base: int
    irq: int | None = None
    stride: int = 1

    @property
    def size(self) -> int:
        """Length of the register block in bytes."""
        return {"16550": 8 * self.stride, "stm32-usart": 0x400}.get(self.type, 0x1000)


@dataclass(frozen=True, slots=True)
class PeripheralSpec:
    """A range of registers that need no real model, or a small one.

    Attributes:
        name: for people.
        type: "registers" (they read back what was written, with the rules below), "hsem" or "stm32-timer".
        base: first device address.
        size: in bytes.
        irq: its interrupt, or None ("stm32-timer").
        core_id: the core's identity in a lock ("hsem").
        reset: values after reset, by offset.
        ones: bits that always read as one, by offset.
        set_clear: (first, end) offsets of pairs of registers that set and clear the same bits.
        follow: (offset, bits, offset of the source, source bits): `bits` read as one while all of the source bits
            are set, as a "ready" bit follows an "on" bit.
    """

    name: str
    type: str
    base: int
    size: int
    irq: int | None = None
    core_id: int = 2
    reset: Mapping[int, int] = field(default_factory=dict)
    ones: Mapping[int, int] = field(default_factory=dict)
    set_clear: tuple[tuple[int, int], ...] = ()
    follow: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class InterruptControllerSpec:
    """Where a RISC-V core finds its timer and its external interrupts.

    Attributes:
        clint: base of the core-local interruptor.
        plic: base of the platform-level interrupt controller.
        timer_hz: frequency of `mtime`, or None for the core's clock.
    """

    clint: int
    plic: int
    timer_hz: int | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """A board, read from a file or built by a program.

    Attributes:
        name: the file's name without its suffix.
        description: one line for people.
        core: the core's model.
        clock_hz: its clock; virtual time counts in it.
        num_irqs: number of external interrupts.
        priority_bits: implemented priority bits (Cortex-M).
        memory: all memory, in the file's order.
        mailbox: how the two sides kick each other.
        vectors: address of the vector table at reset (Cortex-M), or None.
        entry: where to start an image that names no entry (RISC-V), or None for its lowest address.
        uarts: serial ports.
        peripherals: further registers.
        interrupts: CLINT and PLIC (RISC-V), or None.
        semihosting: answer semihosting calls.
        path: the file, or "" for a board built by a program.
    """

    name: str
    core: CoreModel
    clock_hz: int
    num_irqs: int
    memory: tuple[MemorySpec, ...]
    mailbox: MailboxSpec
    description: str = ""
    priority_bits: int = 4
    vectors: int | None = None
    entry: int | None = None
    uarts: tuple[UartSpec, ...] = ()
    peripherals: tuple[PeripheralSpec, ...] = ()
    interrupts: InterruptControllerSpec | None = None
    semihosting: bool = True
    path: str = ""

    def runs(self, image: FirmwareImage) -> bool:
        """The core executes this image's machine code; True where the image (raw, hex) does not say."""
        if image.machine is None:
            return True
        return (
            image.machine == self.core.machine
            and image.byte_order == "little"
            and image.format == f"elf{self.core.bits}"
        )

    def misfit(self, image: FirmwareImage) -> Segment | None:
        """Returns the first segment that is not wholly inside one run of memory, or None."""
        return next((s for s in image.segments if s.size and not self.holds(s.da, s.size)), None)

    def holds(self, da: int, size: int) -> bool:
        """All of `da .. da + size` is inside one run of memory."""
        return any(
            start <= da and da + size <= start + memory.size
            for memory in self.memory
            for start in (memory.da, *memory.aliases)
        )

    def describe_memory(self) -> str:
        """Returns the memory in one line, for error texts."""
        return ", ".join(f"{m.name} {m.da:#x}..{m.da + m.size:#x}" for m in self.memory)


def list_boards() -> tuple[str, ...]:
    """Returns the names of the boards that come with the package, sorted."""
    return tuple(sorted(path.stem for path in BOARD_DIRECTORY.glob("*.toml")))


def load_board(source: str | os.PathLike[str] | Board) -> Board:
    """Finds a board by name, or reads a board file by path.

    Args:
        source: a name of `list_boards()`, or a path; text with a slash or ending in ".toml" is a path. A `Board` is
            returned as it is.

    Raises:
        BoardError: no such board or file, or the file is broken (names file, key, value and remedy).
    """
    if isinstance(source, Board):
        return source
    text = os.fspath(source)
    if not isinstance(source, str) or text.endswith(".toml") or os.sep in text:
        return _read(Path(text))
    path = BOARD_DIRECTORY / f"{text}.toml"
    if text not in list_boards():
        near = difflib.get_close_matches(text, list_boards(), 1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise BoardError(
            f'there is no board "{text}"; {hint}There are {", ".join(list_boards())}; '
            f"a board file of your own works by its path (./name.toml)"
        )
    return _shipped(path)


def boards_for(image: FirmwareImage) -> tuple[str, ...]:
    """Returns the names of the shipped boards on which `image` can run: right machine, all segments in memory."""
    return tuple(b.name for b in _all_shipped() if b.runs(image) and b.misfit(image) is None)


def check_image(board: Board, image: FirmwareImage) -> None:
    """Refuses an image that cannot run on `board`.

    Raises:
        BoardError: another machine type, a segment outside the memory, or no vector table; names what would fit.
    """
    if not board.runs(image):
        fitting = [b.name for b in _all_shipped() if b.runs(image)]
        raise BoardError(
            f'"{image.name}" is {_describe_machine(image)}, but board "{board.name}" has a '
            f"{board.core.name} ({board.core.machine_name}, little-endian); "
            + (f"boards that run it: {', '.join(fitting)}" if fitting else "no board that comes with OpenAMP runs it")
        )
    segment = board.misfit(image)
    if segment is not None:
        fitting = list(boards_for(image))
        raise BoardError(
            f'segment {segment.name or "?"} of "{image.name}" at {segment.da:#x}..{segment.da + segment.size:#x} '
            f'is in no memory of board "{board.name}" ({board.describe_memory()}); '
            + (f"it fits on {', '.join(fitting)}" if fitting else "link it to the board's memory, or write a board")
        )
    if board.vectors is not None:
        _check_vectors(board, board.vectors, image)


def _check_vectors(board: Board, base: int, image: FirmwareImage) -> None:
    """Refuses an image without a vector table where a Cortex-M looks for it at reset."""
    for segment in image.segments:
        at = base - segment.da
        if at >= 0 and at + 8 <= segment.size:
            vectors = bytes(segment.data[at : at + 8]).ljust(8, b"\0")
            if any(vectors):
                return
    raise BoardError(
        f'"{image.name}" has no vector table at {base:#x}, where the {board.core.name} of board "{board.name}" takes '
        f"its stack pointer and its reset handler from; link the section with the vector table to {base:#x}"
    )


def _describe_machine(image: FirmwareImage) -> str:
    bits = {"elf32": "32-bit ", "elf64": "64-bit "}.get(image.format, "")
    return f"a {bits}{image.byte_order}-endian {image.machine_name} image"


def _read(path: Path) -> Board:
    from openamp.platforms.emulated.boardfile import read_board

    return read_board(path)


@cache
def _shipped(path: Path) -> Board:
    return _read(path)


def _all_shipped() -> Sequence[Board]:
    return [load_board(name) for name in list_boards()]
