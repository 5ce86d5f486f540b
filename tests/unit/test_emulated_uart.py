"""Serial ports: output streams, input, interrupts."""

from __future__ import annotations

import pytest

from openamp.platforms.emulated.board import UartSpec
from openamp.platforms.emulated.uart import Cmsdk, Ns16550, Pl011, Stm32Usart, Uart, make_uart


class Bench:
    """A port with its line and interrupt in the test's hand."""

    def __init__(self, kind: str, stride: int = 1) -> None:
        self.sent = bytearray()
        self.level = False
        spec = UartSpec(name="uart0", type=kind, base=0x10000000, irq=1, stride=stride)
        self.uart: Uart = make_uart(spec, self.drive, self.send)

    def drive(self, level: bool) -> None:
        self.level = level

    def send(self, stream: str, byte: int) -> None:
        assert stream == "uart0"
        self.sent.append(byte)

    def read(self, offset: int, size: int = 4) -> int:
        return self.uart.read(offset, size)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        self.uart.write(offset, size, value)


def test_16550_polled_output_and_input() -> None:
    bench = Bench("16550")
    for byte in b"hi\n":
        assert bench.read(5, 1) & 0x20
        bench.write(0, byte, 1)
    assert bench.sent == b"hi\n"
    assert bench.read(5, 1) & 1 == 0
    bench.uart.feed(b"ok")
    assert bench.read(5, 1) & 1
    assert bytes((bench.read(0, 1), bench.read(0, 1))) == b"ok"
    assert bench.read(5, 1) & 1 == 0
    assert bench.read(0, 1) == 0


def test_16550_divisor_latch_hides_data_and_interrupt_enable() -> None:
    bench = Bench("16550")
    bench.write(3, 0x83, 1)
    bench.write(0, 0x12, 1)
    bench.write(1, 0x34, 1)
    assert (bench.read(0, 1), bench.read(1, 1)) == (0x12, 0x34)
    bench.write(3, 0x03, 1)
    assert bench.sent == b""
    assert bench.read(1, 1) == 0
    assert bench.read(3, 1) == 3


def test_16550_interrupts_identify_themselves() -> None:
    bench = Bench("16550")
    assert bench.read(2, 1) == 1
    bench.write(2, 1, 1)
    bench.write(1, 0b01, 1)
    bench.uart.feed(b"x")
    assert bench.level
    assert bench.read(2, 1) == 0xC4
    bench.read(0, 1)
    assert not bench.level
    bench.write(1, 0b10, 1)
    assert bench.level, "the transmitter is empty"
    assert bench.read(2, 1) == 0xC2
    assert not bench.level, "reading the identification clears it"
    bench.write(0, 0x41, 1)
    assert bench.level
    bench.uart.feed(b"y")
    bench.write(2, 2, 1)
    assert not bench.uart.received


def test_16550_registers_may_be_four_bytes_apart() -> None:
    bench = Bench("16550", stride=4)
    bench.write(0, 0x41, 4)
    bench.write(7 * 4, 0x5A, 4)
    assert bench.sent == b"A"
    assert bench.read(7 * 4, 4) == 0x5A
    assert bench.read(5 * 4, 1) == 0x60
    assert bench.uart.size == 32


def test_stm32_polled_and_interrupt_driven() -> None:
    bench = Bench("stm32-usart")
    bench.write(Stm32Usart.CR1, 0b1101)
    status = bench.read(Stm32Usart.ISR)
    assert status & 0x6000C0 == 0x6000C0, "acknowledged, empty, complete"
    bench.write(Stm32Usart.TDR, 0x41)
    assert bench.sent == b"A"
    assert not bench.level
    bench.write(Stm32Usart.CR1, 0b1101 | 1 << 5)
    bench.uart.feed(b"z")
    assert bench.level
    assert bench.read(Stm32Usart.ISR) & 0x20
    assert bench.read(Stm32Usart.RDR) == ord("z")
    assert not bench.level


def test_stm32_transmission_complete_is_cleared_by_icr() -> None:
    bench = Bench("stm32-usart")
    bench.write(Stm32Usart.CR1, 0b1101 | 1 << 6)
    assert bench.level
    bench.write(Stm32Usart.ICR, 1 << 6)
    assert not bench.level
    bench.write(Stm32Usart.TDR, 0x41)
    assert bench.level
    bench.write(0x0C, 0x1B2)
    assert bench.read(0x0C) == 0x1B2
    bench.uart.feed(b"old")
    bench.write(Stm32Usart.RQR, 8)
    assert bench.read(Stm32Usart.RDR) == 0


def test_pl011_flags_and_masked_interrupts() -> None:
    bench = Bench("pl011")
    assert bench.read(0x18) == 0x90
    bench.write(0x00, 0x41)
    assert bench.sent == b"A"
    assert bench.read(0x3C) == 0x20
    assert not bench.level
    bench.write(0x38, 0x30)
    assert bench.level
    bench.write(0x44, 0x20)
    assert not bench.level
    bench.uart.feed(b"q")
    assert bench.level
    assert (bench.read(0x40), bench.read(0x18)) == (0x10, 0x80)
    assert bench.read(0x00) == ord("q")
    assert not bench.level
    assert bench.read(0x30) == 0x300
    assert bytes(bench.read(0xFE0 + 4 * n) for n in range(8)) == bytes.fromhex("111034000df005b1")


def test_cmsdk_sends_when_enabled() -> None:
    bench = Bench("cmsdk")
    bench.write(0x00, 0x41)
    assert bench.sent == b""
    bench.write(0x08, 0b1111)
    bench.write(0x00, 0x42)
    assert bench.sent == b"B"
    assert bench.level
    assert bench.read(0x0C) == 1
    bench.write(0x0C, 1)
    assert not bench.level
    bench.uart.feed(b"w")
    assert (bench.read(0x04), bench.read(0x0C)) == (2, 2)
    assert bench.read(0x00) == ord("w")
    assert not bench.level
    bench.write(0x10, 16)
    assert bench.read(0x10) == 16


@pytest.mark.parametrize("kind", ["16550", "stm32-usart", "pl011", "cmsdk"])
def test_reset_forgets_input_and_lowers_the_line(kind: str) -> None:
    bench = Bench(kind)
    for offset in range(0, bench.uart.size, 4):
        bench.write(offset, 0xFFFFFFFF)
        bench.read(offset)
    bench.uart.feed(b"left over")
    bench.uart.reset()
    assert not bench.uart.received
    assert not bench.level
    assert not bench.level


def test_each_type_has_its_model() -> None:
    kinds = {"16550": Ns16550, "stm32-usart": Stm32Usart, "pl011": Pl011, "cmsdk": Cmsdk}
    for kind, model in kinds.items():
        assert type(Bench(kind).uart) is model
