"""What the samples share: the payload and the shutdown message of OpenAMP's C samples, results, and the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from openamp.errors import MessageTooLongError, RemoteExited, TimeoutExpired
from openamp.rpmsg import Bus, Endpoint
from openamp.server import SHUTDOWN_MESSAGE, Ended

__all__ = [
    "DEMO_SERVICE",
    "PAYLOAD",
    "Mismatch",
    "Mismatches",
    "Numbered",
    "Result",
    "Served",
    "compare",
    "end_remote",
    "plan_sizes",
]

DEMO_SERVICE: Final = "rpmsg-openamp-demo-channel"
"""The service of most samples."""

_FILLER = b"\xa5"
_MAX_KEPT = 100


class Numbered(NamedTuple):
    """The start of a numbered payload: `struct _payload` of the C samples, 16 bytes; 0xA5 fills what follows.

    C has two `unsigned long`, which are 8 bytes on a 64-bit host; remotes only send it back.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 8 | num | counts the messages from 0 |
    | 8 | 8 | size | bytes that follow |
    """

    num: int
    size: int

    @classmethod
    def message(cls, num: int, length: int) -> bytes:
        """Returns a payload of `length` bytes; of one below 16 bytes it is the beginning."""
        size = max(length - PAYLOAD.size, 0)
        return (PAYLOAD.pack(num, size) + _FILLER * size)[:length]


PAYLOAD: Final = Struct("<QQ")


class Mismatch(NamedTuple):
    """An answer that is not what was expected; `offset` is the first byte that differs."""

    number: int
    size: int
    received: int
    offset: int
    expected: int | None
    actual: int | None

    def __str__(self) -> str:
        if self.expected is None or self.actual is None:
            return f"message {self.number}: {self.size} bytes were expected, {self.received} came back"
        return (
            f"message {self.number} of {self.size} bytes: at offset {self.offset} {self.expected:#04x} was expected, "
            f"{self.actual:#04x} came back"
        )


def compare(number: int, expected: bytes, actual: bytes) -> Mismatch:
    """Returns how two different messages differ."""
    common = min(len(expected), len(actual))
    offset = next((i for i in range(common) if expected[i] != actual[i]), common)
    return Mismatch(
        number,
        len(expected),
        len(actual),
        offset,
        expected[offset] if offset < len(expected) else None,
        actual[offset] if offset < len(actual) else None,
    )


class Mismatches:
    """Counts wrong answers and keeps the first ones.

    Attributes:
        count: how many there were.
        kept: at most 100 of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self.kept: list[Mismatch] = []

    def check(self, number: int, expected: bytes, actual: bytes) -> None:
        """Notes a difference, if there is one."""
        if actual != expected:
            self.count += 1
            if len(self.kept) < _MAX_KEPT:
                self.kept.append(compare(number, expected, actual))


@dataclass(frozen=True, slots=True)
class Result:
    """What a sample's host saw.

    Attributes:
        num_messages: messages that were sent and answered.
        num_bytes: their payloads, both ways.
        seconds: from the first message to the last answer.
        num_errors: wrong answers.
        mismatches: the first 100 of them.
        ended_after: seconds from the request to end until the remote had ended its service; None when it did not,
            or was not asked.
    """

    num_messages: int
    num_bytes: int
    seconds: float
    num_errors: int = 0
    mismatches: tuple[Mismatch, ...] = ()
    ended_after: float | None = None

    @classmethod
    def of(
        cls,
        num_messages: int,
        num_bytes: int,
        seconds: float,
        wrong: Mismatches,
        ended_after: float | None = None,
    ) -> Result:
        """Returns a result with the mismatches that were noted."""
        return cls(num_messages, num_bytes, seconds, wrong.count, tuple(wrong.kept), ended_after)


class Served(NamedTuple):
    """What a sample's remote did: messages that it answered, and what ended it."""

    num_messages: int
    ended: Ended


def end_remote(bus: Bus, endpoint: Endpoint, *, grace: float, ask: bool = True) -> float | None:
    """Asks the remote to end, as the C samples do, and waits until it takes its channel back or ends.

    Args:
        bus: the host's.
        endpoint: bound to the remote's service.
        grace: seconds that it may take; 0 does not ask at all.
        ask: send the shutdown message; without it the remote ends by itself.

    Returns:
        The seconds it took, None when it did not end in time.

    Raises:
        RemoteCrashed: when it ended by a fault.
    """
    begin = time.monotonic()
    if grace <= 0:
        return None
    try:
        if ask:
            endpoint.send(SHUTDOWN_MESSAGE, timeout=grace)
        while endpoint.is_bound:
            left = begin + grace - time.monotonic()
            if left <= 0:
                return None
            bus.wait(timeout=left)
    except RemoteExited:
        pass
    except TimeoutExpired:
        return None
    return time.monotonic() - begin


def plan_sizes(endpoint: Endpoint, sizes: Sequence[int] | None) -> Sequence[int]:
    """Returns the sizes, by default every one that the channel carries.

    Raises:
        MessageTooLongError: when the channel does not carry one of them.
    """
    if sizes is None:
        return range(1, endpoint.mtu + 1)
    longest = max(sizes, default=0)
    if longest > endpoint.mtu:
        raise MessageTooLongError(
            f"{longest} bytes do not fit a message of this channel; the largest is {endpoint.mtu}",
            size=longest,
            mtu=endpoint.mtu,
        )
    return sizes
