"""Our own link between two processes: what is shared, and how it is handed over.

The host creates the shared memory (a memfd) and two eventfds, and sends them over a UNIX socket of type SEQPACKET,
in one message with three descriptors: the memory, the eventfd that the host writes, the eventfd that the remote
writes. Its text is lines of words, simple enough for `sscanf`; numbers are hexadecimal:

```
openamp-link 1
table 0x10000000
region shared 0x10000000 0x100000 0x0
```

A region line holds name, device address, size, and offset in the memory's file. Afterwards the socket carries the
word `goodbye` from an end that closes in good order, and its closing is the peer's end in any case. A remote that the
host starts finds the socket's number in the environment variable OPENAMP_LINK; any other connects to the abstract
address `openamp-UID-NAME`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from openamp.errors import AllocationError, PlatformError, TimeoutExpired
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.process.signals import EventSignals
from openamp.resource_table import ADDR_ANY, Carveout, ResourceTable, Trace, Vdev
from openamp.virtio import vring_size

__all__ = ["ENVIRONMENT", "SharedLayout", "connect", "hand_over", "listen", "peer_of", "take_over"]

ENVIRONMENT = "OPENAMP_LINK"
VERSION = 1
POOL_DA = 0x1000_0000
_PAGE = 4096
_LIMIT = 1 << 30
_LONGEST = 107  # bytes of a UNIX socket's address
_NOBODY = (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.EINTR)
_FIRST_RETRY, _LAST_RETRY = 0.001, 0.1
"""Seconds between attempts to reach a peer that does not listen yet: a UNIX socket cannot be waited for."""


class SharedLayout(NamedTuple):
    """The shared memory of one link."""

    memory: MemoryMap
    shared: SharedMemory
    offsets: tuple[int, ...]  # of each region in the file

    @classmethod
    def for_table(cls, table: ResourceTable | None, size: int) -> SharedLayout:
        """Makes memory for a pool of `size` bytes and for all fixed addresses of the table.

        Raises:
            AllocationError: when the fixed addresses need more than there can be.
        """
        ranges = [(POOL_DA, POOL_DA + size), *_fixed_ranges(table)]
        merged: list[tuple[int, int]] = []
        for start, end in sorted((start // _PAGE * _PAGE, (end + _PAGE - 1) // _PAGE * _PAGE) for start, end in ranges):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        total = sum(end - start for start, end in merged)
        if total > _LIMIT:
            raise AllocationError(
                f"the resource table's fixed addresses need {total:#x} bytes of shared memory, the limit is "
                f"{_LIMIT:#x}; use smaller carve-outs or ADDR_ANY",
                size=total,
            )
        shared = SharedMemory(total, name="openamp-process")
        memory, offsets, offset = MemoryMap(), [], 0
        for start, end in merged:
            pool = start <= POOL_DA < end
            view = shared.view[offset : offset + end - start]
            memory.add(Region("shared" if pool else f"fixed-{start:x}", start, view, pool=pool))
            offsets.append(offset)
            offset += end - start
        return cls(memory, shared, tuple(offsets))


def _fixed_ranges(table: ResourceTable | None) -> Iterable[tuple[int, int]]:
    for entry in table.entries if table else ():
        if isinstance(entry, Carveout | Trace) and entry.da != ADDR_ANY and entry.len:
            yield entry.da, entry.da + entry.len
        elif isinstance(entry, Vdev):
            for ring in entry.vrings:
                if ring.da not in (0, ADDR_ANY):
                    yield ring.da, ring.da + vring_size(ring.num, ring.align)


def hand_over(control: socket.socket, layout: SharedLayout, table_da: int) -> EventSignals:
    """Gives the remote its end over a connected socket, and returns the host's end.

    Raises:
        OSError: when the remote is gone already.
    """
    lines = [f"openamp-link {VERSION}", f"table {table_da:#x}"]
    for region, offset in zip(layout.memory, layout.offsets, strict=True):
        lines.append(f"region {region.name} {region.da:#x} {region.size:#x} {offset:#x}")
    to_remote, to_host = (os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2))
    try:
        socket.send_fds(control, ["\n".join(lines).encode()], [layout.shared.fd, to_remote, to_host])
    except OSError:
        os.close(to_remote)
        os.close(to_host)
        raise
    return EventSignals(to_host, to_remote, control)


def take_over(control: socket.socket) -> tuple[MemoryMap, int, EventSignals]:
    """Receives the remote's end over a connected socket: memory, address of the resource table, signals.

    Raises:
        ConnectionResetError: when the host went, or took another remote, before it handed the link over.
        PlatformError: when what comes is not ours.
    """
    data, fds, _, _ = socket.recv_fds(control, 65536, 8, socket.MSG_CMSG_CLOEXEC)
    if not data:
        raise ConnectionResetError("the host closed the link before it handed it over; is it still there?")
    try:
        memory, table_da = _parse(data, fds)
        ours = [os.dup(fd) for fd in fds[1:]]
        try:
            signals = EventSignals(ours[0], ours[1], control)
        except OSError as error:
            for fd in ours:
                os.close(fd)
            raise PlatformError(
                f"the host's descriptors are no eventfds ({error.strerror}); use the same version of this package on "
                f"both sides"
            ) from error
    finally:
        for fd in fds:
            os.close(fd)
    return memory, table_da, signals


def _parse(data: bytes, fds: Sequence[int]) -> tuple[MemoryMap, int]:
    words = [line.split() for line in data.decode("utf-8", "replace").splitlines()]
    if len(fds) != 3 or not words or words[0] != ["openamp-link", str(VERSION)]:
        raise PlatformError(
            f"what the host sent is not an OpenAMP link of version {VERSION} ({data[:40]!r} with {len(fds)} "
            f"descriptors); use the same version of this package on both sides"
        )
    table_da = 0
    memory = MemoryMap()
    try:
        total = os.fstat(fds[0]).st_size
        shared = SharedMemory(total, fd=fds[0])
        for line in words[1:]:
            if line[0] == "table":
                table_da = int(line[1], 16)
            elif line[0] == "region":
                da, size, offset = (int(word, 16) for word in line[2:5])
                if not 0 <= offset <= offset + size <= total:
                    raise ValueError(f"region {line[1]} lies outside the memory")
                memory.add(Region(line[1], da, shared.view[offset : offset + size]))
    except (ValueError, IndexError) as error:
        raise PlatformError(f"the host's description of the link is broken: {error}") from error
    shared.close()  # the descriptor; the mapping stays as long as its views
    return memory, table_da


def address_of(name: str) -> bytes:
    """Returns the abstract socket address of a link's name; raises PlatformError when there can be none."""
    address = f"\0openamp-{os.getuid()}-{name}".encode("utf-8", "surrogateescape")
    if not name or "\0" in name or len(address) > _LONGEST:
        raise PlatformError(
            f"name is {name!r}, which cannot be used for a link: give one of 1 to "
            f"{_LONGEST - len(address) + len(name.encode('utf-8', 'surrogateescape'))} bytes, none of them 0"
        )
    return address


def listen(name: str) -> socket.socket:
    """Returns the socket at which remotes of this name arrive.

    Raises:
        PlatformError: when another host has the name.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(address_of(name))
    except OSError as error:
        listener.close()
        raise PlatformError(
            f"the link's name {name!r} cannot be used ({error.strerror}): another host has it; "
            f"end that one, or choose another name="
        ) from error
    listener.listen(1)
    return listener


def connect(kind: int, address: bytes | str, timeout: float | None, whom: str) -> socket.socket:
    """Connects to a UNIX socket, waiting until somebody listens.

    Args:
        kind: SOCK_SEQPACKET or SOCK_STREAM.
        address: its path, or abstract address.
        timeout: seconds to wait; None waits for ever.
        whom: who is missing and what to do about it, for the error.

    Raises:
        TimeoutExpired: when nobody does in time.
        PlatformError: when nobody can.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_RETRY
    while True:
        try:
            return knock(kind, address)
        except OSError as error:
            if error.errno not in _NOBODY:
                raise PlatformError(
                    f"cannot connect to {address!r} ({error.strerror or error}); mind its owner, permissions and kind, "
                    f"or choose another one"
                ) from error
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutExpired(f"{whom} within {timeout} s ({error.strerror})", timeout=timeout) from error
            time.sleep(pause)
            pause = min(2 * pause, _LAST_RETRY)


def knock(kind: int, address: bytes | str) -> socket.socket:
    """Connects to a UNIX socket; never waits. Raises OSError when nobody listens, or too many are waiting there."""
    connection = socket.socket(socket.AF_UNIX, kind)
    try:
        connection.setblocking(False)
        connection.connect(address)
        connection.setblocking(True)
    except BaseException:
        connection.close()
        raise
    return connection


def peer_of(control: socket.socket) -> tuple[int, int]:
    """Returns process and user id of the other end of a UNIX socket."""
    pid, uid, _ = struct.unpack("3i", control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
