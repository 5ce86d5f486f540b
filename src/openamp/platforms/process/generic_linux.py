"""OpenAMP's generic Linux machine: what the C library's samples do between two Linux processes.

Shared memory is a POSIX object (device address 0 is its first byte) with the resource table at its start; a kick is one
byte on a UNIX stream socket. Processor 0 binds the socket, writes the table, listens and waits for one connection;
processor 1 connects. The C samples' remotes are processor 0 and their hosts processor 1, but either side may be
either.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Sequence

from openamp.errors import AllocationError, PlatformError
from openamp.firmware import FirmwareImage, TableSection
from openamp.link import Event, Exit
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.process.host import HostEnd
from openamp.platforms.process.remote import ProcessRemote
from openamp.platforms.process.signals import Signals, SocketSignals, is_readable
from openamp.platforms.process.wire import connect, peer_of
from openamp.resource_table import ResourceTable, rpmsg_table

__all__ = ["GenericLinuxPlatform", "Machine"]

SHM = "openamp.shm"
SHM_SIZE = 0x80000
SOCKET = "/tmp/openamp.event.0"
BUFFERS = 0x10000
BUFFERS_SIZE = 0x40000
VRINGS = (0x4000, 0x8000)
ALIGN = 0x1000
_LONGEST = 107  # bytes of a UNIX socket's path
NUM = 256


class Machine:
    """The machine's memory and socket, seen from one of its processors.

    Args:
        processor: 0 binds the socket and creates the memory, 1 connects.
        shm: name of the POSIX shared memory object.
        socket_path: path of the socket.
        size: bytes of the shared memory.

    Raises:
        PlatformError: when an option is impossible.
    """

    def __init__(self, *, processor: int, shm: str = SHM, socket_path: str = SOCKET, size: int = SHM_SIZE) -> None:
        if processor not in (0, 1):
            raise PlatformError(f"processor is {processor}; it is 0 (binds the socket) or 1 (connects)")
        if "/" in shm.lstrip("/") or not shm.strip("/"):
            raise PlatformError(f"shm is {shm!r}; give the name of a POSIX shared memory object, such as {SHM!r}")
        path = os.fspath(socket_path)
        if not 0 < len(os.fsencode(path)) <= _LONGEST or "\0" in path:
            raise PlatformError(
                f"socket_path is {path!r}, which cannot be a socket's: it is empty, has a zero in it or is too long "
                f"(more than {_LONGEST} bytes); give another path"
            )
        if size < BUFFERS + BUFFERS_SIZE:
            raise PlatformError(f"size is {size:#x}; the machine needs {BUFFERS + BUFFERS_SIZE:#x} bytes at least")
        self.processor = processor
        self.memory_path = f"/dev/shm/{shm.lstrip('/')}"
        self.socket_path = path
        self.size = size
        self._shared: SharedMemory | None = None
        self._listener: socket.socket | None = None
        self.peer = 0  # process id of the one that was let in

    @staticmethod
    def table() -> ResourceTable:
        """The resource table of the C library's machine."""
        return rpmsg_table(num=NUM, align=ALIGN, vring_da=VRINGS, notifyids=(1, 2), notifyid=0)

    def map(self) -> MemoryMap:
        """Opens (processor 0: creates) the shared memory; rings, then buffers, then the rest.

        Raises:
            PlatformError: when it cannot be opened, or is too small; processor 0: when another process has the socket.
        """
        if self.processor == 0:
            self._claim()  # before the memory is touched, which may be another one's
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if self.processor == 0 else 0)
        try:
            fd = os.open(self.memory_path, flags, 0o600)
        except OSError as error:
            raise PlatformError(
                f"the shared memory {self.memory_path} cannot be opened ({error.strerror}); start processor 0 first, "
                f"or name the memory that it uses with shm="
            ) from error
        try:
            if self.processor == 0 and os.fstat(fd).st_size < self.size:
                os.ftruncate(fd, self.size)  # never less: somebody may still have it mapped
            elif os.fstat(fd).st_size < self.size:
                raise PlatformError(
                    f"the shared memory {self.memory_path} has {os.fstat(fd).st_size:#x} bytes, {self.size:#x} are "
                    f"expected; give its size with size="
                )
            self._shared = SharedMemory(self.size, fd=fd)
        except (AllocationError, OSError) as error:
            raise PlatformError(
                f"{self.memory_path} cannot be mapped: {error}; remove it, or use another shm="
            ) from error
        finally:
            os.close(fd)
        view = self._shared.view
        end = BUFFERS + BUFFERS_SIZE
        regions = [Region("rings", 0, view[:BUFFERS]), Region("buffers", BUFFERS, view[BUFFERS:end], pool=True)]
        if self.size > end:
            regions.append(Region("rest", end, view[end : self.size]))
        return MemoryMap(regions)

    def listen(self) -> socket.socket:
        """Lets processor 1 come; returns the socket.

        Raises:
            PlatformError: as `map`.
        """
        listener = self._claim()
        listener.listen(1)
        return listener

    def _claim(self) -> socket.socket:
        """Binds the socket, in place of one that a dead process left; returns it."""
        if self._listener is not None:
            return self._listener
        path = self.socket_path
        with contextlib.suppress(OSError):  # `bind` tells
            if stat.S_ISSOCK(os.lstat(path).st_mode) and not _is_bound(path):
                os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(path)
        except OSError as error:
            listener.close()
            raise PlatformError(
                f"the socket {path} cannot be bound ({error.strerror}): another processor 0 listens there, or the path "
                f"is something else's; end that process, remove the file, or choose another path with socket_path="
            ) from error
        self._listener = listener
        return listener

    def accept(self) -> SocketSignals | None:
        """Lets processor 1 in, if it has come."""
        if self._listener is None or not is_readable(self._listener):
            return None
        stream, _ = self._listener.accept()
        signals = SocketSignals(stream)  # before the listener goes, so that the descriptors are different
        self.peer, _ = peer_of(stream)
        self._unlisten()
        return signals

    def connect(self, timeout: float | None) -> socket.socket:
        """Connects to processor 0, waiting until it listens.

        Raises:
            TimeoutExpired: when it does not in time.
        """
        return connect(
            socket.SOCK_STREAM,
            self.socket_path,
            timeout,
            f"nobody listened at {self.socket_path} (start the other side, processor 0, first)",
        )

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            if os.path.exists(self.socket_path):
                os.unlink(self.socket_path)

    def close(self) -> None:
        """Gives memory and socket back; processor 0 removes the files that it made."""
        self._unlisten()
        if self._shared is not None:
            self._shared.close()
            self._shared = None
            if self.processor == 0 and os.path.exists(self.memory_path):
                os.unlink(self.memory_path)


def _is_bound(path: str) -> bool:
    """Whether a living process has bound this path; to connect would tell, too, but that process would take it up."""
    name = os.fsencode(path)
    with open("/proc/net/unix", "rb") as sockets:
        words = [line.rstrip(b"\n").split(None, 7) for line in sockets]
    return any(len(line) == 8 and line[7] == name and line[5] == b"01" for line in words)  # 01: not a connected one


class GenericLinuxPlatform(HostEnd):
    """The host's end of the generic Linux machine (a `HostPlatform`).

    Args:
        processor: 1 connects to the remote, as the C samples' hosts do; 0 lets the remote connect.
        shm: name of the POSIX shared memory object.
        socket_path: path of the socket.
        size: bytes of the shared memory.
        connect_timeout: seconds to wait for the remote to listen (processor 1); None waits for ever.
        spin: seconds to watch the shared memory, at most, before a wait blocks; see `ProcessPlatform`.
    """

    def __init__(
        self,
        *,
        processor: int = 1,
        shm: str = SHM,
        socket_path: str = SOCKET,
        size: int = SHM_SIZE,
        connect_timeout: float | None = 10.0,
        spin: float | None = None,
    ) -> None:
        super().__init__(spin)
        self._machine = Machine(processor=processor, shm=shm, socket_path=socket_path, size=size)
        self._connect_timeout = connect_timeout
        self._connected: socket.socket | None = None

    def builtin_firmware(self) -> FirmwareImage:
        """The machine's own resource table, at address 0.

        Raises:
            TimeoutExpired: when the remote, which has to write it first (processor 1), does not come.
        """
        table = Machine.table().build()
        if self._machine.processor == 1:
            self._meet()
            table = self._remotes_table()
        return FirmwareImage(
            (),
            name="generic Linux machine",
            format="program",
            resource_table=TableSection(data=table, da=0, loaded=False),
        )

    def _meet(self) -> None:
        """Connects to the remote and maps its memory, once for each start."""
        if self._connected is None:
            self._connected = self._machine.connect(self._connect_timeout)
            self.memory = self._machine.map()

    def _remotes_table(self) -> bytes:
        """Returns the table that the remote wrote, as it was before any driver."""
        data = self.memory.read(0, VRINGS[0])
        return data[: ResourceTable.parse(data).size]

    def prepare(self, image: FirmwareImage) -> None:
        """Opens the shared memory (processor 0) or connects to the remote and opens its memory (processor 1)."""
        if image.segments:
            raise PlatformError(
                f"{image.name} has segments to load; the remote of the generic Linux machine loads itself: boot() "
                f"without an image"
            )
        if self._machine.processor == 1:
            self._meet()
        else:
            self.memory = self._machine.map()

    def start(self, image: FirmwareImage, notify_ids: Sequence[int]) -> None:
        """Goes on with the connection (processor 1), or lets the remote connect (processor 0)."""
        self._running = True
        if self._connected is not None:
            self._peer, _ = peer_of(self._connected)
            self._signals = SocketSignals(self._connected)
            self._signals.follow(self._peer)
            self._signals.watch(self._bell.fd, self._bell.clear)
            self._connected = None
        else:
            self._door = self._machine.listen()

    def _arrive(self) -> Signals | None:
        signals = self._machine.accept()
        if signals is not None:
            self._door = None
            self._peer = self._machine.peer
        return signals

    def _end(self, signals: Signals) -> Event | None:
        return Exit(None)  # nothing on this wire tells a clean end from another

    def stop(self) -> None:
        """Closes the socket, which is all that the machine has to end a remote."""
        super().stop()
        self._machine.close()

    def diagnose(self) -> str:
        """Says whether the remote is there."""
        if self._signals is None:
            return f"no remote has connected to {self._machine.socket_path} yet"
        return f"the remote is process {self._peer}"

    def close(self) -> None:
        """Leaves the machine."""
        if not self._closed:
            self._closed = True
            self.stop()
            if self._connected is not None:
                self._connected.close()
                self._connected = None
            self._bell.close()


class GenericLinuxRemote(ProcessRemote):
    """The remote's end of the generic Linux machine (a `RemotePlatform`).

    Args:
        machine: seen from the remote's processor; taken over.
        memory: its memory.
        door: the listening socket, or the one that is connected to the host.
        spin: seconds to watch the shared memory, at most, before a wait blocks; see `ProcessRemote`.
    """

    def __init__(self, machine: Machine, memory: MemoryMap, door: socket.socket, spin: float | None = None) -> None:
        super().__init__(door, spin)
        self.memory = memory
        self._machine = machine

    @classmethod
    def join_machine(
        cls,
        *,
        processor: int = 0,
        shm: str = SHM,
        socket_path: str = SOCKET,
        size: int = SHM_SIZE,
        spin: float | None = None,
        timeout: float | None = None,
    ) -> GenericLinuxRemote:
        """Becomes the machine's remote: lets the host connect, in `wait` (processor 0), or connects to it (1).

        Raises:
            TimeoutExpired: when the host does not listen in time (processor 1).
            PlatformError: when memory or socket cannot be had.
        """
        machine = Machine(processor=processor, shm=shm, socket_path=socket_path, size=size)
        try:
            if processor == 1:
                door = machine.connect(timeout)
                return cls(machine, machine.map(), door, spin)
            memory = machine.map()
            memory.write(0, Machine.table().build().ljust(VRINGS[0], b"\0"))
            return cls(machine, memory, machine.listen(), spin)
        except BaseException:
            machine.close()
            raise

    def _arrive(self) -> Signals | None:
        door = self._door
        if door is None:
            return None
        if self._machine.processor == 0:
            signals = self._machine.accept()
            if signals is None:
                return None
            self._peer = self._machine.peer
        else:
            signals = SocketSignals(door)
            self._peer, _ = peer_of(door)
        self._door = None
        return signals

    def close(self) -> None:
        """Leaves the machine; the host sees the socket close."""
        super().close()
        self._machine.close()
