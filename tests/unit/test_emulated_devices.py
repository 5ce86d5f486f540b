"""Device models: mailbox, registers without a model, hardware semaphores, timer."""

from __future__ import annotations

from openamp.platforms.emulated.board import PeripheralSpec
from openamp.platforms.emulated.devices import AccessLog, HardwareSemaphores, Ipcc, Registers, Timer

C1CR, C1MR, C1SCR, C1TOC2SR = 0x00, 0x04, 0x08, 0x0C
C2CR, C2MR, C2SCR, C2TOC1SR = 0x10, 0x14, 0x18, 0x1C


class Bench:
    """An IPCC with its wires open."""

    def __init__(self) -> None:
        self.receive = False
        self.free = False
        self.edges: list[str] = []
        self.kicks: list[int] = []
        self.ipcc = Ipcc(0x4C001000, 0x400, self.set_receive, self.set_free, self.kicks.append)

    def set_receive(self, level: bool) -> None:
        self.receive = level
        self.edges.append(f"receive {level}")

    def set_free(self, level: bool) -> None:
        self.free = level
        self.edges.append(f"free {level}")

    def read(self, offset: int) -> int:
        return self.ipcc.read(offset, 4)

    def write(self, offset: int, value: int) -> None:
        self.ipcc.write(offset, 4, value)


def test_ipcc_a_kick_of_the_host_interrupts_until_the_firmware_clears_its_flag() -> None:
    bench = Bench()
    bench.write(C2CR, 0x1)
    bench.write(C2MR, 0x3F003D)  # channel 2 unmasked
    assert bench.ipcc.kick(0b10)
    assert bench.read(C1TOC2SR) == 0b10
    assert bench.receive
    assert not bench.ipcc.kick(0b10), "the flag is set already"
    bench.write(C2SCR, 0b01)
    assert bench.receive, "another channel's flag was cleared"
    bench.write(C2SCR, 0b10)
    assert bench.read(C1TOC2SR) == 0
    assert not bench.receive
    assert bench.edges == ["receive True", "receive False"]


def test_ipcc_masks_and_enable_are_levels() -> None:
    bench = Bench()
    bench.ipcc.kick(0b100)
    assert not bench.receive
    bench.write(C2CR, 1)
    assert not bench.receive, "all channels are masked after reset"
    bench.write(C2MR, 0x3F003F & ~0b100)
    assert bench.receive
    bench.write(C2CR, 0)
    assert not bench.receive
    bench.write(C2CR, 1)
    assert bench.receive
    bench.write(C2MR, 0x3F003F)
    assert not bench.receive


def test_ipcc_a_kick_of_the_firmware_reaches_the_host_at_once_and_the_channel_is_free_again() -> None:
    bench = Bench()
    bench.write(C2SCR, 0b01 << 16)
    assert bench.kicks == [0b01]
    assert bench.read(C2TOC1SR) == 0
    bench.write(C2SCR, 0b11 << 16)
    assert bench.kicks == [0b01, 0b11]


def test_ipcc_a_free_unmasked_channel_interrupts_until_it_is_masked() -> None:
    bench = Bench()
    bench.write(C2CR, 0x10000)
    assert not bench.free
    bench.write(C2MR, 0x3E003F)  # transmit channel 1 unmasked
    assert bench.free, "the channel is free now, and was before"
    bench.write(C2SCR, 0b01 << 16)
    assert bench.free
    bench.write(C2MR, 0x3F003F)
    assert not bench.free


def test_ipcc_one_write_may_clear_and_set() -> None:
    bench = Bench()
    bench.ipcc.kick(0b11)
    bench.write(C2SCR, 0b01 << 16 | 0b10)
    assert bench.read(C1TOC2SR) == 0b01
    assert bench.kicks == [0b01]


def test_ipcc_firmware_sees_both_banks_and_the_identification() -> None:
    bench = Bench()
    bench.write(C1CR, 0xFFFFFFFF)
    bench.write(C1MR, 0xFFFFFFFF)
    assert (bench.read(C1CR), bench.read(C1MR)) == (0x10001, 0x3F003F)
    assert (bench.read(C2CR), bench.read(C2MR)) == (0, 0x3F003F)
    assert (bench.read(C1SCR), bench.read(C2SCR)) == (0, 0)
    assert bench.read(0x3F0) == 6
    assert bench.read(0x200) == 0
    bench.write(0x200, 1)
    bench.write(C1SCR, 0b1 << 16)
    assert bench.read(C1TOC2SR) == 1, "processor 1's own register bank sends to processor 2"


def test_ipcc_reset_lowers_both_lines() -> None:
    bench = Bench()
    bench.write(C2CR, 0x10001)
    bench.write(C2MR, 0)
    bench.ipcc.kick(0x3F)
    assert bench.receive
    assert bench.free
    assert bench.ipcc.receive_pending
    assert bench.ipcc.receive_enabled
    bench.ipcc.reset()
    assert not bench.receive
    assert not bench.free
    assert (bench.read(C2CR), bench.read(C2MR), bench.read(C1TOC2SR)) == (0, 0x3F003F, 0)


def test_ipcc_narrow_reads_see_their_bytes() -> None:
    bench = Bench()
    assert bench.ipcc.read(C2MR, 1) == 0x3F
    assert bench.ipcc.read(C2MR + 2, 2) == 0x3F
    assert bench.ipcc.read(C2CR, 8) == 0x3F003F << 32
    bench.ipcc.write(C2MR, 1, 0xFF)
    assert bench.read(C2MR) == 0x3F


def registers(**keys: object) -> Registers:
    spec = PeripheralSpec(name="rcc", type="registers", base=0x50000000, size=0x1000, **keys)  # type: ignore[arg-type]
    return Registers(spec, AccessLog())


def test_registers_read_back_what_was_written_and_begin_as_the_board_says() -> None:
    device = registers(reset={0x10: 5})
    assert device.read(0x10, 4) == 5
    device.write(0x10, 4, 6)
    device.write(0x20, 4, 0x12345678)
    device.write(0x21, 1, 0xFF)
    device.write(0x22, 2, 0xABCD)
    assert device.read(0x20, 4) == 0xABCDFF78
    assert device.read(0x23, 1) == 0xAB
    device.write(0x40, 8, 0x1122334455667788)
    assert (device.read(0x40, 4), device.read(0x44, 4)) == (0x55667788, 0x11223344)
    assert device.read(0x40, 8) == 0x1122334455667788
    device.reset()
    assert (device.read(0x10, 4), device.read(0x20, 4)) == (5, 0)


def test_registers_ready_bits_follow_their_enable_bits() -> None:
    device = registers(ones={0x48: 1 << 31}, follow=((0x80, 2, 0x80, 1), (0x808, 0x100, 0xC, 0x100)))
    assert device.read(0x48, 4) == 1 << 31
    device.write(0x48, 4, 3)
    assert device.read(0x48, 4) == 1 << 31 | 3
    assert device.read(0x80, 4) == 0
    device.write(0x80, 4, 1)
    assert device.read(0x80, 4) == 3
    device.write(0x80, 4, 2)
    assert device.read(0x80, 4) == 0, "ready goes when the enable bit goes"
    device.write(0xC, 4, 0x111)
    assert device.read(0x808, 4) == 0x100


def test_registers_set_and_clear_pairs() -> None:
    device = registers(set_clear=((0xC, 0x14), (0xA80, 0xA90)))
    device.write(0xC, 4, 0b0101)
    device.write(0xC, 4, 0b0010)
    device.write(0x10, 4, 0b0001)
    assert device.read(0xC, 4) == device.read(0x10, 4) == 0b0110
    device.write(0xA88, 4, 1)
    device.write(0xA89, 1, 1)
    assert device.read(0xA8C, 4) == 0x101


def test_registers_accesses_are_counted_by_address_and_kind_and_bounded() -> None:
    log = AccessLog(limit=2)
    device = Registers(PeripheralSpec("p", "registers", 0x40000000, 0x100), log)
    device.read(0x10, 4)
    device.read(0x10, 4)
    device.write(0x10, 4, 1)
    device.write(0x14, 4, 1)
    assert log.counts == {(0x40000010, "read"): 2, (0x40000010, "write"): 1}
    assert log.others == 1


def test_registers_remember_a_bounded_number() -> None:
    device = registers()
    device.LIMIT = 2
    for offset in (0, 4, 8):
        device.write(offset, 4, 7)
    assert [device.read(offset, 4) for offset in (0, 4, 8)] == [7, 7, 0]


def hsem() -> HardwareSemaphores:
    return HardwareSemaphores(PeripheralSpec("hsem", "hsem", 0x4C000000, 0x400, core_id=2))


def test_hsem_one_step_lock_reads_back_our_core() -> None:
    device = hsem()
    assert device.read(0x0C, 4) == 0
    assert device.read(0x80 + 0x0C, 4) == 0x80000200
    assert device.read(0x0C, 4) == 0x80000200
    device.write(0x0C, 4, 0x200)
    assert device.read(0x0C, 4) == 0


def test_hsem_two_step_lock_keeps_the_process() -> None:
    device = hsem()
    device.write(0x04, 4, 0x80000207)
    assert device.read(0x04, 4) == 0x80000207
    device.write(0x04, 4, 0x80000208)
    assert device.read(0x04, 4) == 0x80000207, "taken by another process"
    device.write(0x04, 4, 0x208)
    assert device.read(0x04, 4) == 0x80000207, "another process cannot release it"
    device.write(0x04, 4, 0x107)
    assert device.read(0x04, 4) == 0x80000207, "another core cannot release it"
    device.write(0x04, 4, 0x207)
    assert device.read(0x04, 4) == 0


def test_hsem_release_status_and_clear_by_key() -> None:
    device = hsem()
    device.write(0x110, 4, 0b1)
    device.read(0x80, 4)
    device.write(0x00, 4, 0x200)
    assert (device.read(0x118, 4), device.read(0x11C, 4)) == (1, 1)
    device.write(0x114, 4, 1)
    assert device.read(0x118, 4) == 0
    device.read(0x84, 4)
    device.write(0x144, 4, 0x1234_0000)
    device.write(0x140, 4, 0x4321_0200)
    assert device.read(0x04, 4) != 0, "wrong key"
    device.write(0x140, 4, 0x1234_0200)
    assert device.read(0x04, 4) == 0


class TimerBench:
    """A timer with a clock in the test's hand."""

    def __init__(self) -> None:
        self.now = 0
        self.level = False
        self.rescheduled = 0
        spec = PeripheralSpec("tim2", "stm32-timer", 0x40000000, 0x400, irq=28)
        self.timer = Timer(spec, self.drive, lambda: self.now, self.note)

    def drive(self, level: bool) -> None:
        self.level = level

    def note(self) -> None:
        self.rescheduled += 1

    def start(self, prescaler: int, reload: int) -> None:
        self.timer.write(Timer.PSC, 4, prescaler)
        self.timer.write(Timer.ARR, 4, reload)
        self.timer.write(Timer.EGR, 4, 1)
        self.timer.write(Timer.SR, 4, 0)
        self.timer.write(Timer.DIER, 4, 1)
        self.timer.write(Timer.CR1, 4, 1)


def test_timer_counts_and_interrupts_at_each_update() -> None:
    bench = TimerBench()
    bench.now = 1000
    bench.start(prescaler=9, reload=99)
    assert bench.rescheduled
    assert bench.timer.due() == 2000
    bench.now = 1505
    bench.timer.advance()
    assert not bench.level
    assert bench.timer.read(Timer.CNT, 4) == 50
    bench.now = 2000
    bench.timer.advance()
    assert bench.level
    assert bench.timer.read(Timer.SR, 4) == 1
    assert bench.timer.read(Timer.CNT, 4) == 0
    bench.timer.write(Timer.SR, 4, ~1 & 0xFFFFFFFF)
    assert not bench.level
    assert bench.timer.due() == 3000


def test_timer_missed_updates_make_one_interrupt() -> None:
    bench = TimerBench()
    bench.start(prescaler=0, reload=9)
    bench.now = 1234
    bench.timer.advance()
    assert bench.level
    assert bench.timer.due() == 1240


def test_timer_one_pulse_stops_at_the_update() -> None:
    bench = TimerBench()
    bench.start(prescaler=0, reload=9)
    bench.timer.write(Timer.CR1, 4, 0b1001)
    bench.now = 10
    bench.timer.advance()
    assert bench.level
    assert bench.timer.due() is None
    assert bench.timer.read(Timer.CR1, 4) & 1 == 0


def test_timer_stops_and_goes_on_where_it_was() -> None:
    bench = TimerBench()
    bench.start(prescaler=1, reload=99)
    bench.now = 20
    bench.timer.write(Timer.CR1, 4, 0)
    assert bench.timer.due() is None
    bench.now = 500
    assert bench.timer.read(Timer.CNT, 4) == 10
    bench.timer.write(Timer.CR1, 4, 1)
    assert bench.timer.due() == 500 + 180
    bench.timer.write(Timer.CNT, 4, 90)
    assert bench.timer.due() == 520


def test_timer_with_nothing_to_count_to_stands_still() -> None:
    bench = TimerBench()
    bench.start(prescaler=0, reload=0)
    assert bench.timer.due() is None
    bench.now = 100
    bench.timer.advance()
    assert not bench.level
    assert bench.timer.read(Timer.CNT, 4) == 0


def test_timer_disabled_updates_raise_no_flag_and_reset_stops_it() -> None:
    bench = TimerBench()
    bench.start(prescaler=0, reload=9)
    bench.timer.write(Timer.CR1, 4, 0b11)
    bench.now = 100
    bench.timer.advance()
    assert not bench.level
    bench.timer.write(0x18, 4, 0x68)
    assert bench.timer.read(0x18, 4) == 0x68
    bench.timer.reset()
    assert bench.timer.due() is None
    assert bench.timer.read(Timer.ARR, 4) == 0xFFFF
    assert bench.timer.read(0x18, 4) == 0


def test_every_register_can_be_read_and_written() -> None:
    for device in (Bench().ipcc, hsem(), TimerBench().timer):
        for offset in range(0, 0x400, 4):
            device.write(offset, 4, 0xFFFFFFFF)
            assert 0 <= device.read(offset, 4) <= 0xFFFFFFFF
