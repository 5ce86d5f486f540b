"""Where lent buffers come back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openamp.errors import OpenAMPError

if TYPE_CHECKING:
    from openamp.rpmsg.bus import Bus

__all__ = ["Loans"]


class Loans:
    """Where lent buffers come back to, from any thread (a `Lender`)."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.lock = bus._lock

    def give_back(self, token: int) -> None:
        self._bus._transport.give_back(token)

    def unborrow(self, token: int) -> None:
        bus = self._bus
        bus._transport.unborrow(token)
        bus._room.num_rounds += 1
        if bus._waiting and bus._failure is None and not bus._closed:
            try:
                bus._senders.flush()  # nobody but us has news of this buffer
            except OpenAMPError as error:
                bus.fail(error)
        if bus._room.leader or bus._room.followers:
            bus._room.stir()
