"""The host's side of remote procedure calls: carries out what remotes ask for, within a root folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec

from openamp.errors import OpenAMPError, TimeoutExpired
from openamp.rpc.console import Console
from openamp.rpc.flags import FlagValues
from openamp.rpc.sandbox import Sandbox
from openamp.rpc.wire import RPC, Call, Close, Dialect, Input, Malformed, Open, Read, Terminate, Unknown, Write
from openamp.rpmsg import Bus, Channel, Endpoint

__all__ = ["RpcServer", "RpcStatistics"]

P = ParamSpec("P")

_FAILED = -1
_FIRST_FILE = 3  # behind the console's descriptors
_ANSWER_TIMEOUT = 1.0
"""Seconds that a remote may take to make room for an answer."""


@dataclass(frozen=True, slots=True)
class RpcStatistics:
    """What a server has done since it was made.

    Attributes:
        num_requests: all that came.
        num_failed: calls that were answered with a failure, malformed and unknown ones besides.
        num_malformed: requests that made no sense.
        num_unknown: calls that there are not.
        num_unanswered: answers that could not be sent: the remote had no buffer for them, or was gone.
        num_open_files: files that are open now.
        num_bytes_read: read from files and the console.
        num_bytes_written: written to files and the console.
    """

    num_requests: int = 0
    num_failed: int = 0
    num_malformed: int = 0
    num_unknown: int = 0
    num_unanswered: int = 0
    num_open_files: int = 0
    num_bytes_read: int = 0
    num_bytes_written: int = 0


class RpcServer:
    """Serves files below a root folder, and a console, to the remotes' clients on a bus.

    Everything happens within the calls that wait on the bus. Every client has its own descriptors: 0, 1 and 2 are the
    console, files begin at 3. A client's files are closed when it terminates or takes its channel away, and all of
    them by `close`.

    Nothing that a remote sends raises: what makes no sense is counted and answered with a failure, where there is
    enough of it to be answered.

    Args:
        bus: the host's.
        root: the folder; see `Sandbox` for what keeps remotes inside.
        dialect: `RPC` or `RETARGET`.
        writable: files may be written and created.
        max_files: files that may be open at a time, of all clients.
        max_written: bytes that may be written to files, of all clients; a new file counts 4096 besides.
        flags: whose numbers the clients' flags of `open` are.
        stdin: returns the next line of console input with its end, b"" when there is no more; None is an empty input.
            The bus waits with it.
        stdout: called with what the clients write to descriptor 1; None prints it, with control characters spelled
            out.
        stderr: the same for descriptor 2.

    Raises:
        PlatformError: when there is no such folder.
        AddressInUseError: when the dialect's fixed address is taken.

    Attributes:
        terminated: a client has terminated.
    """

    def __init__(
        self,
        bus: Bus,
        root: str | os.PathLike[str],
        *,
        dialect: Dialect = RPC,
        writable: bool = True,
        max_files: int = 32,
        max_written: int = 64 << 20,
        flags: FlagValues = FlagValues.LINUX,
        stdin: Callable[[], bytes] | None = None,
        stdout: Callable[[bytes], object] | None = None,
        stderr: Callable[[bytes], object] | None = None,
    ) -> None:
        self._bus = bus
        self._dialect = dialect
        self._flags = flags
        self._max_files = max_files
        self._console = Console(stdin, stdout, stderr)
        self._files: dict[tuple[int, int], int] = {}  # (client, its descriptor): ours
        self._endpoints: list[Endpoint] = []
        self._closed = False
        self._requests = self._failed = self._malformed = self._unknown = self._unanswered = 0
        self._read = self._written = 0
        self.terminated = False
        self._sandbox = Sandbox(root, writable=writable, room=max_written)
        try:
            if dialect.address is not None:
                self._endpoints.append(bus.create_endpoint(src=dialect.address, callback=self._receive))
            for channel in bus.channels:
                self._welcome(channel)
            bus.on_channel_created(self._welcome)
            bus.on_channel_destroyed(self._part)
        except BaseException:
            self.close()
            raise

    # -- clients ---------------------------------------------------------------------------------------------------

    def _welcome(self, channel: Channel) -> None:
        if channel.name == self._dialect.service and not self._closed:
            self._endpoints.append(self._bus.create_endpoint(channel.name, dst=channel.dst, callback=self._receive))

    def _part(self, channel: Channel) -> None:
        if channel.name == self._dialect.service:
            self._close_files(channel.dst)
            for endpoint in [endpoint for endpoint in self._endpoints if endpoint.name and not endpoint.is_bound]:
                self._endpoints.remove(endpoint)
                endpoint.close()

    def _receive(self, endpoint: Endpoint, message: Any, client: int) -> None:
        answer = self._answer(message, client, endpoint.mtu - self._dialect.overhead)
        if answer is not None:
            try:
                endpoint.send_to(answer, client, timeout=_ANSWER_TIMEOUT)
            except OpenAMPError:  # what ended the remote is raised by the host's own calls
                self._unanswered += 1

    # -- calls -----------------------------------------------------------------------------------------------------

    def _answer(self, message: bytes, client: int, room: int) -> bytes | None:
        """Carries out a request and returns the answer; None where there is none.

        Args:
            message: any bytes.
            client: the client's address.
            room: for data in the answer, in bytes.
        """
        self._requests += 1
        dialect = self._dialect
        match dialect.parse_request(message):
            case Open(name, flags, mode):
                return self._number(Call.OPEN, self._open, client, name, flags, mode)
            case Close(fd):
                return self._number(Call.CLOSE, self._close_file, client, fd)
            case Write(fd, data):
                return self._number(Call.WRITE, self._write, client, fd, data)
            case Read(fd, size):
                return self._data(Call.READ, self._read_file, client, fd, min(size, room))
            case Input(size):
                return self._data(Call.INPUT, self._console.read_line, min(size, room))
            case Terminate():
                self._close_files(client)
                self.terminated = True
                return None
            case Unknown(call):
                self._unknown += 1
                return dialect.build_unknown(call)
            case Malformed(call, _):
                self._malformed += 1
                return None if call is None else dialect.build_answer(call, _FAILED)

    def _number(self, call: Call, function: Callable[P, int], *arguments: P.args, **none: P.kwargs) -> bytes:
        """Returns the answer with what the function returns."""
        try:
            result = function(*arguments, **none)
        except (OSError, ValueError):  # ValueError: a console stream that is closed
            self._failed += 1
            result = _FAILED
        return self._dialect.build_answer(call, result)

    def _data(self, call: Call, function: Callable[P, bytes], *arguments: P.args, **none: P.kwargs) -> bytes:
        """Returns the answer with the bytes that the function returns."""
        try:
            data = function(*arguments, **none)
        except (OSError, ValueError):
            self._failed += 1
            return self._dialect.build_answer(call, _FAILED)
        self._read += len(data)
        return self._dialect.build_answer(call, len(data), data)

    def _open(self, client: int, name: bytes, flags: int, mode: int) -> int:
        ours = self._flags.to_host(flags)
        if ours is None or len(self._files) >= self._max_files:
            raise OSError("flags that are not granted, or too many files")
        file = self._sandbox.open(name, ours, mode)
        fd = _FIRST_FILE
        while (client, fd) in self._files:
            fd += 1
        self._files[client, fd] = file
        return fd

    def _close_file(self, client: int, fd: int) -> int:
        os.close(self._file(client, fd, take=True))
        return 0

    def _write(self, client: int, fd: int, data: bytes) -> int:
        if fd in (1, 2):
            self._console.write(fd, data)
            written = len(data)
        else:
            written = self._sandbox.write(self._file(client, fd), data)
        self._written += written
        return written

    def _read_file(self, client: int, fd: int, size: int) -> bytes:
        if fd == 0:
            return self._console.read(size)
        return os.read(self._file(client, fd), max(size, 0))

    def _file(self, client: int, fd: int, *, take: bool = False) -> int:
        file = self._files.pop((client, fd), None) if take else self._files.get((client, fd))
        if file is None:
            raise OSError(f"descriptor {fd} is not open")
        return file

    def _close_files(self, client: int | None) -> None:
        for key in [key for key in self._files if client in (None, key[0])]:
            with contextlib.suppress(OSError):  # it is closed all the same
                os.close(self._files.pop(key))

    # -- the rest --------------------------------------------------------------------------------------------------

    def run(self, *, timeout: float | None = None) -> None:
        """Serves until a client terminates, or the last one takes its channel away.

        Args:
            timeout: seconds to wait for anything to happen; None waits for ever.

        Raises:
            TimeoutExpired: when nothing happened in time.
            RemoteError: when the remote ended without either.
        """
        had_clients = False
        while not self.terminated:
            has_clients = any(endpoint.name for endpoint in self._endpoints)
            if had_clients and not has_clients:
                return
            had_clients = has_clients
            if not self._bus.wait(timeout=timeout):
                raise TimeoutExpired(
                    f"no remote called {self._dialect.service!r} within {timeout} s; announced channels: "
                    f"{', '.join(repr(channel.name) for channel in self._bus.channels) or 'none'}",
                    timeout=timeout,
                )

    def statistics(self) -> RpcStatistics:
        """Returns the counts since the server was made."""
        return RpcStatistics(
            num_requests=self._requests,
            num_failed=self._failed,
            num_malformed=self._malformed,
            num_unknown=self._unknown,
            num_unanswered=self._unanswered,
            num_open_files=len(self._files),
            num_bytes_read=self._read,
            num_bytes_written=self._written,
        )

    def close(self) -> None:
        """Closes all files and endpoints; harmless when repeated."""
        if not self._closed:
            self._closed = True
            self._close_files(None)
            for endpoint in self._endpoints:
                endpoint.close()
            self._sandbox.close()

    def __enter__(self) -> RpcServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
