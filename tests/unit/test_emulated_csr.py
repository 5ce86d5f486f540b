"""The control and status registers: what each holds, and what trap entry and return do to them."""

from __future__ import annotations

import pytest

from openamp.platforms.emulated.csr import MACHINE, USER, CsrFile, csr_name

MSTATUS, MISA, MIE, MTVEC, MEPC, MCAUSE, MIP = 0x300, 0x301, 0x304, 0x305, 0x341, 0x342, 0x344
MCOUNTINHIBIT, MCYCLE, MINSTRET, MCYCLEH, CYCLE, TIME = 0x320, 0xB00, 0xB02, 0xB80, 0xC00, 0xC01


class FakeHart:
    """What the registers see of a core."""

    def __init__(self) -> None:
        self.instructions = 0
        self.cycles = 0
        self.float = 0
        self.pending = 0
        self.notices = 0

    def time(self) -> int:
        return 0x1_0000_0002

    def pending_interrupts(self) -> int:
        return self.pending

    def float_state(self) -> int:
        return self.float

    def set_float_state(self, state: int) -> None:
        self.float = state

    def interrupts_changed(self) -> None:
        self.notices += 1


class Bench:
    """A register file and its fake core."""

    def __init__(self, xlen: int) -> None:
        self.hart = FakeHart()
        self.xlen = xlen
        self.csr = CsrFile(self.hart, xlen=xlen, hart_id=5)

    def read(self, number: int) -> int:
        return self.csr.table[number][0]()

    def write(self, number: int, value: int) -> None:
        self.csr.table[number][1](value)


@pytest.fixture(params=[32, 64])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_every_register_reads_within_its_width_and_takes_any_value(bench: Bench) -> None:
    for number in bench.csr.table:
        for value in (0, (1 << bench.xlen) - 1, 0x5555_5555, 1):
            bench.write(number, value)
            assert 0 <= bench.read(number) < 1 << bench.xlen, csr_name(number)


def test_misa_names_the_extensions(bench: Bench) -> None:
    misa = bench.read(MISA)
    letters = "".join(chr(97 + bit) for bit in range(26) if misa >> bit & 1)
    assert letters == "acdfimu"
    assert misa >> bench.xlen - 2 == bench.xlen // 32
    bench.write(MISA, 0)
    assert bench.read(MISA) == misa


def test_mstatus_keeps_legal_values_only(bench: Bench) -> None:
    bench.write(MSTATUS, 1 << 11)
    assert bench.read(MSTATUS) >> 11 & 3 == MACHINE, "supervisor mode does not exist: the mode stays"
    bench.write(MSTATUS, 0)
    bench.write(MSTATUS, 2 << 11)
    assert bench.read(MSTATUS) >> 11 & 3 == USER
    bench.write(MSTATUS, (1 << bench.xlen) - 1)
    low = bench.read(MSTATUS) & 0x7FFF_FFFF
    assert low == 1 << 3 | 1 << 7 | 3 << 11 | 3 << 13 | 1 << 17 | 1 << 21
    assert bench.read(MSTATUS) >> bench.xlen - 1 == 1, "SD follows FS"
    if bench.xlen == 64:
        assert bench.read(MSTATUS) >> 32 & 3 == 2, "UXL is 64 bits"


def test_a_write_that_enables_interrupts_is_noticed(bench: Bench) -> None:
    bench.write(MSTATUS, 8)
    bench.write(MSTATUS, 8)
    bench.write(MSTATUS, 0)
    assert bench.hart.notices == 1
    bench.write(MIE, 8)
    assert bench.hart.notices == 2


def test_mie_has_three_bits_and_mip_none_to_write(bench: Bench) -> None:
    bench.write(MIE, 0xFFFF_FFFF)
    assert bench.read(MIE) == 0x888
    bench.hart.pending = 0x80
    bench.write(MIP, 0)
    assert bench.read(MIP) == 0x80


@pytest.mark.parametrize("mode", [2, 3])
def test_a_reserved_mode_of_mtvec_is_refused(bench: Bench, mode: int) -> None:
    bench.write(MTVEC, 0x8000_0001)
    bench.write(MTVEC, 0x9000_0000 | mode)
    assert bench.read(MTVEC) == 0x8000_0001


def test_mepc_is_even(bench: Bench) -> None:
    bench.write(MEPC, 0x8000_0003)
    assert bench.read(MEPC) == 0x8000_0002


def test_a_trap_and_the_return_from_it(bench: Bench) -> None:
    csr = bench.csr
    bench.write(MTVEC, 0x8000_0101)
    bench.write(MSTATUS, 8)
    assert csr.enter(7, 0, 0x8000_0010, interrupt=True) == 0x8000_0100 + 28
    assert bench.read(MCAUSE) == 7 | 1 << bench.xlen - 1
    assert bench.read(MEPC) == 0x8000_0010
    assert bench.read(MSTATUS) & 0x1888 == 0x1880
    assert not csr.interrupts_enabled
    assert csr.enter(2, 0x1234, 0x8000_0020, interrupt=False) == 0x8000_0100, "exceptions go to the base"
    assert bench.read(MSTATUS) & 0x1888 == 0x1800
    assert csr.mtval == 0x1234
    assert csr.leave() == 0x8000_0020
    assert bench.read(MSTATUS) & 0x1888 == 0x80, "MPIE becomes 1, MPP user"
    assert csr.privilege == MACHINE


def test_user_mode_is_entered_by_return_and_left_by_a_trap(bench: Bench) -> None:
    csr = bench.csr
    bench.write(MSTATUS, 1 << 17)
    csr.leave()
    assert csr.privilege == USER
    assert csr.interrupts_enabled, "machine interrupts are always on in user mode"
    assert not csr.mstatus & 1 << 17, "MPRV ends with machine mode"
    csr.enter(8, 0, 0x8000_0000, interrupt=False)
    assert csr.privilege == MACHINE
    assert bench.read(MSTATUS) >> 11 & 3 == USER


def test_counters_follow_the_core_and_can_be_set_and_stopped(bench: Bench) -> None:
    hart = bench.hart
    hart.cycles, hart.instructions = 100, 60
    assert (bench.read(MCYCLE), bench.read(CYCLE), bench.read(MINSTRET)) == (100, 100, 60)
    bench.write(MCYCLE, 7)
    hart.cycles += 5
    assert bench.read(MCYCLE) == 12
    bench.write(MCOUNTINHIBIT, 1)
    hart.cycles += 50
    assert bench.read(MCYCLE) == 12
    bench.write(MCYCLE, 20)
    assert bench.read(MCYCLE) == 20
    bench.write(MCOUNTINHIBIT, 0)
    hart.cycles += 1
    assert bench.read(MCYCLE) == 21
    bench.write(MCOUNTINHIBIT, 0xFFFF_FFFF)
    assert bench.read(MCOUNTINHIBIT) == 5


def test_counters_have_64_bits(bench: Bench) -> None:
    if bench.xlen == 32:
        bench.write(MCYCLE, 0xFFFF_FFFF)
        bench.write(MCYCLEH, 3)
        bench.hart.cycles += 1
        assert (bench.read(MCYCLE), bench.read(MCYCLEH)) == (0, 4)
        assert (bench.read(TIME), bench.read(0xC81)) == (2, 1)
    else:
        bench.write(MCYCLE, (1 << 64) - 1)
        bench.hart.cycles += 1
        assert bench.read(MCYCLE) == 0
        assert bench.read(TIME) == 0x1_0000_0002
        assert MCYCLEH not in bench.csr.table


def test_identification_and_absent_features_read_as_zero(bench: Bench) -> None:
    assert bench.read(0xF14) == 5
    for number in (0xF11, 0xF12, 0xF13, 0xB03, 0xC1F, 0x323, 0x7A0):
        bench.write(number, 1)
        assert bench.read(number) == 0


def test_what_does_not_exist_is_not_there(bench: Bench) -> None:
    for number in (0x100, 0x180, 0x302, 0x303, 0x7B0, 0x3C0, 0x001, 0x008):
        assert number not in bench.csr.table, csr_name(number)
    assert (0x310 in bench.csr.table) == (bench.xlen == 32)
    assert (0x3A1 in bench.csr.table) == (bench.xlen == 32)


def test_protection_registers_store_and_lock(bench: Bench) -> None:
    bench.write(0x3B0, (1 << bench.xlen) - 1)
    assert bench.read(0x3B0) == (1 << (32 if bench.xlen == 32 else 54)) - 1
    bench.write(0x3A0, 0xFF1F)
    assert bench.read(0x3A0) == 0x9F1F
    bench.write(0x3A0, 0)
    bench.write(0x3B1, 1)
    assert bench.read(0x3A0) == 0x9F00, "the second entry is locked"
    assert bench.read(0x3B1) == 0
    bench.csr.reset()
    assert bench.read(0x3A0) == 0


def test_only_enabled_counters_are_for_user_mode(bench: Bench) -> None:
    bench.write(0x306, 0b010)
    assert [bench.csr.user_counter_allowed(number) for number in (0xC00, 0xC01, 0xC02, 0xC81)] == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("number", "name"),
    [(0x300, "mstatus"), (0x3B5, "pmpaddr5"), (0x3A1, "pmpcfg1"), (0xC03, "hpmcounter3"), (0xB9F, "mhpmcounter31h")],
)
def test_names(number: int, name: str) -> None:
    assert csr_name(number) == name
    assert csr_name(0x7C0) == "csr 0x7c0"
