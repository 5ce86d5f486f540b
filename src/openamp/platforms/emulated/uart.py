"""Serial ports: what the firmware writes becomes a console stream, what the host feeds can be read by the firmware.

The line is infinitely fast: a transmitter is always ready, and all that was fed is there to be received. Where a real
part has a FIFO of fixed depth, ours holds everything.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable

from openamp.platforms.emulated.board import UartSpec
from openamp.platforms.emulated.devices import Device, IrqLine

__all__ = ["Cmsdk", "Ns16550", "Pl011", "Stm32Usart", "Uart", "make_uart"]

Output = Callable[[str, int], None]


class Uart(Device):
    """What all models share: the stream out, the bytes to receive, the interrupt line.

    Attributes:
        received: bytes that the firmware has not read yet.
    """

    def __init__(self, spec: UartSpec, irq: IrqLine, output: Output) -> None:
        """Creates the port.

        Args:
            spec: name and place.
            irq: its interrupt.
            output: called with the stream's name and each byte that the firmware sends.
        """
        super().__init__(spec.name, spec.base, spec.size)
        self.received: deque[int] = deque()
        self._irq = irq
        self._output = output
        self._level = False
        self._clear()

    def reset(self) -> None:
        self.received.clear()
        self._clear()
        self._level = False
        self._irq(False)

    def feed(self, data: bytes) -> None:
        """Lets the firmware receive `data`."""
        self.received.extend(data)
        self._update()

    def _send(self, value: int) -> None:
        self._output(self.name, value & 0xFF)

    def _receive(self) -> int:
        return self.received.popleft() if self.received else 0

    def _update(self) -> None:
        level = self._wants_interrupt()
        if level != self._level:
            self._level = level
            self._irq(level)

    @abstractmethod
    def _clear(self) -> None:
        """Puts the registers into their state after reset."""

    @abstractmethod
    def _wants_interrupt(self) -> bool:
        """Returns the level of the interrupt line."""


class Ns16550(Uart):
    """The 16550 of PCs and of QEMU's virt machines; registers of one byte, `stride` bytes apart."""

    def __init__(self, spec: UartSpec, irq: IrqLine, output: Output) -> None:
        self._stride = spec.stride
        super().__init__(spec, irq, output)

    def _clear(self) -> None:
        self._enable = self._line = self._modem = self._scratch = self._fifo = 0
        self._divisor = [0, 0]
        self._empty_interrupt = False

    def _wants_interrupt(self) -> bool:
        return bool((self._enable & 1 and self.received) or (self._enable & 2 and self._empty_interrupt))

    def read(self, offset: int, size: int) -> int:
        """Reads one register, whatever the size of the access."""
        return self.read_word(offset // self._stride)

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes one register, whatever the size of the access."""
        self.write_word(offset // self._stride, value & 0xFF)

    def read_word(self, offset: int) -> int:
        if offset < 2 and self._line & 0x80:
            return self._divisor[offset]
        value = 0
        if offset == 0:
            value = self._receive()
        elif offset == 1:
            value = self._enable
        elif offset == 2:
            value = self._identify()
        elif offset == 5:
            value = 0x60 | bool(self.received)
        elif offset == 6:
            value = 0xB0  # carrier, data set ready, clear to send
        else:
            value = {3: self._line, 4: self._modem, 7: self._scratch}.get(offset, 0)
        self._update()
        return value

    def _identify(self) -> int:
        fifo = 0xC0 if self._fifo & 1 else 0
        if self._enable & 1 and self.received:
            return fifo | 4
        if self._enable & 2 and self._empty_interrupt:
            self._empty_interrupt = False
            return fifo | 2
        return fifo | 1

    def write_word(self, offset: int, value: int) -> None:
        if offset < 2 and self._line & 0x80:
            self._divisor[offset] = value
        elif offset == 0:
            self._send(value)
            self._empty_interrupt = True
        elif offset == 1:
            self._empty_interrupt = self._empty_interrupt or bool(value & ~self._enable & 2)
            self._enable = value & 0xF
        elif offset == 2:
            self._fifo = value
            if value & 2:
                self.received.clear()
        elif offset == 3:
            self._line = value
        elif offset == 4:
            self._modem = value
        elif offset == 7:
            self._scratch = value
        self._update()


class Stm32Usart(Uart):
    """The USART of newer STM32 parts (ISR at 0x1C, RDR at 0x24, TDR at 0x28)."""

    CR1, CR2, CR3, RQR, ISR, ICR, RDR, TDR = 0x00, 0x04, 0x08, 0x18, 0x1C, 0x20, 0x24, 0x28
    _TRANSMIT_EMPTY, _COMPLETE, _NOT_EMPTY = 1 << 7, 1 << 6, 1 << 5
    _TRANSMIT_ACK, _RECEIVE_ACK, _FIFO_EMPTY = 1 << 21, 1 << 22, 1 << 23

    def _clear(self) -> None:
        self._others: dict[int, int] = {}
        self._control = 0
        self._complete = True

    def _status(self) -> int:
        value = self._TRANSMIT_EMPTY | self._FIFO_EMPTY
        value |= self._COMPLETE if self._complete else 0
        value |= self._NOT_EMPTY if self.received else 0
        if self._control & 1:
            value |= self._TRANSMIT_ACK if self._control & 8 else 0
            value |= self._RECEIVE_ACK if self._control & 4 else 0
        return value

    def _wants_interrupt(self) -> bool:
        enabled = self._TRANSMIT_EMPTY | self._COMPLETE | self._NOT_EMPTY
        return bool(self._control & 1 and self._status() & self._control & enabled)

    def read_word(self, offset: int) -> int:
        if offset == self.ISR:
            return self._status()
        if offset == self.CR1:
            return self._control
        if offset == self.RDR:
            value = self._receive()
            self._update()
            return value
        return self._others.get(offset, 0)

    def write_word(self, offset: int, value: int) -> None:
        if offset == self.TDR:
            self._send(value)
            self._complete = True
        elif offset == self.CR1:
            self._control = value
        elif offset == self.ICR:
            self._complete = self._complete and not value & self._COMPLETE
        elif offset == self.RQR:
            if value & 8:
                self.received.clear()
        elif offset not in (self.ISR, self.RDR):
            self._others[offset] = value
        self._update()


class Pl011(Uart):
    """Arm's PL011."""

    _IDENTIFICATION = (0x11, 0x10, 0x34, 0x00, 0x0D, 0xF0, 0x05, 0xB1)

    def _clear(self) -> None:
        self._others: dict[int, int] = {0x30: 0x300}
        self._mask = 0
        self._transmit_interrupt = False

    def _raw(self) -> int:
        return (0x10 if self.received else 0) | (0x20 if self._transmit_interrupt else 0)

    def _wants_interrupt(self) -> bool:
        return bool(self._raw() & self._mask)

    def read_word(self, offset: int) -> int:
        if offset == 0x00:
            value = self._receive()
            self._update()
            return value
        if offset >= 0xFE0:
            return self._IDENTIFICATION[offset - 0xFE0 >> 2]
        values = {
            0x18: 0x80 | (0 if self.received else 0x10),
            0x38: self._mask,
            0x3C: self._raw(),
            0x40: self._raw() & self._mask,
            0x44: 0,
        }
        return values.get(offset, self._others.get(offset, 0))

    def write_word(self, offset: int, value: int) -> None:
        if offset == 0x00:
            self._send(value)
            self._transmit_interrupt = True
        elif offset == 0x38:
            self._mask = value & 0x7FF
        elif offset == 0x44:
            self._transmit_interrupt = self._transmit_interrupt and not value & 0x20
        else:
            self._others[offset] = value
        self._update()


class Cmsdk(Uart):
    """The APB UART of Arm's Cortex-M system design kit (MPS2 boards)."""

    def _clear(self) -> None:
        self._control = 0
        self._divider = 0
        self._sent = False

    def _pending(self) -> int:
        return (1 if self._sent and self._control & 4 else 0) | (2 if self.received and self._control & 8 else 0)

    def _wants_interrupt(self) -> bool:
        return bool(self._pending())

    def read_word(self, offset: int) -> int:
        if offset == 0x00:
            value = self._receive()
            self._update()
            return value
        values = {0x04: 2 if self.received else 0, 0x08: self._control, 0x0C: self._pending(), 0x10: self._divider}
        return values.get(offset, 0)

    def write_word(self, offset: int, value: int) -> None:
        if offset == 0x00:
            if self._control & 1:
                self._send(value)
                self._sent = True
        elif offset == 0x08:
            self._control = value & 0x7F
        elif offset == 0x0C:
            self._sent = self._sent and not value & 1
        elif offset == 0x10:
            self._divider = value & 0xFFFFF
        self._update()


_MODELS: dict[str, type[Uart]] = {"16550": Ns16550, "stm32-usart": Stm32Usart, "pl011": Pl011, "cmsdk": Cmsdk}


def make_uart(spec: UartSpec, irq: IrqLine, output: Output) -> Uart:
    """Creates the model that a board file names."""
    return _MODELS[spec.type](spec, irq, output)
