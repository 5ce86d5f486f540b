"""Remote procedure calls on the wire: the two dialects of OpenAMP's file and console calls. All little-endian.

A request and its answer are one message each. `RPC` is what the service `rpmsg-rpc` speaks, `RETARGET` the older proxy
on `rpmsg-openamp-demo-channel` or at address 0xFF.

| call | id | `RPC`: request | `RPC`: answer | `RETARGET`: request (field 1, field 2, data) | `RETARGET`: answer |
|---|---|---|---|---|---|
| open | 1 | name char[10] and 2 bytes of padding, flags i32, mode i32 | fd i32 | flags, mode, name | fd |
| close | 2 | fd i32 | result i32 | fd | result |
| write | 3 | fd i32, length u32, bytes | result i32 | fd, length, bytes | result |
| read | 4 | fd i32, size u32 | result i32, bytes | fd, size | result, bytes |
| terminate | 6 | id i32 | none | | none |
| input | 7 | size u32 | result i32, bytes, NUL | (read of fd 0) | |

Requests of `RPC` begin with `id u32`, answers with `id u32, status i32` (0, or -1 for an unknown id). Messages of
`RETARGET` begin with `id u32, field 1 i32, field 2 i32, length of the data u32` in both directions; an answer's result
is field 1. Results are -1 on failure. Descriptors 0, 1 and 2 are the console.

What OpenAMP's C programs do beyond that, seen in their sources:

- The padding behind the name is part of it in practice: the demonstration's "remote.file" with its NUL fills all 12.
  A request whose name has no padding behind it (18 bytes of parameters) is understood as well.
- The C server leaves out the last four bytes of every answer. So the answer to open has no descriptor, which makes
  files impossible; console output and input work.
- The C client takes input as a string, so there is a NUL behind its bytes.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final, NamedTuple, Protocol

from openamp.errors import RemoteProtocolError

__all__ = [
    "RETARGET",
    "RPC",
    "Answer",
    "Call",
    "Close",
    "Dialect",
    "Input",
    "Malformed",
    "Open",
    "Read",
    "Request",
    "Terminate",
    "Unknown",
    "Write",
]


class Call(enum.IntEnum):
    """The ids of the calls."""

    OPEN = 1
    CLOSE = 2
    WRITE = 3
    READ = 4
    TERMINATE = 6
    INPUT = 7


class Open(NamedTuple):
    """Open a file; the numbers of `flags` are the client's, see `openamp.rpc.flags`."""

    name: bytes
    flags: int
    mode: int


class Close(NamedTuple):
    """Close a descriptor."""

    fd: int


class Write(NamedTuple):
    """Write to a file, or to the console (1, 2)."""

    fd: int
    data: bytes


class Read(NamedTuple):
    """Read at most `size` bytes from a file, or from the console (0)."""

    fd: int
    size: int


class Input(NamedTuple):
    """Read a line from the console, without its end."""

    size: int


class Terminate(NamedTuple):
    """The client ends; there is no answer."""


class Unknown(NamedTuple):
    """A call that there is not."""

    call: int


class Malformed(NamedTuple):
    """A request that makes no sense; `call` is None where not even its id is there."""

    call: Call | None
    reason: str


Request = Open | Close | Write | Read | Input | Terminate | Unknown | Malformed


class Answer(NamedTuple):
    """The answer to a call.

    Attributes:
        call: the id of the call, as it came.
        known: the server knows the call.
        result: None where the answer was cut off before it.
        data: what was read, and whatever is behind it.
    """

    call: int
    known: bool
    result: int | None
    data: bytes


class Dialect(Protocol):
    """One of the two protocols.

    Attributes:
        service: the name under which the client announces itself.
        address: the server's address for clients that announce nothing, or None.
        max_name: the longest file name in bytes.
        max_read: what one read may ask for, at most.
        max_write: what one write may carry, at most.
        overhead: bytes of a read's answer besides the data, console input included.
    """

    service: str
    address: int | None
    max_name: int
    max_read: int
    max_write: int
    overhead: int

    def parse_request(self, message: bytes) -> Request:
        """Reads a request, whatever its bytes are."""

    def build_request(self, request: Request) -> bytes:
        """Returns the message of a request; `Unknown` and `Malformed` have none but the id."""

    def build_answer(self, call: Call, result: int, data: bytes = b"") -> bytes:
        """Returns the message that answers a call."""

    def build_unknown(self, call: int) -> bytes:
        """Returns the message that refuses a call that there is not."""

    def parse_answer(self, message: bytes) -> Answer:
        """Reads an answer.

        Raises:
            RemoteProtocolError: when it is too short to be one.
        """


_U32: Final = Struct("<I")
_I32: Final = Struct("<i")
_FD_AND_SIZE: Final = Struct("<iI")
_OPEN: Final = Struct("<12sii")
_OPEN_WITHOUT_PADDING: Final = Struct("<10sii")
_ANSWER: Final = Struct("<Ii")
_RETARGET: Final = Struct("<IiiI")
_OK, _UNKNOWN_ID = 0, -1


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


class _Rpc:
    service = "rpmsg-rpc"
    address: int | None = None
    max_name = _OPEN.size - 8 - 1  # and a NUL
    max_read = 296  # of the 300 in the C structure, as the C server cuts four off
    max_write = 300
    overhead = _ANSWER.size + _I32.size + 1

    def parse_request(self, message: bytes) -> Request:
        if len(message) < _U32.size:
            return Malformed(None, f"{len(message)} bytes are no request")
        (number,) = _U32.unpack_from(message)
        if number not in Call.__members__.values():
            return Unknown(number)
        call, params = Call(number), message[_U32.size :]
        needed = {Call.OPEN: 18, Call.CLOSE: 4, Call.WRITE: 8, Call.READ: 8, Call.INPUT: 4, Call.TERMINATE: 0}[call]
        if len(params) < needed:
            return Malformed(call, f"{len(params)} bytes of parameters, {needed} are needed")
        if call is Call.OPEN:
            layout = _OPEN if len(params) >= _OPEN.size else _OPEN_WITHOUT_PADDING
            name, flags, mode = layout.unpack_from(params)
            return Open(_text(name), flags, mode)
        if call is Call.WRITE:
            fd, length = _FD_AND_SIZE.unpack_from(params)
            data = params[_FD_AND_SIZE.size :]
            if length > len(data):
                return Malformed(call, f"{length:#x} bytes to write, {len(data):#x} are there")
            return Write(fd, data[:length])
        if call is Call.READ:
            return Read(*_FD_AND_SIZE.unpack_from(params))
        if call is Call.CLOSE:
            return Close(*_I32.unpack_from(params))
        return Input(*_U32.unpack_from(params)) if call is Call.INPUT else Terminate()

    def build_request(self, request: Request) -> bytes:
        match request:
            case Open(name, flags, mode):
                return _U32.pack(Call.OPEN) + _OPEN.pack(name, flags, mode)
            case Close(fd):
                return _U32.pack(Call.CLOSE) + _I32.pack(fd)
            case Write(fd, data):
                return _U32.pack(Call.WRITE) + _FD_AND_SIZE.pack(fd, len(data)) + data
            case Read(fd, size):
                return _U32.pack(Call.READ) + _FD_AND_SIZE.pack(fd, size)
            case Input(size):
                return _U32.pack(Call.INPUT) + _U32.pack(size)
            case Terminate():
                return _U32.pack(Call.TERMINATE) + _I32.pack(Call.TERMINATE)
            case Unknown(call) | Malformed(call, _):
                return _U32.pack(call or 0)

    def build_answer(self, call: Call, result: int, data: bytes = b"") -> bytes:
        end = b"\0" if call is Call.INPUT else b""
        return _ANSWER.pack(call, _OK) + _I32.pack(result) + data + end

    def build_unknown(self, call: int) -> bytes:
        return _ANSWER.pack(call, _UNKNOWN_ID)

    def parse_answer(self, message: bytes) -> Answer:
        if len(message) < _ANSWER.size:
            raise _too_short(message, _ANSWER.size)
        call, status = _ANSWER.unpack_from(message)
        params = message[_ANSWER.size :]
        result = _I32.unpack_from(params)[0] if len(params) >= _I32.size else None
        data = params[_I32.size :]
        return Answer(call, status == _OK, result, _text(data) if call == Call.INPUT else data)


class _Retarget:
    service = "rpmsg-openamp-demo-channel"
    address: int | None = 0xFF
    max_name = 496 - _RETARGET.size - 1
    max_read = 496 - _RETARGET.size
    max_write = 496 - _RETARGET.size - 1  # a NUL goes behind what is written to the console
    overhead = _RETARGET.size

    def parse_request(self, message: bytes) -> Request:
        if len(message) < _U32.size:
            return Malformed(None, f"{len(message)} bytes are no request")
        (number,) = _U32.unpack_from(message)
        if number not in Call.__members__.values() or number == Call.INPUT:
            return Unknown(number)
        call = Call(number)
        if call is Call.TERMINATE:
            return Terminate()
        if len(message) < _RETARGET.size:
            return Malformed(call, f"{len(message)} bytes, {_RETARGET.size} are needed")
        _, first, second, length = _RETARGET.unpack_from(message)
        data = message[_RETARGET.size :]
        if call is Call.OPEN:
            return Open(_text(data[:length]), first, second)
        if call is Call.CLOSE:
            return Close(first)
        if second < 0:
            return Malformed(call, f"a length of {second}")
        if call is Call.READ:
            return Read(first, second)
        if second > len(data):
            return Malformed(call, f"{second:#x} bytes to write, {len(data):#x} are there")
        return Write(first, data[:second])

    def build_request(self, request: Request) -> bytes:
        match request:
            case Open(name, flags, mode):
                return _retarget(Call.OPEN, flags, mode, name + b"\0")
            case Close(fd):
                return _retarget(Call.CLOSE, fd)
            case Write(fd, data):
                return _retarget(Call.WRITE, fd, len(data), data + (b"\0" if fd == 1 else b""))
            case Read(fd, size):
                return _retarget(Call.READ, fd, size)
            case Input(size):
                return _retarget(Call.READ, 0, size)
            case Terminate():
                return _retarget(Call.TERMINATE)
            case Unknown(call) | Malformed(call, _):
                return _retarget(call or 0)

    def build_answer(self, call: Call, result: int, data: bytes = b"") -> bytes:
        return _retarget(call, result, 0, data)

    def build_unknown(self, call: int) -> bytes:
        return _retarget(call, -1)

    def parse_answer(self, message: bytes) -> Answer:
        if len(message) < _RETARGET.size:
            raise _too_short(message, _RETARGET.size)
        call, result, _, length = _RETARGET.unpack_from(message)
        return Answer(call, True, result, message[_RETARGET.size :][:length])


def _retarget(call: int, first: int = 0, second: int = 0, data: bytes = b"") -> bytes:
    return _RETARGET.pack(call, first, second, len(data)) + data


def _too_short(message: bytes, size: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"an answer of {len(message):#x} bytes, {size:#x} are needed; is the other side a server of these calls?",
        value=len(message),
        clause="RPC answer",
    )


RPC: Final[Dialect] = _Rpc()
"""The service `rpmsg-rpc`."""

RETARGET: Final[Dialect] = _Retarget()
"""The older proxy."""
