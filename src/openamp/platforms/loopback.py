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

import contextlib
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from openamp.errors import (
    ClosedError,
    CrashReport,
    HostShutdown,
    PlatformError,
    ResourceTableError,
    TimeoutExpired,
)
from openamp.firmware import FirmwareImage, Segment, SegmentFlags, TableSection
from openamp.link import Crash, Event, Exit, Kick
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.resource_table import ADDR_ANY, Carveout, ResourceTable, Vdev, rpmsg_table
from openamp.virtio.device import vring_size

__all__ = ["LoopbackPlatform", "LoopbackRemote"]

_LIMIT = 1 << 28


class _Side:
    """One end of the signalling: events wait here for the thread that owns the end."""

    def __init__(self, condition: threading.Condition) -> None:
        self.condition = condition
        self.events: deque[Event] = deque()
        self.ended = False  # nothing comes any more
        self.woken = False
        self.service: Callable[[], object] | None = None
        self.service_thread = 0

    def put(self, event: Event) -> None:
        with self.condition:
            if not self.ended and event not in self.events:
                self.events.append(event)
                self.ended = not isinstance(event, Kick)
            self.condition.notify_all()

    def end(self) -> None:
        """Lets nothing come any more and wakes whoever waits."""
        with self.condition:
            self.events.clear()
            self.ended = True
            self.condition.notify_all()

    def wake(self) -> None:
        """Ends the wait of another thread, or the next one."""
        with self.condition:
            self.woken = True
            self.condition.notify_all()

    def take(self, timeout: float | None, peer: _Side) -> list[Event]:
        deadline = None if timeout is None else time.monotonic() + timeout
        served = False
        while True:
            with self.condition:
                if self.events:
                    taken = list(self.events)
                    self.events.clear()
                    return taken
                if self.woken:
                    self.woken = False
                    return []
                left = None if deadline is None else deadline - time.monotonic()
                over = self.ended or (left is not None and left <= 0)
                service = peer.service if peer.events and peer.service_thread == threading.get_ident() else None
                if over and (served or service is None):
                    return []
                if service is None:
                    self.condition.wait(left)
            if service is not None:
                service()
                served = True


class LoopbackRemote:
    """The remote's end of a loopback link (a `RemotePlatform`)."""

    def __init__(self, memory: MemoryMap, table_da: int) -> None:
        self.memory = memory
        self.table_da = table_da
        condition = threading.Condition()
        self._mine = _Side(condition)
        self._host = _Side(condition)

    @property
    def is_served(self) -> bool:
        """`openamp.serve` has made a bus on this link."""
        return self._mine.service is not None

    def kick(self, notify_id: int) -> None:
        """Signals the host."""
        self._host.put(Kick(notify_id))

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for the host's signals; see `Link.wait`."""
        return self._mine.take(timeout, self._host)

    def wake(self) -> None:
        """Ends a `wait` in another thread, or the next one."""
        self._mine.wake()

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
        self._shared = SharedMemory(size, name=None)
        self.memory = MemoryMap([Region("shared", 0x10000000, self._shared.view, pool=True)])
        self._program = remote
        self._name = name
        self._added: list[Region] = []
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
        """Makes all memory zero, and adds some for what the image wants at addresses of its own.

        Any machine fits, since the program is ours.

        Raises:
            PlatformError: when the image wants too much memory.
        """
        if self._closed:
            raise ClosedError("this loopback platform was closed; open another one")
        for region in self._added:
            self.memory.remove(region)
        self._added = []
        (shared,) = self.memory
        shared.data[:] = bytes(shared.size)
        total = 0
        for start, end, name in _without(shared, sorted(_wanted(image))):
            total += end - start
            if total > _LIMIT:
                raise PlatformError(
                    f"{name} of {image.name} at {start:#x}..{end:#x} makes {total:#x} bytes of memory besides the "
                    f"shared one; loopback has {_LIMIT:#x} at most: load a smaller image"
                )
            self._added.append(self.memory.add(Region(name, start, memoryview(bytearray(end - start)))))

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
        except SystemExit as end:
            link._host.put(Exit(end.code if isinstance(end.code, int) else int(end.code is not None)))
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
        """Tells the remote that the host ends it: its next call raises HostShutdown. Ends waits of other threads."""
        link, self._link = self._link, None
        if link is not None:
            link._mine.put(Exit())
            link._host.end()
        with _hosts_changed:
            if _hosts.get(self._name) is self:
                del _hosts[self._name]

    def join(self, timeout: float | None) -> bool:
        """Waits for the end of the remote's thread; a program that never calls the link cannot be ended."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            if thread.is_alive():
                return False
        self._thread = None
        return True

    def kick(self, notify_id: int) -> None:
        """Signals the remote."""
        link = self._link
        if link is not None:
            link._mine.put(Kick(notify_id))

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for the remote's signals; see `Link.wait`."""
        link = self._link
        if link is None:
            raise ClosedError("the loopback remote does not run; start it first")
        return link._host.take(timeout, link._mine)

    def wake(self) -> None:
        """Ends a `wait` in another thread, or the next one."""
        link = self._link
        if link is not None:
            link._host.wake()

    def diagnose(self) -> str:
        """Says whether there is a remote at all."""
        link = self._link
        if self._program is None:
            if link is not None and not link.is_served:
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
        link = _hosts_changed.wait_for(lambda: _unserved(name), timeout)
    if link is None:
        raise TimeoutExpired(
            f"no loopback host{f' named {name!r}' if name else ''} that nobody serves yet was started within "
            f"{timeout} s; call openamp.open('loopback').boot() in this process",
            timeout=timeout,
        )
    return link


def _unserved(name: str) -> LoopbackRemote | None:
    """Returns the link of the host with this name, or without one of any: the last that was started."""
    for host in [_hosts[name]] if name in _hosts else [] if name else [*reversed(_hosts.values())]:
        link = host._link
        if link is not None and not link.is_served:
            return link
    return None


def _wanted(image: FirmwareImage) -> Iterator[tuple[int, int, str]]:
    """Yields start, end and name of what an image has at addresses of its own."""
    for segment in image.segments:
        yield segment.da, segment.end, f"segment {segment.name}"
    if image.resource_table is None:
        return
    section = image.resource_table
    yield section.da, section.da + len(section.data), "the resource table"
    for entry in ResourceTable.parse(section.data, image.byte_order).entries:
        if isinstance(entry, Carveout) and entry.da != ADDR_ANY:
            yield entry.da, entry.da + entry.len, f"carve-out {entry.name!r}"
        elif isinstance(entry, Vdev):
            for ring in entry.vrings:
                if ring.da not in (0, ADDR_ANY):
                    with contextlib.suppress(ResourceTableError):  # what is wrong with it is said when it is placed
                        yield ring.da, ring.da + vring_size(ring.num, ring.align), "a vring"


def _without(region: Region, wanted: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Joins sorted ranges that touch each other, and yields those parts of them that lie outside a region."""
    joined: list[tuple[int, int, str]] = []
    for start, end, name in wanted:
        if joined and start <= joined[-1][1]:
            first, last, named = joined.pop()
            joined.append((first, max(last, end), named))
        elif start < end:
            joined.append((start, end, name))
    for start, end, name in joined:
        for first, last in ((start, min(end, region.da)), (max(start, region.end), end)):
            if first < last:
                yield first, last, name
