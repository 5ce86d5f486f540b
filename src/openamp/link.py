"""The seams between us and a remote: what a platform provides.

A `Link` is all that a bus needs: shared memory, a way to kick and one blocking call. A `HostPlatform` is a link
whose far end can be started and stopped. Whatever else a platform can do is a further small protocol, found with
`isinstance`, never a method that raises NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from openamp.errors import CrashReport
from openamp.firmware import FirmwareImage
from openamp.memory import MemoryMap

__all__ = [
    "BuiltinFirmware",
    "Concurrent",
    "Console",
    "Cooperative",
    "CoreDumper",
    "Crash",
    "Diagnosable",
    "Event",
    "Exit",
    "HostPlatform",
    "Kick",
    "Link",
    "Pollable",
    "ProgramPlatform",
    "RemotePlatform",
    "Wakeable",
]


@dataclass(frozen=True, slots=True)
class Kick:
    """The peer signalled one of our queues.

    Attributes:
        notify_id: the queue's id in the resource table, or None when the platform's signal carries no id
            (every queue is then looked at).
    """

    notify_id: int | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """The remote's context ended by itself.

    Attributes:
        code: its exit status, or None where it has none.
    """

    code: int | None = None


@dataclass(frozen=True, slots=True)
class Crash:
    """The remote's context ended by a fault."""

    report: CrashReport


Event = Kick | Exit | Crash


@runtime_checkable
class Link(Protocol):
    """What a bus needs of the world.

    Attributes:
        memory: what both sides see, by device address.
    """

    @property
    def memory(self) -> MemoryMap: ...

    def kick(self, notify_id: int) -> None:
        """Signals the peer that the queue of this id has news. Never waits. A dead peer is no error here."""

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for events: the one blocking call.

        Args:
            timeout: seconds; 0 only looks; None waits for ever.

        Returns:
            What happened, oldest first; empty when the time passed. `Exit` and `Crash` come once, last.
        """

    def close(self) -> None:
        """Gives everything back; harmless when repeated."""


@runtime_checkable
class HostPlatform(Link, Protocol):
    """A link whose far end we own.

    The calls come in the order prepare, start, stop, join, any number of times, with a further prepare at first, when
    the caller looks for places in `memory`. The caller loads the memory's bytes between prepare and start. Regions and
    their addresses are the same after each prepare of the same image; the memory behind them may be new.
    """

    def prepare(self, image: FirmwareImage) -> None:
        """Makes `memory` ready for this image (all zero), and refuses an image that cannot run here.

        Raises:
            PlatformError: when the image does not fit (names what would).
        """

    def start(self, image: FirmwareImage, notify_ids: Sequence[int]) -> None:
        """Releases the remote from reset. May let it run for a moment; a crash comes from `wait`.

        Args:
            image: what `prepare` accepted, by now in memory.
            notify_ids: the ids of all vrings in the order of the resource table; a platform whose signals are
                numbered channels maps them by position (vring 0 first).
        """

    def stop(self) -> None:
        """Begins to put the remote back into reset and returns at once; harmless when it does not run."""

    def join(self, timeout: float | None) -> bool:
        """Waits until the remote is in reset after `stop`; returns False when the time passed before."""


@runtime_checkable
class RemotePlatform(Link, Protocol):
    """A link seen from the remote's end: we are the firmware. An `Exit` event means that the host ends us.

    Attributes:
        table_da: device address of the live resource table.
    """

    @property
    def table_da(self) -> int: ...


@runtime_checkable
class Pollable(Protocol):
    """The link has a descriptor that becomes readable when `wait(0)` would return events."""

    def fileno(self) -> int: ...


@runtime_checkable
class Wakeable(Protocol):
    """A wait can be ended by another thread.

    Then several threads may use the link: one of them waits, and is told when another one has news for it or wants to
    stop the remote. `stop` and `close` come when nobody waits. Without it, whoever waits notices the other threads
    only when the peer signals, or when its time has passed.
    """

    def wake(self) -> None:
        """Ends the `wait` of another thread soon, or the next one; it returns what there is, maybe nothing."""


@runtime_checkable
class Concurrent(Protocol):
    """The peer runs while we do, on a processor of its own, so that watching the memory for a moment may be worth it.

    Attributes:
        spin: for how many seconds at most, before `wait` blocks; 0 is never.
    """

    @property
    def spin(self) -> float: ...


@runtime_checkable
class BuiltinFirmware(Protocol):
    """The platform's remote needs no image from outside; `boot()` without one takes this."""

    def builtin_firmware(self) -> FirmwareImage: ...


@runtime_checkable
class ProgramPlatform(Protocol):
    """The platform's remotes are programs that load themselves; of their files it needs the resource table only."""

    def open_firmware(self, path: str) -> FirmwareImage: ...


@runtime_checkable
class Cooperative(Protocol):
    """Both ends may live in one thread: the platform runs `service` while the other end waits in that thread."""

    def cooperate(self, service: Callable[[], object]) -> None: ...


@runtime_checkable
class CoreDumper(Protocol):
    """The remote's registers can be read while it is stopped or crashed."""

    def registers(self) -> dict[str, int]: ...


@runtime_checkable
class Console(Protocol):
    """The remote has output streams of its own (UART, semihosting, standard output)."""

    def on_output(self, callback: Callable[[str, bytes], None]) -> None:
        """Calls back with (stream name, bytes) for all later output, in order, from within `start`, `stop` and `wait`.

        A `RemoteProc`'s own callback raises nothing: what the program's callbacks raise comes out of the call that
        waited, after the events that came with it.
        """


@runtime_checkable
class Diagnosable(Protocol):
    """The platform can say what the remote is doing, for the text of a timeout."""

    def diagnose(self) -> str:
        """Returns one sentence, such as "the core sleeps in WFI at main+0x40; no interrupt is pending"."""
