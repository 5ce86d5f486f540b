"""The host's end of a link between two processes."""

from __future__ import annotations

import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from openamp.errors import ClosedError, CrashReport, ImageError, PlatformError
from openamp.firmware import FirmwareImage, TableSection, load_image, machine_name
from openamp.link import Crash, Event, Exit, Kick
from openamp.memory import MemoryMap
from openamp.platforms.process.launch import Program
from openamp.platforms.process.signals import Bell, Signals, is_readable, spin_time
from openamp.platforms.process.wire import POOL_DA, SharedLayout, address_of, hand_over, listen, peer_of
from openamp.resource_table import ResourceTable, rpmsg_table

__all__ = ["HostEnd", "ProcessPlatform"]

_MACHINES = {"x86_64": 62, "aarch64": 183, "armv7l": 40, "riscv64": 243, "ppc64le": 21, "s390x": 22, "i686": 3}
_GRACE = 1.0
_LOOK = 0.1


class HostEnd(ABC):
    """What is the same for every wire: waiting, kicking, and the remote's end."""

    memory: MemoryMap

    def __init__(self, spin: float | None = None) -> None:
        self.spin = spin_time(spin)
        self.memory = MemoryMap()
        self._signals: Signals | None = None
        self._door: socket.socket | None = None  # where the remote comes in, until it has come
        self._peer = 0  # process id
        self._running = False
        self._closed = False
        self._bell = Bell()

    @abstractmethod
    def _arrive(self) -> Signals | None:
        """Lets the remote in, if it has come."""

    def _end(self, signals: Signals) -> Event | None:
        """Returns how the remote ended, once its end of the link is gone; None when that is not known yet."""
        if signals.goodbye:
            return Exit(None)
        return Crash(
            CrashReport(
                f"process {self._peer} closed its end of the link without a goodbye: it was killed, it crashed, or it "
                f"left out bus.close()"
            )
        )

    def kick(self, notify_id: int) -> None:
        """Signals the remote; one that has not come yet gets its first kick when it comes."""
        signals = self._signals
        if signals is not None:
            signals.kick()

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for the remote's signals; see `Link.wait`."""
        if not self._running:
            if self._closed:
                raise ClosedError("the process link is closed; open another one")
            return ()
        deadline = None if timeout is None else time.monotonic() + timeout
        left = timeout
        while True:
            signals = self._signals
            if signals is None:
                signals = self._signals = self._arrive()
                if signals is not None:
                    signals.follow(self._peer)
                    signals.watch(self._bell.fd, self._bell.clear)
                    signals.kick()  # whatever was kicked before it came
                elif self._bell.wait(self._door, left):
                    return ()
            else:
                events: list[Event] = [Kick()] if signals.wait(left) else []
                if signals.peer_gone and self._running:
                    end = self._end(signals)
                    if end is not None:
                        self._running = False
                        signals.rest()
                        events.append(end)
                if events or not self._running or self._bell.rung:
                    self._bell.rung = False
                    return events
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return ()
            if signals is not None and signals.peer_gone:
                left = _LOOK if left is None else min(left, _LOOK)  # until it has ended

    def stop(self) -> None:
        """Tells the remote that its host ends it; see `HostPlatform.stop`."""
        self._running = False
        if self._signals is not None:
            self._signals.close(goodbye=True)
            self._signals = None

    def join(self, timeout: float | None) -> bool:
        """A remote that came by itself is not ours to end: it is out of the link at once."""
        return True

    def wake(self) -> None:
        """Ends a `wait` in another thread, or the next one."""
        self._bell.ring()

    def fileno(self) -> int:
        """A descriptor that becomes readable when `wait(0)` would return events."""
        if self._signals is not None and self._signals.peer_gone:
            raise ClosedError("the remote has left; wait() says how it ended as soon as that is known")
        if self._signals is not None:
            return self._signals.fileno()
        if self._door is not None:
            return self._door.fileno()
        raise ClosedError("the link is not started; start the remote first")


class _LinkImage(FirmwareImage):
    """What is loaded for a remote that loads itself: a resource table."""

    def __init__(self, name: str, table: bytes) -> None:
        section = TableSection(data=table, da=POOL_DA, loaded=False)
        super().__init__((), name=name, format="program", resource_table=section)


class _ProgramImage(_LinkImage):
    """A program that we start, its path as the name."""


class ProcessPlatform(HostEnd):
    """Another process is the remote: one that we start, or one that calls `openamp.serve("process")`.

    `boot(path)` starts an executable with a `.resource_table` section, or a Python program; `boot()` without a path
    lets a remote come by itself.

    Args:
        name: by which a remote that comes by itself finds this host.
        size: bytes of shared memory for carve-outs, rings and buffers.
        args: arguments of the program that `boot` starts.
        env: changes to its environment.
        cwd: its working directory.
        grace: seconds that it has to end after a shutdown before it is terminated, and then killed.
        spin: seconds to watch the shared memory, at most, before a wait blocks; 0 is never. None is 50 us where this
            process may use two processors, else 0.

    Raises:
        PlatformError: when an option is impossible.
    """

    def __init__(
        self,
        *,
        name: str = "default",
        size: int = 0x100000,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        grace: float = _GRACE,
        spin: float | None = None,
    ) -> None:
        super().__init__(spin)
        if not isinstance(size, int) or not 0x4000 <= size <= 1 << 30:
            raise PlatformError(
                f"size is {size:#x}; a process link has 0x4000..0x40000000 bytes of shared memory"
                if isinstance(size, int)
                else f"size is {size!r}; give the bytes of shared memory as a number"
            )
        if isinstance(args, str | bytes):
            raise PlatformError(f"args is {args!r}; give a list with each argument of the program")
        for arg in args:
            if not isinstance(arg, str | bytes | os.PathLike):
                raise PlatformError(f"argument {arg!r} of the program is no string; write it as {str(arg)!r}")
        if not grace >= 0:
            raise PlatformError(f"grace is {grace}; give the seconds that a program has to end, 0 or more")
        address_of(name)
        self._name = name
        self._size = size
        self._args = tuple(args)
        self._env = env
        self._cwd = cwd
        self._grace = grace
        self._layout: SharedLayout | None = None
        self._table_da = 0
        self._program: Program | None = None
        self._outputs: list[Callable[[str, bytes], None]] = []

    # -- firmware --------------------------------------------------------------------------------------------------

    def builtin_firmware(self) -> FirmwareImage:
        """A resource table for one RPMsg device, for a remote that comes by itself."""
        return _LinkImage("process link", rpmsg_table().build())

    def open_firmware(self, path: str) -> FirmwareImage:
        """Returns what is loaded for a program: its resource table; the program loads itself.

        Raises:
            PlatformError: when it is an executable for another machine.
            ImageError, OSError: when it cannot be read.
        """
        with open(path, "rb") as file:
            start = file.read(4)
        if start != b"\x7fELF":
            table = rpmsg_table().build()
        else:
            program = load_image(path)
            ours = _MACHINES.get(os.uname().machine)
            if ours is not None and program.machine != ours:
                raise PlatformError(
                    f"{path} is for {program.machine_name}, this machine runs {machine_name(ours)} programs; "
                    f"give the emulated platform firmware for another core"
                )
            if program.resource_table is None:
                raise ImageError(
                    f"{path} has no resource table; give it one in a section named .resource_table, "
                    f"or start a Python program"
                )
            table = program.resource_table.data
        return _ProgramImage(path, table)

    # -- life cycle ------------------------------------------------------------------------------------------------

    def prepare(self, image: FirmwareImage) -> None:
        """Makes new shared memory with room for the table's fixed addresses.

        Raises:
            PlatformError: when the image has segments to load: a process loads itself.
            AllocationError: when there is not so much memory.
        """
        if image.segments:
            raise PlatformError(
                f"{image.name} is an image to be loaded into a core's memory; a process link starts programs: "
                f"give boot() the path of an executable for this machine or of a Python program"
            )
        section = image.resource_table
        table = ResourceTable.parse(section.data, image.byte_order) if section else None
        self._layout = SharedLayout.for_table(table, self._size)
        self._table_da = section.live_da(self._layout.memory) if section else 0
        self.memory = self._layout.memory

    def start(self, image: FirmwareImage, notify_ids: Sequence[int]) -> None:
        """Starts the program, or lets a remote come."""
        if self._layout is None:
            raise ClosedError("prepare the image before start")
        if not isinstance(image, _ProgramImage):
            self._door = listen(self._name)
        else:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._signals = self._greet(ours)  # it waits in the socket until the program takes it
            self._signals.watch(self._bell.fd, self._bell.clear)
            try:
                self._program = Program(
                    image.name, self._args, link=theirs.fileno(), env=self._env, cwd=self._cwd, emit=self._emit
                )
            except BaseException:
                self._signals.close()
                self._signals = None
                raise
            finally:
                theirs.close()
            self._peer = self._program.pid
            for fd in self._program.streams:
                self._signals.watch(fd, lambda fd=fd: self._read(fd))  # type: ignore[misc]
            self._signals.watch(self._program.pidfd, self._reap)
        self._running = True

    def _greet(self, control: socket.socket) -> Signals:
        if self._layout is None:
            raise ClosedError("prepare the image before start")
        self._peer, _ = peer_of(control)
        return hand_over(control, self._layout, self._table_da)

    def _arrive(self) -> Signals | None:
        listener = self._door
        if listener is None or not is_readable(listener):
            return None
        control, _ = listener.accept()
        _, uid = peer_of(control)
        if uid not in (os.getuid(), 0):
            control.close()  # the abstract address has no owner; the link is for our user's processes
            return None
        try:
            signals = self._greet(control)
        except OSError:
            control.close()
            return None
        listener.close()
        self._door = None
        return signals

    def _end(self, signals: Signals) -> Event | None:
        program = self._program
        if program is None:
            return super()._end(signals)
        if program.is_running and not program.is_late():
            return None  # it closed its end and is about to exit; its status is what counts
        return super()._end(signals) if program.is_running else program.end()

    def _reap(self) -> None:
        if self._signals is not None and self._program is not None:
            self._signals.unwatch(self._program.pidfd)
            self._signals.lose_peer()

    def _read(self, fd: int) -> None:
        if self._program is not None and not self._program.read(fd) and self._signals is not None:
            self._signals.unwatch(fd)

    def _emit(self, stream: str, data: bytes) -> None:
        for callback in self._outputs:
            callback(stream, data)

    def on_output(self, callback: Callable[[str, bytes], None]) -> None:
        """Calls back with ("stdout" or "stderr", bytes) for what the program prints."""
        self._outputs.append(callback)

    def stop(self) -> None:
        """Tells the remote that its host ends it, and leaves the link."""
        super().stop()
        if self._door is not None:
            self._door.close()
            self._door = None

    def join(self, timeout: float | None) -> bool:
        """Waits for the program's end; terminates it after `grace` seconds, and kills it after as many more."""
        if self._program is not None:
            if not self._program.wait(timeout, self._grace):
                return False
            for fd in self._program.streams:
                self._program.read(fd)
            self._program.close()
            self._program = None
        return True

    def diagnose(self) -> str:
        """Says whether there is a remote, and what it does."""
        if self._program is not None:
            return f"the remote's program (process {self._program.pid}) {_activity(self._program.pid)}"
        if self._signals is None:
            return (
                f"no remote has come to the link {self._name!r} yet: run a program that calls "
                f"openamp.serve('process', name={self._name!r})"
            )
        return f"the remote (process {self._peer}) {_activity(self._peer)}"

    def close(self) -> None:
        """Ends the remote if need be and gives memory and descriptors back."""
        if not self._closed:
            self._closed = True
            self.stop()
            if self._program is not None:
                self._program.wait(None, self._grace)
                self._program.close()
                self._program = None
            if self._layout is not None:
                self._layout.shared.close()
            self._bell.close()


def _activity(pid: int) -> str:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "has ended"
    return {
        "R": "is running",
        "S": "is sleeping",
        "D": "is waiting for a device",
        "T": "is stopped",
        "Z": "has ended",
    }.get(state, f"is in state {state}")
