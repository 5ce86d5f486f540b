"""Semihosting calls: console, clock, exit, and no way to the host's files."""

from __future__ import annotations

import struct

import pytest

from openamp.memory import MemoryMap, Region
from openamp.platforms.emulated.semihosting import Operation, Semihosting

BLOCK = 0x1000
TEXT = 0x1100
MINUS_ONE = -1


class Bench:
    """The other end of the calls, with memory of one page."""

    def __init__(self, word_size: int = 4) -> None:
        self.memory = MemoryMap([Region("ram", 0x1000, bytearray(0x1000))])
        self.output = bytearray()
        self.status: list[int] = []
        self.cycles = 0
        self.word_size = word_size
        self.host = Semihosting(
            self.memory,
            word_size=word_size,
            output=self.output.extend,
            exited=self.status.append,
            cycles=lambda: self.cycles,
            clock_hz=1000,
        )

    def call(self, operation: int, *words: int) -> int:
        form = "<" + ("I" if self.word_size == 4 else "Q") * len(words)
        self.memory.write(BLOCK, struct.pack(form, *words))
        return self.host.call(operation, BLOCK)

    def open(self, name: bytes, mode: int) -> int:
        self.memory.write(TEXT, name + b"\0")
        return self.call(Operation.OPEN, TEXT, mode, len(name))


@pytest.mark.parametrize("word_size", [4, 8])
def test_console_output(word_size: int) -> None:
    bench = Bench(word_size)
    bench.memory.write(TEXT, b"hello\n\0junk")
    assert bench.host.call(Operation.WRITE0, TEXT) == 0
    assert bench.host.call(Operation.WRITEC, TEXT) == 0
    handle = bench.open(b":tt", 4)
    assert handle > 2
    bench.memory.write(TEXT, b"abcdef")
    assert bench.call(Operation.WRITE, handle, TEXT, 3) == 0
    assert bench.call(Operation.WRITE, 1, TEXT + 3, 3) == 0, "the standard handles are open"
    assert bench.output == b"hello\nhabcdef"
    assert bench.call(Operation.ISTTY, handle) == 1
    assert bench.call(Operation.CLOSE, handle) == 0
    assert bench.call(Operation.WRITE, handle, TEXT, 3) == 3, "all bytes are left"


def test_console_input_is_what_was_fed() -> None:
    bench = Bench()
    handle = bench.open(b":tt", 0)
    bench.host.received.extend(b"abc")
    assert bench.call(Operation.READ, handle, TEXT, 2) == 0
    assert bench.memory.read(TEXT, 2) == b"ab"
    assert bench.host.call(Operation.READC, 0) == ord("c")
    assert bench.host.call(Operation.READC, 0) == MINUS_ONE
    assert bench.call(Operation.READ, handle, TEXT, 4) == 4


def test_no_file_of_the_host_can_be_opened() -> None:
    bench = Bench()
    for name in (b"/etc/passwd", b"x", b":tt/../x"):
        for mode in range(12):
            assert bench.open(name, mode) == MINUS_ONE
    assert bench.host.call(Operation.ERRNO, 0) == 13
    for operation in (Operation.REMOVE, Operation.RENAME, Operation.SYSTEM, Operation.TMPNAM):
        assert bench.call(operation, TEXT, 1, TEXT, 1) == MINUS_ONE


def test_feature_file_announces_extended_exit() -> None:
    bench = Bench()
    handle = bench.open(b":semihosting-features", 0)
    assert bench.call(Operation.FLEN, handle) == 5
    assert bench.call(Operation.READ, handle, TEXT, 4) == 0
    assert bench.memory.read(TEXT, 4) == b"SHFB"
    assert bench.call(Operation.READ, handle, TEXT, 4) == 3
    assert bench.memory.read(TEXT, 1) == b"\x03"
    assert bench.call(Operation.SEEK, handle, 0) == 0
    assert bench.call(Operation.READ, handle, TEXT, 1) == 0
    assert bench.call(Operation.SEEK, handle, 6) == MINUS_ONE
    assert bench.call(Operation.ISTTY, handle) == 0


def test_exit_status_of_32_and_64_bits() -> None:
    bench = Bench()
    bench.host.call(Operation.EXIT, 0x20026)
    bench.host.call(Operation.EXIT, 0x20023)
    bench.call(Operation.EXIT_EXTENDED, 0x20026, 7)
    bench.call(Operation.EXIT_EXTENDED, 0x20026, 0xFFFFFFFF)
    bench.call(Operation.EXIT_EXTENDED, 0x20023, 0)
    assert bench.status == [0, 1, 7, -1, 1]
    wide = Bench(8)
    wide.call(Operation.EXIT, 0x20026, 3)
    assert wide.status == [3]


def test_time_is_virtual() -> None:
    bench = Bench()
    bench.cycles = 12_345
    assert bench.host.call(Operation.CLOCK, 0) == 1234
    assert bench.host.call(Operation.TIME, 0) == 12
    assert bench.host.call(Operation.TICKFREQ, 0) == 1000
    assert bench.host.call(Operation.ELAPSED, BLOCK) == 0
    assert bench.memory.read(BLOCK, 8) == struct.pack("<Q", 12_345)


def test_heap_info_and_command_line_leave_it_to_the_firmware() -> None:
    bench = Bench()
    bench.memory.write(TEXT, b"\xff" * 16)
    assert bench.call(Operation.HEAPINFO, TEXT) == 0
    assert bench.memory.read(TEXT, 16) == bytes(16)
    assert bench.call(Operation.GET_CMDLINE, TEXT, 80) == 0
    assert struct.unpack("<II", bench.memory.read(BLOCK, 8)) == (TEXT, 0)
    assert bench.call(Operation.GET_CMDLINE, TEXT, 0) == MINUS_ONE


def test_status_words() -> None:
    bench = Bench()
    assert bench.call(Operation.ISERROR, 0xFFFFFFFF) == 1
    assert bench.call(Operation.ISERROR, 5) == 0


@pytest.mark.parametrize("operation", [*Operation, 0, 0x14, 0x100, 0xFFFFFFFF])
@pytest.mark.parametrize("argument", [0, 0x1FFF, 0xFFFFFFFF])
def test_wild_arguments_fail_without_harm(operation: int, argument: int) -> None:
    bench = Bench()
    if operation == Operation.WRITE0 and argument == 0x1FFF:
        argument = 0x1FFE
    result = bench.host.call(operation, argument)
    assert isinstance(result, int)


def test_wild_pointers_inside_a_block_fail_without_harm() -> None:
    bench = Bench()
    handle = bench.open(b":tt", 4)
    assert bench.call(Operation.WRITE, handle, 0xFFFFFFF0, 0x20) == MINUS_ONE
    assert bench.call(Operation.WRITE, handle, 0, 0xFFFFFFFF) == 0xFFFFFFFF
    assert bench.call(Operation.OPEN, 0xFFFFFFF0, 4, 3) == MINUS_ONE
    assert bench.call(Operation.OPEN, TEXT, 4, 0xFFFFFFFF) == MINUS_ONE
    assert bench.host.call(Operation.ERRNO, 0) == 22


def test_handles_are_bounded() -> None:
    bench = Bench()
    handles = [bench.open(b":tt", 4) for _ in range(100)]
    assert MINUS_ONE in handles
    assert len(set(handles) - {MINUS_ONE}) < 64
    bench.host.reset()
    assert bench.open(b":tt", 4) == 3
