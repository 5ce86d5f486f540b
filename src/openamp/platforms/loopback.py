"""Host and remote in one process: for tests, examples and learning.

The remote is a Python function that runs in a thread of its own from `start` on, as firmware runs on its core:

    def firmware(link):
        with openamp.serve(link) as bus:
            with bus.create_endpoint("rpmsg-openamp-demo-channel") as ept:
                for message in ept:
                    ept.send(message)

    with openamp.open("loopback", remote=firmware) as rproc:
        rproc.boot()

Without a function, `openamp.serve("loopback")` anywhere in the process is the remote of the host that was opened
last (or of the one with the same `name`); in the host's own thread, its callbacks run while the host waits.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence

from openamp.errors import ClosedError, CrashReport, HostShutdown, PlatformError, TimeoutExpired
from openamp.firmware import FirmwareImage, Segment, SegmentFlags, TableSection
from openamp.link import Crash, Event, Exit, Kick
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.resource_table import rpmsg_table

__all__ = ["LoopbackPlatform", "LoopbackRemote"]

_LIMIT = 1 << 28


class _Side:
    """One end of the signalling: events wait here for the thread that owns the end."""

    def __init__(self, condition: threading.Condition) -> None:
        self.condition = condition
        self.events: deque[Event] = deque()
        self.ended = False
        self.service: Callable[[], object] | None = None
        self.service_thread = 0

    def put(self, event: Event) -> None:
        with self.condition:
            if not self.ended and event not in self.events:
                self.events.append(event)
                self.ended = not isinstance(event, Kick)
            self.condition.notify_all()

    def take(self, timeout: float | None, peer: _Side) -> list[Event]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if not self.events and peer.events and peer.service and peer.service_thread == threading.get_ident():
                peer.service()
            with self.condition:
                if self.events:
                    taken = list(self.events)
                    self.events.clear()
                    return taken
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return []
                if not (peer.events and peer.service_thread == threading.get_ident()):
                    self.condition.wait(left)


class LoopbackRemote:
    """The remote's end of a loopback link (a `RemotePlatform`)."""

    def __init__(self, memory: MemoryMap, table_da: int) -> None:
        self.memory = memory
        self.table_da = table_da
        condition = threading.Condition()
        self._mine = _Side(condition)
        self._host = _Side(condition)

    def kick(self, notify_id: int) -> None:
        """Signals the host."""
        self._host.put(Kick(notify_id))

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for the host's signals; see `Link.wait`."""
        return self._mine.take(timeout, self._host)

    def close(self) -> None:
        """Nothing to give back: the memory is the host's."""

    def cooperate(self, service: Callable[[], object]) -> None:
        """Runs `service` whenever the host waits in the thread that calls this now and there is news for us."""
        self._mine.service, self._mine.service_thread = service, threading.get_ident()


_hosts: dict[str, LoopbackPlatform] = {}
_hosts_changed = threading.Condition()


class LoopbackPlatform:
    """The host's end of a loopback link (a `HostPlatform`).

    Args:
        remote: the remote's program; it gets a `LoopbackRemote` for `openamp.serve` and runs in a thread. Its return
            ends the remote (an int is its exit status), an exception other than HostShutdown is its crash.
        name: what `openamp.serve("loopback", name=...)` looks for.
        size: bytes of shared memory at device address 0x10000000.
    """

    def __init__(
        self, *, remote: Callable[[LoopbackRemote], object] | None = None, name: str = "", size: int = 0x100000
    ) -> None:
        if not 0x4000 <= size <= _LIMIT:
            raise PlatformError(f"size is {size:#x}; loopback memory has 0x4000..{_LIMIT:#x} bytes")
        self._shared = SharedMemory(size, name="openamp-loopback")
        self.memory = MemoryMap([Region("shared", 0x10000000, self._shared.view, pool=True)])
        self._program = remote
        self._name = name
        self._link: LoopbackRemote | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def builtin_firmware(self) -> FirmwareImage:
        """An image with nothing but a resource table for one RPMsg device, at the start of the shared memory."""
        da = 0x10000000
        table = rpmsg_table().build()
        segment = Segment(
            da=da, size=len(table), data=table, va=da, flags=SegmentFlags.R | SegmentFlags.W, offset=None, name="table"
        )
        return FirmwareImage(
            name="loopback",
            format="builtin",
            segments=(segment,),
            resource_table=TableSection(data=table, da=da),
        )

    def prepare(self, image: FirmwareImage) -> None:
        """Adds memory for the image's segments; any machine fits, since the program is ours."""
        for segment in image.segments:
            if segment.size and self.memory.find(segment.da, segment.size) is None:
                if segment.size > _LIMIT:
                    raise PlatformError(
                        f"segment {segment.name} of {image.name} has {segment.size:#x} bytes; loopback memory "
                        f"grows to {_LIMIT:#x}"
                    )
                self.memory.add(Region(f"segment {segment.name}", segment.da, memoryview(bytearray(segment.size))))

    def start(self, image: FirmwareImage, notify_ids: Sequence[int]) -> None:
        """Starts the remote's program, or lets `openamp.serve("loopback")` find us."""
        section = image.resource_table
        self._link = LoopbackRemote(self.memory, section.live_da(self.memory) if section else 0)
        if self._program is not None:
            self._thread = threading.Thread(
                target=self._run, args=(self._program, self._link), name=f"remote {image.name}", daemon=True
            )
            self._thread.start()
        else:
            with _hosts_changed:
                _hosts.pop(self._name, None)
                _hosts[self._name] = self
                _hosts_changed.notify_all()

    @staticmethod
    def _run(program: Callable[[LoopbackRemote], object], link: LoopbackRemote) -> None:
        try:
            result = program(link)
        except HostShutdown:
            link._host.put(Exit(None))
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            report = CrashReport(
                reason=f"{type(error).__name__}: {error}",
                location=f"{last.filename}:{last.lineno} in {last.name}",
                details=tuple("".join(traceback.format_exception(error)).splitlines()),
            )
            link._host.put(Crash(report))
        else:
            link._host.put(Exit(result if isinstance(result, int) else 0))

    def stop(self) -> None:
        """Tells the remote that the host ends it: its next call raises HostShutdown."""
        if self._link is not None:
            self._link._mine.put(Exit())
            self._link = None
        with _hosts_changed:
            if _hosts.get(self._name) is self:
                del _hosts[self._name]

    def join(self, timeout: float | None) -> bool:
        """Waits for the end of the remote's thread; a program that never calls the link cannot be ended."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        self._thread = None
        return True

    def kick(self, notify_id: int) -> None:
        """Signals the remote."""
        if self._link is not None:
            self._link._mine.put(Kick(notify_id))

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for the remote's signals; see `Link.wait`."""
        link = self._link
        if link is None:
            raise ClosedError("the loopback remote does not run; start it first")
        return link._host.take(timeout, link._mine)

    def diagnose(self) -> str:
        """Says whether there is a remote at all."""
        if self._program is None:
            if self._link is not None and self._link._mine.service is None:
                return "nobody serves this loopback yet: call openamp.serve('loopback') or give open() a remote="
            return ""
        alive = self._thread is not None and self._thread.is_alive()
        return "the remote's program runs" if alive else "the remote's program has ended"

    def close(self) -> None:
        """Stops the remote and gives the memory back."""
        if not self._closed:
            self._closed = True
            self.stop()
            self._shared.close()


def remote_end(*, name: str = "", timeout: float | None = None) -> LoopbackRemote:
    """Returns the remote's end of the loopback host with this name, waiting until one has started.

    Raises:
        TimeoutExpired: when none does within `timeout` seconds.
    """
    with _hosts_changed:
        if not _hosts_changed.wait_for(lambda: name in _hosts or (not name and bool(_hosts)), timeout):
            raise TimeoutExpired(
                f"no loopback host{f' named {name!r}' if name else ''} was started within {timeout} s; call "
                f"openamp.open('loopback').boot() in this process",
                timeout=timeout,
            )
        host = _hosts[name] if name in _hosts else next(reversed(_hosts.values()))
        link = host._link
    if link is None:
        raise ClosedError("the loopback host has just stopped; start it again")
    return link
