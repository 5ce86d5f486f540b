"""Those who wait for a transmit buffer: one queue for the whole bus, so that nobody overtakes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from openamp.errors import ClosedError, MessageTooLongError, OpenAMPError
from openamp.rpmsg.transport import Payload, Transport
from openamp.rpmsg.wire import ADDR_ANY

__all__ = ["PendingSend", "Senders"]


class PendingSend:
    """Messages of one call that wait for transmit buffers.

    Attributes:
        messages: the payloads; the first `sent` of them are on their way.
        done: nothing is left to do; `error` says whether it failed.
        announces: this is the bus's own message to the peer's name service.
        token: a borrowed buffer that holds the one message already, with `length` bytes of payload, or -1.
    """

    __slots__ = ("announces", "done", "dst", "error", "length", "messages", "sent", "src", "token")

    def __init__(
        self,
        src: int,
        dst: int,
        messages: Sequence[Payload],
        *,
        sent: int = 0,
        token: int = -1,
        length: int = 0,
        announces: bool = False,
    ) -> None:
        self.src = src
        self.dst = dst
        self.messages = messages
        self.sent = sent
        self.token = token
        self.length = length
        self.announces = announces
        self.done = False
        self.error: OpenAMPError | None = None


class Senders:
    """The queue.

    Attributes:
        waiting: oldest first; whoever sends past the queue looks whether it is empty.
        num_announcements: how many of the bus's own messages went out.
        num_borrowers: threads that wait for a buffer to write into, without a place in the queue.
    """

    def __init__(self, transport: Transport) -> None:
        self.waiting: deque[PendingSend] = deque()
        self.num_announcements = 0
        self.num_borrowers = 0
        self._transport = transport

    def add(self, pending: PendingSend) -> None:
        """Sends at once what can be sent in its turn; the rest waits."""
        self.waiting.append(pending)
        self.flush()

    def cancel(self, pending: PendingSend) -> None:
        """Takes waiting messages out again."""
        if pending in self.waiting:
            self.waiting.remove(pending)

    def flush(self) -> None:
        """Sends for those who wait, oldest first, as far as the buffers go."""
        waiting, transport = self.waiting, self._transport
        asked = False
        while waiting:
            progress = self._put_first()
            transport.publish_sent()  # may come back here, where the peer answers within the kick
            if not progress:
                if asked:
                    return
                transport.want_buffer(True)
                asked = True  # look once more: some may have come free before the peer knew
        if not self.num_borrowers:
            transport.want_buffer(False)

    def _put_first(self) -> bool:
        """Puts the oldest one's messages into buffers; False when they do not suffice."""
        pending, transport = self.waiting[0], self._transport
        try:
            if pending.token >= 0:
                transport.put_buffer(pending.token, pending.src, pending.dst, pending.length)
            else:
                before = pending.sent
                pending.sent = transport.put_many(pending.src, pending.dst, pending.messages, before)
                if pending.announces:
                    self.num_announcements += pending.sent - before
                if pending.sent < len(pending.messages):
                    return False
        except MessageTooLongError as error:  # the remote learns a buffer's size when it gets it
            pending.error = error
        pending.done = True
        self.waiting.popleft()
        return True

    def announcing(self, src: int, data: bytes) -> bool:
        """Whether this announcement waits already."""
        return any(p.announces and p.src == src and p.messages[0] == data for p in self.waiting)

    def fail(self, src: int, dst: int, error: OpenAMPError) -> None:
        """Ends what waits for a buffer from `src` to `dst` (ADDR_ANY: to all); announcements go on."""
        for pending in [p for p in self.waiting if p.src == src and dst in (ADDR_ANY, p.dst) and not p.announces]:
            self._end(pending, error)
            self.waiting.remove(pending)

    def fail_all(self, cause: Exception) -> None:
        """Ends everything that waits."""
        if isinstance(cause, OpenAMPError):
            error = cause
        else:
            error = ClosedError(f"the bus ended: {cause}")
            error.__cause__ = cause
        for pending in self.waiting:
            self._end(pending, error)
        self.waiting.clear()

    def _end(self, pending: PendingSend, error: OpenAMPError) -> None:
        pending.error = error
        pending.done = True
        if pending.token >= 0:
            self._transport.unborrow(pending.token)
