"""The remote's side of remote procedure calls: files and the console of the host, as Python's own.

```python
with openamp.serve("process") as bus, RpcClient(bus) as host:
    print("hello", file=host.stdout)
    with host.open("remote.file", "w") as file:
        file.write("written by the remote")
```
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from types import TracebackType
from typing import IO, Any, cast

from openamp.errors import OpenAMPError, RemoteProtocolError, RpcError, StateError, WouldBlock
from openamp.rpc.flags import FlagValues
from openamp.rpc.wire import RPC, Answer, Close, Dialect, Input, Open, Read, Request, Terminate, Write
from openamp.rpmsg import ADDR_ANY, Bus

__all__ = ["RpcClient", "RpcFile"]

_MODES = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}

_NO_QUALIFIERS = str.maketrans("", "", "bt+")


class RpcClient:
    """Calls the host's server. Use it from the bus's thread, one call at a time.

    Args:
        bus: the remote's, from `openamp.serve()`.
        dialect: `RPC` or `RETARGET`.
        address: the server's address, where it is known and nothing is announced (`RETARGET.address`).
        timeout: seconds for the server to come, and for each answer; None waits for ever. Console input waits for
            ever, since a person types it.
        flags: whose numbers the flags of `open` are on the wire.

    Raises:
        TimeoutExpired: when no server takes the announced service in time.

    Attributes:
        stdout: the host's console, as a text file to print to.
        stderr: the same for its error output.
        num_calls: calls that were answered.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        dialect: Dialect = RPC,
        address: int | None = None,
        timeout: float | None = 5.0,
        flags: FlagValues = FlagValues.LINUX,
    ) -> None:
        self._dialect = dialect
        self._timeout = timeout
        self._flags = flags
        self._lost_answer = False
        self.num_calls = 0
        self._endpoint = bus.create_endpoint(
            dialect.service if address is None else "", dst=ADDR_ANY if address is None else address
        )
        if address is None:
            try:
                self._endpoint.wait_bound(timeout=timeout)
            except BaseException:
                self._endpoint.close()
                raise
        self.stdout = self._console(1)
        self.stderr = self._console(2)

    def _console(self, fd: int) -> IO[str]:
        return io.TextIOWrapper(cast(IO[bytes], _Output(self, fd)), "utf-8", write_through=True)

    # -- files -----------------------------------------------------------------------------------------------------

    def open(
        self, name: str | bytes, mode: str = "r", *, buffering: int = -1, encoding: str = "utf-8", perm: int = 0o666
    ) -> IO[Any]:
        """Opens a file on the host, as `open` does.

        There is no call to seek, so a file is read or written from one end to the other.

        Args:
            name: the file's name as the server knows it; `rpmsg-rpc` has room for 11 bytes.
            mode: one of r, w, a and x, with b for bytes; with + (and buffering=0) for reading and writing.
            buffering: 0 for none, in binary modes.
            encoding: of text.
            perm: permissions of a file that is created.

        Raises:
            RpcError: when the server cannot open it.
            ValueError: when the mode is impossible or the name too long.
        """
        kind, plus, binary = mode.translate(_NO_QUALIFIERS), "+" in mode, "b" in mode
        if kind not in _MODES or len(set(mode)) != len(mode) or ("t" in mode and binary):
            raise ValueError(f"mode {mode!r} is impossible; give one of r, w, a and x, with b for bytes")
        if (plus or buffering == 0) and not (binary and buffering == 0):
            raise ValueError(f"mode {mode!r} with buffering={buffering} is impossible; '+' and 0 go with 'b' and 0")
        flags = _MODES[kind]
        if plus:
            flags = flags & ~os.O_ACCMODE | os.O_RDWR
        raw = RpcFile(
            self, self.open_fd(name, flags, perm), name, reads=kind == "r" or plus, writes=kind != "r" or plus
        )
        if buffering == 0:
            return cast(IO[Any], raw)
        buffered = (
            io.BufferedReader(raw, self._max_read()) if kind == "r" else io.BufferedWriter(raw, self._max_write())
        )
        return buffered if binary else io.TextIOWrapper(buffered, encoding)

    def open_fd(self, name: str | bytes, flags: int, perm: int = 0o666) -> int:
        """Opens a file and returns the server's descriptor, as `os.open` does; see `open`."""
        raw = os.fsencode(name)
        if len(raw) > self._dialect.max_name or b"\0" in raw:
            raise ValueError(
                f"file name {name!r} has {len(raw)} bytes; {self._dialect.service!r} carries at most "
                f"{self._dialect.max_name}, and no NUL; give a shorter one"
            )
        answer = self._ask(Open(raw, self._flags.from_host(flags), perm))
        if answer.result is None:
            raise RemoteProtocolError(
                f"the answer to open({name!r}) has no descriptor in it; OpenAMP's C server cuts the last four bytes of "
                f"every answer off, so only the console works with it",
                value=len(answer.data),
                clause="RPC answer to open: fd i32",
            )
        return self._check(answer, f"open({name!r})")

    def read(self, fd: int, size: int) -> bytes:
        """Reads at most `size` bytes, and at most what one answer carries; b"" is the end."""
        return self._read(Read(fd, min(size, self._max_read())), f"read({fd})")

    def write(self, fd: int, data: bytes) -> int:
        """Writes as much of the data as one request carries, and returns how many bytes were written."""
        part = bytes(data[: self._max_write()])
        answer = self._ask(Write(fd, part))
        written = len(part) if answer.result is None else self._check(answer, f"write({fd})")
        if written > len(part) or (part and not written):
            raise RemoteProtocolError(
                f"the server claims to have written {written:#x} of {len(part):#x} bytes; correct the server",
                value=written,
                clause="RPC answer to write: result i32",
            )
        return written

    def close_fd(self, fd: int) -> None:
        """Closes a descriptor."""
        answer = self._ask(Close(fd))
        if answer.result is not None:
            self._check(answer, f"close({fd})")

    # -- console ---------------------------------------------------------------------------------------------------

    def input(self, prompt: str = "", *, size: int = 256) -> str:
        """Prints a prompt and returns a line of the host's console input, "" when there is no more.

        Raises:
            RpcError: when the server has no console input.
        """
        if prompt:
            self.stdout.write(prompt)
        data = self._read(Input(min(size, self._max_read())), "input")
        return data.rstrip(b"\r\n").decode("utf-8", "replace")

    # -- the end ---------------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Tells the server that this was all, and closes the client."""
        try:
            if self._endpoint.is_bound:
                self._endpoint.send(self._dialect.build_request(Terminate()), timeout=self._timeout)
        finally:
            self._endpoint.close()

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.terminate()
        except OpenAMPError:
            if kind is None:
                raise

    # -- inside ----------------------------------------------------------------------------------------------------

    def _max_read(self) -> int:
        return self._dialect.max_read

    def _max_write(self) -> int:
        return max(min(self._dialect.max_write, self._endpoint.mtu - self._dialect.overhead), 1)

    def _read(self, request: Read | Input, what: str) -> bytes:
        answer = self._ask(request)
        size = self._check(answer, what)
        if isinstance(request, Read) and size > min(len(answer.data), request.size):
            raise RemoteProtocolError(
                f"the answer to {what} claims {size:#x} bytes and has {len(answer.data):#x} ({request.size:#x} were "
                f"asked for); correct the server",
                value=size,
                clause="RPC answer to read: result i32, bytes",
            )
        return answer.data[:size]

    @staticmethod
    def _check(answer: Answer, what: str) -> int:
        if answer.result is None:
            raise RemoteProtocolError(
                f"the answer to {what} has no result in it; correct the server", clause="RPC answer: result i32"
            )
        if answer.result < 0:
            raise RpcError(
                f"{what} failed on the server, which answered {answer.result} and does not say why; look at what it "
                f"serves, and at the names and flags",
                call=answer.call,
                result=answer.result,
            )
        return answer.result

    @property
    def _usable(self) -> bool:
        return not self._lost_answer and not self._endpoint.is_closed

    def _ask(self, request: Request) -> Answer:
        """Sends a request and returns its answer."""
        if self._lost_answer:
            raise StateError(
                "the answer to an earlier call did not come; close this client and make another one", state="broken"
            )
        message = self._dialect.build_request(request)
        endpoint, number = self._endpoint, int.from_bytes(message[:4], "little")
        with contextlib.suppress(WouldBlock):
            while True:
                endpoint.try_receive()  # a greeting: Linux's hosts send something to be known
        patient = isinstance(request, Input) or (isinstance(request, Read) and request.fd == 0)
        deadline = None if self._timeout is None or patient else time.monotonic() + self._timeout
        try:
            endpoint.send(message, timeout=self._timeout)
            while True:
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                answer = self._dialect.parse_answer(endpoint.receive(timeout=left))
                if answer.call == number:
                    break
        except BaseException:
            self._lost_answer = True  # should it still come, it would be taken for the next one's
            raise
        self.num_calls += 1
        if not answer.known:
            raise RpcError(
                f"the server does not know the call {number}; is it a server of {self._dialect.service!r}?", call=number
            )
        return answer


class RpcFile(io.RawIOBase):
    """A file on the host, without a buffer. Made by `RpcClient.open`.

    Attributes:
        name: as it was opened.
        fd: the server's descriptor.
    """

    def __init__(self, client: RpcClient, fd: int, name: str | bytes, *, reads: bool, writes: bool) -> None:
        self.name = name
        self.fd = fd
        self._client = client
        self._reads = reads
        self._writes = writes

    def readable(self) -> bool:
        """The file was opened for reading."""
        return self._reads

    def writable(self) -> bool:
        """The file was opened for writing."""
        return self._writes

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer, at most what one answer carries; 0 is the end."""
        if not self._reads:
            raise io.UnsupportedOperation("the file was not opened for reading")
        view = memoryview(buffer).cast("B")
        data = self._client.read(self.fd, len(view))
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        """Writes as much as one request carries and returns how many bytes were written."""
        if not self._writes:
            raise io.UnsupportedOperation("the file was not opened for writing")
        return self._client.write(self.fd, memoryview(data).cast("B")[: self._client._max_write()].tobytes())

    def close(self) -> None:
        """Closes the file, on the server too; harmless when repeated, and when the client is closed."""
        if not self.closed:
            super().close()
            if self._client._usable:
                self._client.close_fd(self.fd)


class _Output(io.RawIOBase):
    """The console's output: everything at once, and never closed on the server."""

    def __init__(self, client: RpcClient, fd: int) -> None:
        self._client = client
        self._fd = fd

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B").tobytes()
        while rest:
            rest = rest[self._client.write(self._fd, rest) :]
        return len(data)
