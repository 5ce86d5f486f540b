"""Device models under firmware that writes anything anywhere: values of the right width, and levels that are true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openamp.platforms.emulated.board import PeripheralSpec, UartSpec
from openamp.platforms.emulated.devices import AccessLog, Device, HardwareSemaphores, Ipcc, Registers, Timer
from openamp.platforms.emulated.uart import make_uart

SIZE = 0x100
offsets = st.integers(0, SIZE - 1)
sizes = st.sampled_from([1, 2, 4, 8])
values = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, 3, 0x3F, 0x10001, 0x3F003F, 0xFFFFFFFF]))
accesses = st.lists(st.tuples(st.booleans(), offsets, sizes, values), max_size=40)


class Line:
    """An interrupt line that remembers its level."""

    def __init__(self) -> None:
        self.level = False

    def __call__(self, level: bool) -> None:
        self.level = level


def access(device: Device, steps: list[tuple[bool, int, int, int]]) -> None:
    for write, offset, size, value in steps:
        offset = min(offset, device.size - size) & -size
        if write:
            device.write(offset, size, value & (1 << 8 * size) - 1)
        else:
            assert 0 <= device.read(offset, size) < 1 << 8 * size


@given(accesses, st.sampled_from(["16550", "stm32-usart", "pl011", "cmsdk"]), st.binary(max_size=8))
def test_uarts(steps: list[tuple[bool, int, int, int]], kind: str, data: bytes) -> None:
    sent: list[int] = []
    line = Line()
    uart = make_uart(UartSpec("u", kind, 0x1000, 1), line, lambda stream, byte: sent.append(byte))
    uart.feed(data)
    access(uart, steps)
    assert all(0 <= byte < 256 for byte in sent)
    assert len(uart.received) <= len(data)
    uart.reset()
    assert not line.level


@given(accesses)
def test_registers_and_semaphores(steps: list[tuple[bool, int, int, int]]) -> None:
    log = AccessLog()
    spec = PeripheralSpec(
        "p",
        "registers",
        0,
        SIZE,
        reset={0: 5},
        ones={4: 0x80000000},
        set_clear=((0x10, 0x20),),
        follow=((0x20, 2, 0x20, 1),),
    )
    registers = Registers(spec, log)
    access(registers, steps)
    assert registers.read(4, 4) & 0x80000000
    assert registers.read(0x20, 4) >> 1 & 1 == registers.read(0x20, 4) & 1
    assert registers.read(0x10, 4) == registers.read(0x14, 4)
    access(HardwareSemaphores(PeripheralSpec("h", "hsem", 0, 0x400)), [(w, 4 * o, s, v) for w, o, s, v in steps])


@given(st.lists(st.tuples(accesses, st.integers(0, 1 << 40)), max_size=6))
def test_timer(stages: list[tuple[list[tuple[bool, int, int, int]], int]]) -> None:
    now = 0
    line = Line()
    timer = Timer(PeripheralSpec("t", "stm32-timer", 0, 0x400), line, lambda: now, lambda: None)
    for steps, passed in stages:
        access(timer, [(write, offset & 0x3F, size, value) for write, offset, size, value in steps])
        due = timer.due()
        now += passed
        timer.advance()
        if due is not None:
            assert (timer.read(Timer.SR, 4) & 1) or now < due or timer.read(Timer.CR1, 4) & 2
            assert (timer.due() or now + 1) > now
        assert line.level == bool(timer.read(Timer.SR, 4) & timer.read(Timer.DIER, 4) & 1)


@given(st.lists(st.one_of(accesses, st.integers(1, 63)), max_size=10))
def test_ipcc_levels_follow_from_the_registers(stages: list[list[tuple[bool, int, int, int]] | int]) -> None:
    receive, free = Line(), Line()
    ipcc = Ipcc(0, 0x400, receive, free, lambda channels: None)
    for stage in stages:
        if isinstance(stage, int):
            ipcc.kick(stage)
        else:
            access(ipcc, stage)
        control, mask, flags = (ipcc.read(offset, 4) for offset in (0x10, 0x14, 0x0C))
        assert receive.level == bool(control & 1 and flags & ~mask)
        assert free.level == bool(control & 0x10000 and ~mask >> 16 & 0x3F)
        assert ipcc.receive_pending == receive.level
