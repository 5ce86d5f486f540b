"""Board files: the shipped ones, and what is said of broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from openamp.errors import BoardError
from openamp.firmware import EM_ARM, EM_RISCV, FirmwareImage, Segment
from openamp.platforms.emulated.board import Board, boards_for, check_image, list_boards, load_board
from openamp.platforms.emulated.boardfile import parse_board

GOOD = """
description = "a board"
[core]
model = "cortex-m4"
clock_hz = 1_000_000
num_irqs = 16
[boot]
vectors = 0
[[memory]]
name = "ram"
da = 0
size = 0x1000
[[memory]]
name = "shm"
da = 0x1000_0000
size = 0x1000
pool = true
aliases = [0x3000_0000]
[mailbox]
type = "ipcc"
base = 0x4000_0000
receive_irq = 1
free_irq = 2
vring_channels = [1, 2]
"""

RISCV = """
[core]
model = "rv32"
clock_hz = 1_000_000
num_irqs = 16
[[memory]]
name = "ram"
da = 0x8000_0000
size = 0x1000
pool = true
[mailbox]
type = "ipcc"
base = 0x4000_0000
receive_irq = 1
free_irq = 2
vring_channels = [1, 2]
[interrupts]
clint = 0x200_0000
plic = 0xC00_0000
"""

VECTORS = bytes.fromhex("00100000") + bytes.fromhex("09000000")


def image(
    machine: int | None = EM_ARM,
    segments: tuple[Segment, ...] = (Segment(da=0, size=8, data=VECTORS, va=0),),
    *,
    format: str = "elf32",
    byte_order: str = "little",
) -> FirmwareImage:
    return FirmwareImage(
        name="test.elf",
        format=format,
        byte_order="big" if byte_order == "big" else "little",
        machine=machine,
        entry=0,
        segments=segments,
    )


def change(old: str, new: str, text: str = GOOD) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_shipped_boards_have_the_maps_that_firmware_is_linked_for() -> None:
    assert list_boards() == ("stm32mp157", "virt-m0", "virt-m33", "virt-m4", "virt-m7", "virt-rv32", "virt-rv64")
    for name in ("stm32mp157", "virt-m0", "virt-m4", "virt-m7", "virt-m33"):
        board = load_board(name)
        memory = {m.name: (m.da, m.size, m.pool, m.pa, m.aliases) for m in board.memory}
        assert memory == {
            "retram": (0, 0x10000, False, 0x38000000, ()),
            "mcusram": (0x10000000, 0x40000, False, None, (0x30000000,)),
            "shm": (0x10040000, 0x20000, True, None, (0x30040000,)),
        }
        assert (board.mailbox.base, board.mailbox.receive_irq, board.mailbox.free_irq) == (0x4C001000, 103, 104)
        assert board.num_irqs == 160
        assert board.vectors == 0
    for name, bits in (("virt-rv32", 32), ("virt-rv64", 64)):
        board = load_board(name)
        assert [(m.da, m.size, m.pool) for m in board.memory] == [
            (0x80000000, 0x80000, False),
            (0x80100000, 0x20000, True),
        ]
        assert board.core.bits == bits
        assert board.interrupts is not None
        assert (board.interrupts.clint, board.interrupts.plic) == (0x02000000, 0x0C000000)
        assert (board.mailbox.base, board.mailbox.receive_irq, board.mailbox.free_irq) == (0x4C001000, 20, 21)
        assert [(u.type, u.base) for u in board.uarts] == [("16550", 0x10000000)]


@pytest.mark.parametrize("name", list_boards())
def test_shipped_boards_map_vrings_to_the_channels_of_the_openamp_convention(name: str) -> None:
    board = load_board(name)
    assert board.description
    assert board.mailbox.vring_channels == (1, 2)
    assert board.mailbox.shutdown_channel == 3


def test_a_board_file_works_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    for source in (path, str(path)):
        board = load_board(source)
        assert board.name == "mine"
        assert board.core.name == "cortex-m4"
        assert board.memory[1].aliases == (0x30000000,)
    assert load_board(board) is board


def test_an_unknown_board_lists_the_boards_and_the_nearest() -> None:
    with pytest.raises(BoardError, match=r'no board "stm32mp175".*did you mean "stm32mp157".*virt-rv64.*\.toml'):
        load_board("stm32mp175")
    with pytest.raises(BoardError, match="cannot read board file"):
        load_board("./no-such.toml")


def test_a_directory_or_binary_file_is_no_board(tmp_path: Path) -> None:
    binary = tmp_path / "firmware.toml"
    binary.write_bytes(b"\x7fELF\xff\xfe")
    with pytest.raises(BoardError, match="not UTF-8"):
        load_board(binary)
    with pytest.raises(BoardError, match="cannot read board file"):
        load_board(tmp_path)


BROKEN = {
    "toml": (change("[core]", "[core"), "is not TOML"),
    "deep": ("a = " + "[" * 100_000, "is not TOML"),
    "digits": ("a = " + "1" * 10_000, "is not TOML"),
    "missing table": (GOOD[: GOOD.index("[mailbox]")], '"mailbox" is missing'),
    "missing key": (change("num_irqs = 16\n", ""), r'"num_irqs" is missing in core'),
    "core": (change("cortex-m4", "cortex-m5"), r"core\.model = 'cortex-m5': unknown; did you mean .*cortex-m33"),
    "unknown key": (change("pool = true", "pol = true"), r'unknown key "memory\[shm\]\.pol".*did you mean "pool"'),
    "unknown table": (GOOD + "[mailbocks]\n", r'unknown key "mailbocks".*did you mean "mailbox"'),
    "type": (change("clock_hz = 1_000_000", 'clock_hz = "fast"'), r"core\.clock_hz = 'fast': it must be an integer"),
    "bool for int": (change("num_irqs = 16", "num_irqs = true"), r"num_irqs = True: it must be an integer"),
    "range": (change("num_irqs = 16", "num_irqs = 481"), r"num_irqs = 0x1e1: it must be between 0x1 and 0x1e0"),
    "page": (change("size = 0x1000\n", "size = 0x1001\n"), r"memory\[ram\]\.size = 0x1001: .* multiple of 0x1000"),
    "zero size": (change("size = 0x1000\n", "size = 0\n"), r"memory\[ram\]\.size = 0x0"),
    "space": (change("da = 0x1000_0000", "da = 0xFFFF_F000").replace("size = 0x1000\np", "size = 0x2000\np"), "beyond"),
    "overlap": (change("0x3000_0000", "0x0"), r'memory "shm" at 0x0..0x1000 overlaps memory "ram"'),
    "device in memory": (
        change("base = 0x4000_0000", "base = 0x1000_0800"),
        "the mailbox at 0x10000800.* overlaps",
    ),
    "private bus": (change("da = 0x1000_0000", "da = 0xE000_0000"), "private peripheral bus"),
    "no pool": (change("pool = true", "pool = false"), "no .*pool = true"),
    "irq": (change("receive_irq = 1", "receive_irq = 16"), r"mailbox\.receive_irq = 0x10"),
    "channels": (change("[1, 2]", "[1, 1]"), "each once"),
    "channel": (change("[1, 2]", "[0, 2]"), r"vring_channels = \[0, 2\]"),
    "shutdown": (GOOD + "shutdown_channel = 2\n", "belongs to a vring"),
    "vectors": (change("vectors = 0", "vectors = 0x2000"), r"boot\.vectors = 0x2000: no .*memory.* is there"),
    "vector alignment": (change("vectors = 0", "vectors = 0x10"), "multiple of 0x80"),
    "name twice": (change('name = "shm"', 'name = "ram"'), '"ram" is used twice'),
    "uart type": (GOOD + '[[uart]]\nname="u"\ntype="8250"\nbase=0x5000_0000\n', r"uart\[u\]\.type = '8250'.*16550"),
    "uart table": (GOOD + '[uart]\nname="u"\n', r"write \[\[uart\]\]"),
    "stream": (GOOD + '[[uart]]\nname="semihosting"\ntype="pl011"\nbase=0x5000_0000\n', "semihosting console"),
    "stride": (GOOD + '[[uart]]\nname="u"\ntype="pl011"\nbase=0x5000_0000\nstride=4\n', "only a 16550"),
    "interrupts on arm": (GOOD + "[interrupts]\nclint=0\nplic=0\n", "NVIC"),
    "riscv without interrupts": (RISCV[: RISCV.index("[interrupts]")], '"interrupts" is missing'),
    "riscv priority bits": (change("num_irqs = 16", "num_irqs = 16\npriority_bits = 3", RISCV), "has none"),
    "riscv entry": ("[boot]\nentry = 0x100\n" + RISCV, r"boot\.entry = 0x100: no .*memory"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_board_names_file_key_value_and_remedy(case: str) -> None:
    text, message = BROKEN[case]
    with pytest.raises(BoardError, match=message) as caught:
        parse_board(text, name="bad", path="some/bad.toml")
    assert "some/bad.toml" in str(caught.value)


PERIPHERAL = '\n[[peripheral]]\nname = "p"\ntype = "registers"\nbase = 0x4100_0000\nsize = 0x100\n'
BROKEN_PERIPHERALS = {
    "reset key": (PERIPHERAL + 'reset = { "zero" = 1 }\n', '"zero" is no offset'),
    "reset offset": (PERIPHERAL + 'reset = { "0x100" = 1 }\n', "multiple of 4 below 0x100"),
    "reset value": (PERIPHERAL + 'reset = { "0x10" = 0x1_0000_0000 }\n', "32 bits"),
    "ones": (PERIPHERAL + "ones = [1]\n", "must be a table"),
    "set_clear": (PERIPHERAL + "set_clear = [[0, 4]]\n", "whole pairs"),
    "follow": (PERIPHERAL + "follow = [[0, 1, 2]]\n", "lists of 4 integers"),
    "follow offset": (PERIPHERAL + "follow = [[0x200, 1, 0, 1]]\n", "offset of the source"),
    "irq": (PERIPHERAL + "irq = 3\n", 'only a peripheral of type "stm32-timer"'),
    "window in window": (PERIPHERAL + PERIPHERAL.replace('"p"', '"q"'), "overlaps"),
    "size": (PERIPHERAL.replace("0x100\n", "0x2000_0000\n"), "between"),
}


@pytest.mark.parametrize("case", BROKEN_PERIPHERALS)
def test_a_broken_peripheral_is_refused(case: str) -> None:
    text, message = BROKEN_PERIPHERALS[case]
    with pytest.raises(BoardError, match=message):
        parse_board(GOOD + text, name="bad")


def test_devices_may_lie_inside_a_window_of_registers() -> None:
    window = '[[peripheral]]\nname = "w"\ntype = "registers"\nbase = 0x4000_0000\nsize = 0x10000\n'
    board = parse_board(GOOD + window + '[[uart]]\nname = "u"\ntype = "cmsdk"\nbase = 0x4000_1000\n', name="good")
    assert board.peripherals[0].size == 0x10000
    with pytest.raises(BoardError, match='overlaps peripheral "w"'):
        parse_board(GOOD + window.replace("0x4000_0000", "0x1000_0000"), name="bad")


def test_boards_for_an_image_are_those_with_its_machine_and_memory() -> None:
    assert boards_for(image()) == ("stm32mp157", "virt-m0", "virt-m33", "virt-m4", "virt-m7")
    high = Segment(da=0x80000000, size=4, data=b"abcd", va=0)
    assert boards_for(image(EM_RISCV, (high,))) == ("virt-rv32",)
    assert boards_for(image(EM_RISCV, (high,), format="elf64")) == ("virt-rv64",)
    assert boards_for(image(None, (high,), format="raw")) == ("virt-rv32", "virt-rv64")
    assert boards_for(image(EM_ARM, (high,))) == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (image(EM_RISCV), r'"test\.elf" is a 32-bit little-endian .* cortex-m4 .*boards that run it: virt-rv32'),
        (image(EM_RISCV, format="elf64"), r"boards that run it: virt-rv64$"),
        (image(EM_ARM, byte_order="big"), r"big-endian.*no board that comes with OpenAMP runs it"),
        (image(62, format="elf64"), "no board that comes with OpenAMP runs it"),
    ],
)
def test_a_board_of_another_machine_names_the_boards_that_fit(wrong: FirmwareImage, message: str) -> None:
    with pytest.raises(BoardError, match=message):
        check_image(load_board("virt-m4"), wrong)


def test_a_segment_outside_the_memory_names_itself_the_memory_and_boards_that_fit() -> None:
    far = Segment(da=0x20000000, size=0x10, data=b"", va=0, name="data")
    with pytest.raises(BoardError, match=r"segment data .* at 0x20000000..0x20000010 .*retram 0x0..0x10000.*link it"):
        check_image(load_board("virt-m4"), image(segments=(*image().segments, far)))
    high = Segment(da=0x80000000, size=4, data=b"abcd", va=0, name="text")
    with pytest.raises(BoardError, match=r"it fits on virt-rv32, virt-rv64"):
        check_image(load_board("virt-m4"), image(None, (high,), format="raw"))


def test_a_segment_may_end_with_the_memory_but_not_cross_its_end() -> None:
    board = load_board("virt-m4")
    fits = Segment(da=0xFF00, size=0x100, data=b"", va=0)
    crosses = Segment(da=0xFF00, size=0x101, data=b"", va=0)
    assert board.misfit(image(segments=(fits,))) is None
    assert board.misfit(image(segments=(crosses,))) is crosses


@pytest.mark.parametrize(
    "segments",
    [
        (Segment(da=0x10000000, size=8, data=VECTORS, va=0),),
        (Segment(da=0, size=8, data=b"", va=0),),
        (Segment(da=0, size=4, data=VECTORS[:4], va=0),),
    ],
    ids=["elsewhere", "zeros", "half"],
)
def test_an_image_without_a_vector_table_is_refused(segments: tuple[Segment, ...]) -> None:
    with pytest.raises(BoardError, match=r"no vector table at 0x0.*link the section"):
        check_image(load_board("virt-m4"), image(segments=segments))


def test_a_board_can_be_built_by_a_program() -> None:
    board = parse_board(GOOD, name="mine")
    assert isinstance(board, Board)
    assert load_board(board) is board
    assert board.path == ""
