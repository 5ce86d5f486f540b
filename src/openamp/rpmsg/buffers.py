"""Zero copy: message buffers in shared memory, lent to the program for a while.

Both kinds are context managers that give a `memoryview` and release it at the end, so that it cannot be used any
longer. Slices of the view, and what other libraries made of it, are the program's to drop before that: a view that
is still exported (to a NumPy array, say) makes the release fail with StateError and the buffer stays held.

Any thread may send or release a buffer, also one that another thread got.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from openamp.errors import ClosedError, MessageTooLongError, StateError
from openamp.rpmsg.transport import Lender
from openamp.rpmsg.wire import check_address

__all__ = ["BorrowedBuffer", "HeldBuffer", "Sender"]


class Sender(Protocol):
    """Where a borrowed buffer goes when it is written: its endpoint."""

    @property
    def src(self) -> int: ...

    def _destination(self) -> int:
        """Returns the endpoint's destination; raises when there is none."""

    def _commit(self, token: int, src: int, dst: int, length: int) -> None:
        """Sends the buffer, behind those who wait."""


class _Lent:
    """A view on a buffer that ends with its release."""

    __slots__ = ("_token", "data", "released")

    def __init__(self, token: int, data: memoryview) -> None:
        self._token = token
        self.data = data
        self.released = False

    def __enter__(self) -> memoryview:
        if self.released:
            raise ClosedError("this buffer was given back already; ask the endpoint for another one")
        return self.data

    def _end_view(self) -> None:
        try:
            self.data.release()
        except BufferError as error:
            raise StateError(
                f"the {len(self.data):#x}-byte message buffer is still in use by another object ({error}); drop that "
                f"object, or copy the bytes it needs, before the buffer is given back",
                state="held",
                allowed=("release",),
            ) from error
        self.released = True


class HeldBuffer(_Lent):
    """A received message, in place where it could be; the peer does not get the buffer back before `release`.

    Attributes:
        data: the payload, read-only.
        src: the sender's address.
        dst: the receiver's address.
        released: the buffer was given back; `data` can no longer be used.
        kept: the callback that got the buffer has kept it.
    """

    __slots__ = ("_lender", "dst", "kept", "src")

    def __init__(self, lender: Lender | None, token: int, data: memoryview, src: int, dst: int) -> None:
        super().__init__(token, data)
        self._lender = lender
        self.src = src
        self.dst = dst
        self.kept = False

    @classmethod
    def of_copy(cls, data: bytes, src: int, dst: int) -> HeldBuffer:
        """Makes one of a message that was copied out already."""
        return cls(None, -1, memoryview(data), src, dst)

    def keep(self) -> None:
        """For a callback: the buffer is not given back after the call; `release` does it later."""
        self.kept = True

    def release(self) -> None:
        """Gives the buffer back to the peer; harmless when repeated.

        Raises:
            StateError: when another object still uses the view.
        """
        lender = self._lender
        if lender is None:
            if not self.released:
                self._end_view()
            return
        with lender.lock:  # else two threads could both give it back
            if not self.released:
                self._end_view()
                lender.give_back(self._token)

    def take(self) -> bytes:
        """Returns a copy of the payload and gives the buffer back."""
        data = self.data.tobytes()
        self.release()
        return data

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class BorrowedBuffer(_Lent):
    """A transmit buffer to write a payload into, in place.

    As a context manager it sends the whole view at the end of the block, or gives the buffer back unsent when the
    block raises. To decide the length or the destination late, call `send` yourself.

    Attributes:
        data: the payload to write; its length is what was asked for, at most the mtu. The bytes are whatever the
            last message left.
        released: the buffer was sent or given back; `data` can no longer be used.
    """

    __slots__ = ("_lender", "_sender")

    def __init__(self, lender: Lender, token: int, data: memoryview, sender: Sender) -> None:
        super().__init__(token, data)
        self._lender = lender
        self._sender = sender

    def send(self, size: int | None = None, *, src: int | None = None, dst: int | None = None) -> None:
        """Sends the first `size` bytes (None: all) and ends the view. Never waits.

        Args:
            size: payload length in bytes.
            src: the sender's address; None is the endpoint's own.
            dst: the receiver's address; None is the endpoint's destination.

        Raises:
            MessageTooLongError: when `size` exceeds the view; the buffer stays borrowed.
            NotBoundError: when the endpoint has no destination; the buffer stays borrowed.
            RpmsgError: when an address is impossible; the buffer stays borrowed.
            ClosedError: when the endpoint was closed meanwhile, or the buffer was sent or given back already.
        """
        with self._lender.lock:
            if self.released:
                raise ClosedError("this buffer was sent or given back already; borrow another one")
            room = len(self.data)
            length = room if size is None else size
            if not 0 <= length <= room:
                raise MessageTooLongError(
                    f"{length} bytes do not fit the borrowed buffer of {room}; borrow a larger one",
                    size=length,
                    mtu=room,
                )
            sender = self._sender
            source = sender.src if src is None else src
            address = sender._destination() if dst is None else dst
            check_address(source, "source")
            check_address(address, "destination")
            self._end_view()
            sender._commit(self._token, source, address, length)

    def release(self) -> None:
        """Gives the buffer back unsent; harmless when repeated or after `send`.

        Raises:
            StateError: when another object still uses the view.
        """
        with self._lender.lock:
            if not self.released:
                self._end_view()
                self._lender.unborrow(self._token)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.released:
            return
        if kind is not None:
            self.release()
            return
        try:
            self.send()
        finally:
            self.release()
