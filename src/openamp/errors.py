"""Every error that OpenAMP in Python raises on purpose.

The tree is the documentation: catch a branch, not a list of leaves.

```
OpenAMPError
├── WouldBlock                  a step that never waits cannot finish now; try again after an event
├── TimeoutExpired              a deadline passed (also a TimeoutError)
├── StateError                  the call does not fit the present state; says what is allowed
├── ClosedError                 the endpoint, bus or link was closed on this side
├── ImageError                  a firmware image cannot be used
│   ├── UnknownFormatError      no registered format recognises the bytes
│   └── ResourceTableError      the image's resource table is broken
├── AddressError                an address range lies outside the shared or mapped memory
├── AllocationError             no room left for a carve-out, a ring or buffers
├── VirtqueueError              a wrong use of a virtqueue: a ring that cannot be, a buffer not held
├── RpmsgError                  a wrong use of RPMsg
│   ├── MessageTooLongError     the payload exceeds the endpoint's mtu
│   ├── AddressInUseError       the local address is taken
│   └── NotBoundError           the endpoint has no destination yet
├── RpcError                    a remote procedure call failed on the other side (also an OSError)
├── RemoteProtocolError         the peer broke the protocol: what it wrote, where, and the clause
├── RemoteError                 the remote's context ended
│   ├── RemoteCrashed           by a fault; carries the crash report
│   └── RemoteExited            by itself
├── HostShutdown                we are the remote, and the host ended our context
└── PlatformError               a platform cannot do what is asked
    ├── UnknownPlatformError    no platform of that name
    ├── BoardError              an unknown or wrong board, or a board file that is broken
    └── MissingDependencyError  an optional library is not installed (also an ImportError)
```

Numbers are attributes (plain integers); the text shows them in hexadecimal and ends with the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = [
    "AddressError",
    "AddressInUseError",
    "AllocationError",
    "BoardError",
    "ClosedError",
    "CrashReport",
    "HostShutdown",
    "ImageError",
    "MessageTooLongError",
    "MissingDependencyError",
    "NotBoundError",
    "OpenAMPError",
    "PlatformError",
    "RemoteCrashed",
    "RemoteError",
    "RemoteExited",
    "RemoteProtocolError",
    "ResourceTableError",
    "RpcError",
    "RpmsgError",
    "StateError",
    "TimeoutExpired",
    "UnknownFormatError",
    "UnknownPlatformError",
    "VirtqueueError",
    "WouldBlock",
]


class OpenAMPError(Exception):
    """Root of all errors of this package. They survive a trip to another process, attributes included."""

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, (type(self), self.args, self.__dict__)


def _unpickle(kind: type[OpenAMPError], arguments: tuple[object, ...], attributes: dict[str, object]) -> OpenAMPError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class WouldBlock(OpenAMPError):
    """A step that never waits cannot finish now; try again after the next event."""


class TimeoutExpired(OpenAMPError, TimeoutError):
    """A deadline passed before the awaited thing happened.

    Attributes:
        timeout: the time allowed, in seconds.
        completed: how much was done of a batch, such as messages sent.
    """

    def __init__(self, message: str, *, timeout: float | None = None, completed: int = 0) -> None:
        super().__init__(message)
        self.timeout = timeout
        self.completed = completed


class StateError(OpenAMPError):
    """The call does not fit the present state.

    Attributes:
        state: the present state.
        allowed: what may be called in it.
    """

    def __init__(self, message: str, *, state: str = "", allowed: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.state = state
        self.allowed = tuple(allowed)


class ClosedError(OpenAMPError):
    """The endpoint, bus or link was closed on this side."""


class ImageError(OpenAMPError):
    """A firmware image cannot be used.

    Attributes:
        offset: file offset of the offending field, or None.
        value: the offending value, or None.
    """

    def __init__(self, message: str, *, offset: int | None = None, value: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.value = value


class UnknownFormatError(ImageError):
    """No registered firmware format recognises the bytes."""


class ResourceTableError(ImageError):
    """The resource table is broken; `offset` counts from the table's start."""


class AddressError(OpenAMPError):
    """An address range lies outside the shared or mapped memory.

    Attributes:
        da: first device address of the range.
        size: its length in bytes.
    """

    def __init__(self, message: str, *, da: int, size: int) -> None:
        super().__init__(message)
        self.da = da
        self.size = size


class AllocationError(OpenAMPError):
    """No room is left for a carve-out, a ring or buffers.

    Attributes:
        size: the size asked for, in bytes.
    """

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class VirtqueueError(OpenAMPError):
    """A wrong use of a virtqueue by us: a ring that cannot be, a buffer that cannot be offered or is not held.

    Attributes:
        queue: the queue's name ("h2r" or "r2h").
        value: the offending value, or None.
    """

    def __init__(self, message: str, *, queue: str = "", value: int | None = None) -> None:
        super().__init__(message)
        self.queue = queue
        self.value = value


class RpmsgError(OpenAMPError):
    """A wrong use of RPMsg."""


class MessageTooLongError(RpmsgError):
    """The payload exceeds the endpoint's mtu.

    Attributes:
        size: the payload's length in bytes.
        mtu: the largest payload that fits.
    """

    def __init__(self, message: str, *, size: int, mtu: int) -> None:
        super().__init__(message)
        self.size = size
        self.mtu = mtu


class AddressInUseError(RpmsgError):
    """The local address is taken.

    Attributes:
        address: the address asked for.
    """

    def __init__(self, message: str, *, address: int) -> None:
        super().__init__(message)
        self.address = address


class NotBoundError(RpmsgError):
    """The endpoint has no destination yet: nobody announced the service and nobody wrote to it."""


class RpcError(OpenAMPError, OSError):
    """A remote procedure call failed on the other side, which does not say why.

    Attributes:
        call: the call's id, such as 1 for open.
        result: what the other side answered, -1 as a rule.
    """

    def __init__(self, message: str, *, call: int = 0, result: int = -1) -> None:
        super().__init__(message)
        self.call = call
        self.result = result


class RemoteProtocolError(OpenAMPError):
    """The peer broke the protocol.

    Attributes:
        queue: the queue's name ("h2r" or "r2h"), or "" where none is concerned.
        index: the ring index, descriptor or buffer concerned, or None.
        value: the offending value, or None.
        clause: the rule that was broken, with its source.
    """

    def __init__(
        self, message: str, *, queue: str = "", index: int | None = None, value: int | None = None, clause: str = ""
    ) -> None:
        super().__init__(message)
        self.queue = queue
        self.index = index
        self.value = value
        self.clause = clause


class RemoteError(OpenAMPError):
    """The remote's context ended."""


@dataclass(frozen=True, slots=True)
class CrashReport:
    """What is known of a remote's crash; `str()` gives it as text for people.

    Attributes:
        reason: one line, such as "HardFault: bus error on data access" or "killed by signal 9".
        pc: program counter, or None where there is none.
        location: the program counter as symbol+offset, or "" when the image has no symbol there.
        address: the data address whose access faulted, or None.
        registers: register names and values in the core's usual order.
        details: further lines (fault status bits decoded, the nearest memory region, exit status).
        output_tail: the last lines of the trace buffer, console or process output.
    """

    reason: str
    pc: int | None = None
    location: str = ""
    address: int | None = None
    registers: Mapping[str, int] = field(default_factory=dict)
    details: tuple[str, ...] = ()
    output_tail: str = ""

    def __str__(self) -> str:
        lines = [f"the remote crashed: {self.reason}"]
        if self.pc is not None:
            lines.append(f"  at {self.location or 'unknown symbol'} (pc 0x{self.pc:x})")
        if self.address is not None:
            lines.append(f"  accessing 0x{self.address:x}")
        lines += [f"  {line}" for line in self.details]
        names = list(self.registers.items())
        width = max(map(len, self.registers), default=0)
        for i in range(0, len(names), 4):
            lines.append("  " + "  ".join(f"{name:>{width}}=0x{value:08x}" for name, value in names[i : i + 4]))
        if self.output_tail:
            lines.append("  last output:")
            lines += [f"    {line}" for line in self.output_tail.splitlines()]
        return "\n".join(lines)


class RemoteCrashed(RemoteError):
    """The remote ended by a fault; every later call raises it again.

    Attributes:
        report: what is known of the crash.
    """

    def __init__(self, report: CrashReport) -> None:
        super().__init__(str(report))
        self.report = report


class RemoteExited(RemoteError):
    """The remote's context ended by itself.

    Attributes:
        code: its exit status, or None where it has none.
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class HostShutdown(OpenAMPError):
    """We are the remote, and the host ended our context: clean up and return."""


class PlatformError(OpenAMPError):
    """A platform cannot do what is asked."""


class UnknownPlatformError(PlatformError):
    """No platform of that name is installed."""


class BoardError(PlatformError):
    """An unknown or wrong board, or a board file that is broken."""


class MissingDependencyError(PlatformError, ImportError):
    """An optional library is not installed; the message names the extra to install."""
