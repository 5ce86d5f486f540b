"""The name service: which channels the peer has, and which endpoint is bound to which.

The binding rules, the same in both roles:

- an announcement makes a channel, and binds the first endpoint of that name that waits for one;
- an endpoint that has no destination is bound to the source of the first message that reaches it;
- a destroyed channel unbinds its endpoints; the same name announced again binds them again.

An OpenAMP host answers an announcement with its own, from the endpoint that is bound (an acknowledgement); a Linux
host does not, and the remote's endpoint is bound by the first message. An acknowledgement tells the name, not the
channel, and the remote gives it to the first of its endpoints of that name that waits: so acknowledgements keep the
order of the announcements, and one whose turn has not come is held back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from openamp.errors import NotBoundError, OpenAMPError, RemoteProtocolError
from openamp.rpmsg.endpoint import Endpoint
from openamp.rpmsg.wire import ADDR_ANY, NS_DESTROY, NameServiceMessage

__all__ = ["MAX_CHANNELS", "Channel", "ChannelCallback", "NameService", "NamesOwner"]

MAX_CHANNELS = 4096
"""More announced channels than this are a peer gone wild."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A service of the peer: its name and the address that it listens at.

    Attributes:
        name: as text; bytes that are not UTF-8 appear as backslash escapes.
        dst: the peer's address.
        wire_name: the name's bytes as announced.
    """

    name: str
    dst: int
    wire_name: bytes = field(default=b"", repr=False, compare=False)


ChannelCallback = Callable[[Channel], object]


class NamesOwner(Protocol):
    """What the name service needs of its bus."""

    def _tell(self, channel: Channel, created: bool, unbound: Sequence[Endpoint] = ()) -> bool:
        """Has the callbacks told of a channel that came or went; False when there are too many to tell of."""

    def _send_announcement(self, src: int, data: bytes) -> None:
        """Sends a message to the peer's name service, now or as soon as there is a buffer."""

    def _fail_senders(self, src: int, dst: int, error: OpenAMPError) -> None:
        """Ends what waits for a buffer from `src` to `dst`."""

    def _defer(self, error: Exception) -> None:
        """Keeps an error for the next call that waits or polls."""


class NameService:
    """The peer's channels and the bindings to them.

    Args:
        owner: the bus.
        endpoints: its open endpoints by address, in the order of their creation.
        enabled: the name service was negotiated; without it nothing is announced or understood.
        announces: we announce our endpoints and the peer's announcements answer them (the remote's part).
        acknowledges: we answer announcements (an OpenAMP host's part).
    """

    def __init__(
        self, owner: NamesOwner, endpoints: dict[int, Endpoint], *, enabled: bool, announces: bool, acknowledges: bool
    ) -> None:
        self.enabled = enabled
        self.channels: dict[tuple[str, int], Channel] = {}
        self.num_received = 0
        self.num_malformed = 0
        self._owner = owner
        self._endpoints = endpoints
        self._announces = announces
        self._acknowledges = acknowledges and enabled
        self._unanswered: set[Endpoint] = set()  # bound, and the acknowledgement is to be sent

    # -- what the peer says ----------------------------------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """Handles a message to the name service; what makes no sense is counted and dropped, as Linux does."""
        self.num_received += 1
        try:
            message = NameServiceMessage.parse(data)
        except RemoteProtocolError:
            self.num_malformed += 1
            return
        if message.addr == ADDR_ANY:
            self.num_malformed += 1
            return
        channel = Channel(message.text, message.addr, message.name)
        if message.destroy:
            self._destroyed(channel)
        else:
            self._announced(channel)

    def _announced(self, channel: Channel) -> None:
        known = self.channels.get((channel.name, channel.dst))
        if known is None and not self._add(channel):
            self.num_malformed += 1
            self._owner._defer(
                RemoteProtocolError(
                    f"the peer announced more than {MAX_CHANNELS} channels; {channel.name!r} at {channel.dst:#x} is "
                    f"ignored; close services that are no longer used",
                    value=channel.dst,
                    clause="our limit of channels",
                )
            )
            return
        bound = self._bound(channel)
        if bound is not None:
            self._acknowledge(bound)  # the peer restarted and has forgotten us
            return
        self._bind_first(channel, self._endpoints.values())

    def _destroyed(self, channel: Channel) -> None:
        if self.channels.pop((channel.name, channel.dst), None) is not None:
            self._owner._tell(channel, False, self.unbind(channel))
            self._answer(channel.name)

    def _add(self, channel: Channel) -> bool:
        if len(self.channels) >= MAX_CHANNELS or not self._owner._tell(channel, True):
            return False
        self.channels[channel.name, channel.dst] = channel
        return True

    # -- bindings --------------------------------------------------------------------------------------------------

    def _bound(self, channel: Channel) -> Endpoint | None:
        for endpoint in self._endpoints.values():
            if endpoint.name == channel.name and endpoint._dst == channel.dst:
                return endpoint
        return None

    def _bind_first(self, channel: Channel, candidates: Iterable[Endpoint]) -> None:
        for endpoint in candidates:
            if (
                endpoint._dst == ADDR_ANY
                and endpoint.name == channel.name
                and endpoint._wanted_dst in (ADDR_ANY, channel.dst)
            ):
                self._bind(endpoint, channel)
                return

    def _bind(self, endpoint: Endpoint, channel: Channel) -> None:
        endpoint._dst = channel.dst
        endpoint._wire_name = channel.wire_name
        endpoint._lost = ""
        self._acknowledge(endpoint)

    def _acknowledge(self, endpoint: Endpoint) -> None:
        if self._acknowledges:
            self._unanswered.add(endpoint)
            self._answer(endpoint.name)

    def _answer(self, name: str) -> None:
        """Sends the acknowledgements for channels of this name, up to the first that nobody has."""
        if not self._unanswered:
            return
        bound: dict[int, list[Endpoint]] = {}
        for endpoint in self._endpoints.values():
            if endpoint.name == name:
                bound.setdefault(endpoint._dst, []).append(endpoint)
        for channel in [channel for channel in self.channels.values() if channel.name == name]:
            if channel.dst not in bound:
                return
            for endpoint in bound[channel.dst]:
                if endpoint in self._unanswered:
                    self._unanswered.remove(endpoint)
                    self.announce(endpoint)

    def bind_new(self, endpoint: Endpoint) -> None:
        """Binds an endpoint to its channel, if that is known: of its `dst`, or the first that nobody has."""
        if not endpoint.name:
            return
        if endpoint._wanted_dst != ADDR_ANY:
            channel = self.channels.get((endpoint.name, endpoint._wanted_dst))
            if channel is not None:
                self._bind(endpoint, channel)
            return
        taken = {other._dst for other in self._endpoints.values() if other.name == endpoint.name}
        for channel in self.channels.values():
            if channel.name == endpoint.name and channel.dst not in taken:
                self._bind(endpoint, channel)
                return

    def bind_by_message(self, endpoint: Endpoint, src: int) -> None:
        """Binds an endpoint without destination to the source of a message that reached it."""
        if endpoint._wanted_dst not in (ADDR_ANY, src) or src == ADDR_ANY:
            return
        endpoint._dst = src
        endpoint._lost = ""
        if endpoint.name and (endpoint.name, src) not in self.channels:
            self._add(Channel(endpoint.name, src, endpoint._wire_name))

    def unbind(self, channel: Channel) -> list[Endpoint]:
        """Takes the destination from the endpoints that have this channel, and returns them."""
        unbound = []
        lost = f"the peer destroyed the channel {channel.name!r} at {channel.dst:#x}"
        for endpoint in self._endpoints.values():
            if endpoint.name == channel.name and endpoint._dst == channel.dst:
                endpoint._dst = ADDR_ANY
                endpoint._lost = lost
                error = NotBoundError(f"{lost} while messages to it waited for a buffer")
                self._owner._fail_senders(endpoint._src, channel.dst, error)
                unbound.append(endpoint)
                self._unanswered.discard(endpoint)
        return unbound

    def closed(self, endpoint: Endpoint, dst: int) -> None:
        """Announces the end of an endpoint that was closed while bound to `dst`, and gives up its channel."""
        self._unanswered.discard(endpoint)
        if endpoint._announced:
            self._send(endpoint, NS_DESTROY)
        channel = self.channels.get((endpoint.name, dst))
        if channel is not None and self._bound(channel) is None:
            if self._announces:
                # What the peer said was its answer to our endpoint; a new endpoint starts afresh.
                del self.channels[channel.name, channel.dst]
                self._owner._tell(channel, False)
            else:
                self._bind_first(channel, [other for other in self._endpoints.values() if not other._lost])

    # -- what we say -----------------------------------------------------------------------------------------------

    def announce(self, endpoint: Endpoint) -> None:
        """Tells the peer of an endpoint, if the name service was negotiated."""
        if self.enabled:
            endpoint._announced = True
            self._send(endpoint, 0)

    def _send(self, endpoint: Endpoint, flags: int) -> None:
        message = NameServiceMessage(endpoint._wire_name, endpoint._src, flags)
        self._owner._send_announcement(endpoint._src, message.build())
