"""Semihosting: the calls by which firmware asks its debugger for a console, a clock and an exit.

Arm's "Semihosting for AArch32 and AArch64" defines them; the RISC-V document takes over numbers and blocks. The
console is one output stream; there is no host file system behind these calls, so opening any other file fails.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable

from openamp.errors import AddressError
from openamp.memory import MemoryMap

__all__ = ["Operation", "Semihosting"]

STREAM = "semihosting"
MAX_TRANSFER = 1 << 20
MAX_STRING = 4096
MAX_HANDLES = 64
EBADF, EACCES, EFAULT, EINVAL, EMFILE, ENOSYS = 9, 13, 14, 22, 24, 38
APPLICATION_EXIT = 0x20026
FEATURES = b"SHFB\x03"  # extended exit; separate output and error streams


class Operation(enum.IntEnum):
    """Semihosting operation numbers."""

    OPEN = 0x01
    CLOSE = 0x02
    WRITEC = 0x03
    WRITE0 = 0x04
    WRITE = 0x05
    READ = 0x06
    READC = 0x07
    ISERROR = 0x08
    ISTTY = 0x09
    SEEK = 0x0A
    FLEN = 0x0C
    TMPNAM = 0x0D
    REMOVE = 0x0E
    RENAME = 0x0F
    CLOCK = 0x10
    TIME = 0x11
    SYSTEM = 0x12
    ERRNO = 0x13
    GET_CMDLINE = 0x15
    HEAPINFO = 0x16
    EXIT = 0x18
    EXIT_EXTENDED = 0x20
    ELAPSED = 0x30
    TICKFREQ = 0x31


class _Handle(enum.Enum):
    INPUT = "r"
    OUTPUT = "w"
    FEATURES = "features"


class Semihosting:
    """Answers one core's semihosting calls.

    Attributes:
        received: bytes that the firmware can read from its console.
    """

    def __init__(
        self,
        memory: MemoryMap,
        *,
        word_size: int,
        output: Callable[[bytes], None],
        exited: Callable[[int], None],
        cycles: Callable[[], int],
        clock_hz: int,
    ) -> None:
        """Creates the other end of the calls.

        Args:
            memory: the core's memory; a block outside it makes a call fail.
            word_size: 4 or 8 bytes a field.
            output: called with what the firmware writes.
            exited: called with the exit status when the firmware ends.
            cycles: virtual time in core cycles.
            clock_hz: their frequency.
        """
        self._memory = memory
        self._word_size = word_size
        self._output = output
        self._exited = exited
        self._cycles = cycles
        self._clock_hz = clock_hz
        self.received: deque[int] = deque()
        self._handles: dict[int, _Handle] = {}
        self._positions: dict[int, int] = {}
        self._errno = 0
        self.reset()

    def reset(self) -> None:
        """Forgets open files and the last error; 0, 1 and 2 are open, as much firmware expects."""
        self._handles = {0: _Handle.INPUT, 1: _Handle.OUTPUT, 2: _Handle.OUTPUT}
        self._positions = {}
        self._errno = 0
        self.received.clear()

    def call(self, operation: int, argument: int) -> int:
        """Does one call.

        Args:
            operation: from the first argument register.
            argument: from the second: a value, or the address of a block of words.

        Returns:
            What goes into the first register; -1 is the usual failure.
        """
        handler = _HANDLERS.get(operation)
        if handler is None:
            return self._fail(ENOSYS)
        try:
            return handler(self, argument)
        except AddressError:
            return self._fail(EFAULT)

    def _fail(self, errno: int) -> int:
        self._errno = errno
        return -1

    def _words(self, address: int, number: int) -> list[int]:
        block = self._memory.read(address, number * self._word_size)
        step = self._word_size
        return [int.from_bytes(block[i : i + step], "little") for i in range(0, len(block), step)]

    def _open(self, block: int) -> int:
        address, mode, length = self._words(block, 3)
        if length > MAX_STRING:
            return self._fail(EINVAL)
        name = self._memory.read(address, length)
        if name == b":tt":
            kind = _Handle.INPUT if mode < 4 else _Handle.OUTPUT
        elif name == b":semihosting-features" and mode < 4:
            kind = _Handle.FEATURES
        else:
            return self._fail(EACCES)
        if len(self._handles) >= MAX_HANDLES:
            return self._fail(EMFILE)
        handle = next(number for number in range(1, MAX_HANDLES + 1) if number not in self._handles)
        self._handles[handle] = kind
        self._positions[handle] = 0
        return handle

    def _close(self, block: int) -> int:
        (handle,) = self._words(block, 1)
        return 0 if self._handles.pop(handle, None) else self._fail(EBADF)

    def _write_character(self, address: int) -> int:
        self._output(self._memory.read(address, 1))
        return 0

    def _write_string(self, address: int) -> int:
        region = self._memory.find(address)
        if region is None:
            return self._fail(EFAULT)
        data = bytes(region.data[address - region.da :][:MAX_TRANSFER])
        self._output(data.partition(b"\0")[0])
        return 0

    def _write(self, block: int) -> int:
        """Returns the number of bytes that were *not* written, as the document says."""
        handle, address, length = self._words(block, 3)
        if self._handles.get(handle) is not _Handle.OUTPUT or length > MAX_TRANSFER:
            self._errno = EBADF
            return length
        self._output(self._memory.read(address, length))
        return 0

    def _read(self, block: int) -> int:
        """Returns the number of bytes that were *not* read."""
        handle, address, length = self._words(block, 3)
        kind = self._handles.get(handle)
        if kind is _Handle.INPUT:
            data = bytes(self.received.popleft() for _ in range(min(length, len(self.received))))
        elif kind is _Handle.FEATURES:
            data = FEATURES[self._positions[handle] :][:length]
            self._positions[handle] += len(data)
        else:
            return self._fail(EBADF)
        self._memory.write(address, data)
        return length - len(data)

    def _read_character(self, _argument: int) -> int:
        return self.received.popleft() if self.received else -1

    def _is_error(self, block: int) -> int:
        (status,) = self._words(block, 1)
        return status >> (8 * self._word_size - 1)

    def _is_tty(self, block: int) -> int:
        kind = self._handles.get(self._words(block, 1)[0])
        if kind is None:
            return self._fail(EBADF)
        return int(kind is not _Handle.FEATURES)

    def _seek(self, block: int) -> int:
        handle, position = self._words(block, 2)
        if self._handles.get(handle) is not _Handle.FEATURES or position > len(FEATURES):
            return self._fail(EINVAL)
        self._positions[handle] = position
        return 0

    def _length(self, block: int) -> int:
        kind = self._handles.get(self._words(block, 1)[0])
        if kind is None:
            return self._fail(EBADF)
        return len(FEATURES) if kind is _Handle.FEATURES else 0

    def _refuse(self, _argument: int) -> int:
        return self._fail(EACCES)

    def _clock(self, _argument: int) -> int:
        return self._cycles() * 100 // self._clock_hz

    def _time(self, _argument: int) -> int:
        """Counts from reset, in virtual time: the same run gives the same answer."""
        return self._cycles() // self._clock_hz

    def _get_errno(self, _argument: int) -> int:
        return self._errno

    def _command_line(self, block: int) -> int:
        address, length = self._words(block, 2)
        if length < 1:
            return self._fail(EINVAL)
        self._memory.write(address, b"\0")
        self._memory.write(block + self._word_size, (0).to_bytes(self._word_size, "little"))
        return 0

    def _heap_info(self, pointer: int) -> int:
        """All zeros: the firmware is to use its own linker symbols."""
        (block,) = self._words(pointer, 1)
        self._memory.write(block, bytes(4 * self._word_size))
        return 0

    def _exit(self, argument: int) -> int:
        """On 32 bits the argument is the reason itself, on 64 bits a block of reason and status."""
        if self._word_size == 8:
            return self._exit_extended(argument)
        self._exited(0 if argument == APPLICATION_EXIT else 1)
        return 0

    def _exit_extended(self, block: int) -> int:
        reason, status = self._words(block, 2)
        if status >> (8 * self._word_size - 1):
            status -= 1 << 8 * self._word_size
        self._exited(status if reason == APPLICATION_EXIT else 1)
        return 0

    def _elapsed(self, block: int) -> int:
        self._memory.write(block, (self._cycles() & (1 << 64) - 1).to_bytes(8, "little"))
        return 0

    def _frequency(self, _argument: int) -> int:
        return self._clock_hz


_HANDLERS: dict[int, Callable[[Semihosting, int], int]] = {
    Operation.OPEN: Semihosting._open,
    Operation.CLOSE: Semihosting._close,
    Operation.WRITEC: Semihosting._write_character,
    Operation.WRITE0: Semihosting._write_string,
    Operation.WRITE: Semihosting._write,
    Operation.READ: Semihosting._read,
    Operation.READC: Semihosting._read_character,
    Operation.ISERROR: Semihosting._is_error,
    Operation.ISTTY: Semihosting._is_tty,
    Operation.SEEK: Semihosting._seek,
    Operation.FLEN: Semihosting._length,
    Operation.TMPNAM: Semihosting._refuse,
    Operation.REMOVE: Semihosting._refuse,
    Operation.RENAME: Semihosting._refuse,
    Operation.SYSTEM: Semihosting._refuse,
    Operation.CLOCK: Semihosting._clock,
    Operation.TIME: Semihosting._time,
    Operation.ERRNO: Semihosting._get_errno,
    Operation.GET_CMDLINE: Semihosting._command_line,
    Operation.HEAPINFO: Semihosting._heap_info,
    Operation.EXIT: Semihosting._exit,
    Operation.EXIT_EXTENDED: Semihosting._exit_extended,
    Operation.ELAPSED: Semihosting._elapsed,
    Operation.TICKFREQ: Semihosting._frequency,
}
