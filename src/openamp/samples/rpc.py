"""Remote procedure calls: the remote writes and reads a file on the host, and talks on the host's console.

The host serves a folder; the remote does what OpenAMP's demonstrations do, and terminates. As linux_rpc_demod (the
host) and linux_rpc_demo (the remote) on `rpmsg-rpc`, or with the older protocol as rpc_demod and rpc_demo on
`rpmsg-openamp-demo-channel`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from openamp.errors import HostShutdown, RemoteExited
from openamp.rpc import RPC, Dialect, FlagValues, RpcClient, RpcServer
from openamp.rpmsg import Bus
from openamp.samples.common import Result, Served
from openamp.server import Ended

__all__ = ["host", "remote"]

_FILE = "remote.file"
_TEXT = "This is a test string being written to file.."


def host(
    bus: Bus,
    *,
    root: str | os.PathLike[str],
    writable: bool = True,
    flags: FlagValues = FlagValues.LINUX,
    stdin: Callable[[], bytes] | None = None,
    stdout: Callable[[bytes], object] | None = None,
    timeout: float | None = 5.0,
    grace: float = 2.0,
    dialect: Dialect = RPC,
) -> Result:
    """Serves a folder and a console until a remote terminates, and waits for its end.

    Args:
        bus: the host's.
        root: the folder; remotes reach nothing outside it.
        writable: remotes may write and create files.
        flags: whose numbers the remote's flags of `open` are.
        stdin: returns the next line of console input; None is an empty one.
        stdout: called with console output; None prints it.
        timeout: seconds to wait for the remote, and for its next call.
        grace: seconds that the remote may take to end after the last call.
        dialect: `RPC`, or `RETARGET` for the older protocol.

    Raises:
        RemoteCrashed: when a failed call was too much for the remote.
    """
    begin = time.perf_counter()
    with RpcServer(
        bus, root, writable=writable, flags=flags, stdin=stdin, stdout=stdout, stderr=stdout, dialect=dialect
    ) as server:
        server.run(timeout=timeout)
        seconds = time.perf_counter() - begin
        found = server.statistics()
        return Result(
            num_messages=found.num_requests,
            num_bytes=found.num_bytes_read + found.num_bytes_written,
            seconds=seconds,
            ended_after=_await_end(bus, grace),
        )


def _await_end(bus: Bus, grace: float) -> float | None:
    begin = time.monotonic()
    try:
        while (left := begin + grace - time.monotonic()) > 0:
            bus.wait(timeout=left)
    except RemoteExited:
        return time.monotonic() - begin
    return None


def remote(bus: Bus, *, dialect: Dialect = RPC) -> Served:
    """Writes a file and reads it back, asks three questions on the console, and terminates."""
    client = None
    try:
        with RpcClient(bus, dialect=dialect, timeout=None) as client:
            _demonstrate(client)
        return Served(client.num_calls, Ended.STOPPED)
    except HostShutdown:
        return Served(client.num_calls if client else 0, Ended.HOST)


def _demonstrate(host: RpcClient) -> None:
    console = host.stdout
    print("Remote> creating a file on the host and writing to it", file=console)
    with host.open(_FILE, "a", perm=0o600) as file:
        file.write(_TEXT)
    with host.open(_FILE) as file:
        content = file.read()
    print(f"Remote> {_FILE} has {len(content)} bytes and ends with {content[-len(_TEXT) :]!r}", file=console)
    name = host.input("Remote> Enter name: ")
    age = host.input("Remote> Enter age: ")
    pi = host.input("Remote> Enter value for pi: ")
    print(f"Remote> name {name!r}, age {age!r}, pi {pi!r}", file=console)
    print("Remote> going down", file=console)
