"""What waits for its turn besides messages for endpoints: channels that came or went, messages for nobody yet."""

from __future__ import annotations

from collections.abc import Sequence

from openamp.rpmsg.endpoint import Endpoint
from openamp.rpmsg.names import Channel

__all__ = ["ChannelEvent", "Orphan"]


class Orphan:
    """A message that came for nobody while a channel's callback, which may make its endpoint, was still to run."""

    __slots__ = ("data", "dst", "endpoint", "src")

    def __init__(self, data: bytes, src: int, dst: int) -> None:
        self.data = data
        self.src = src
        self.dst = dst
        self.endpoint: Endpoint | None = None  # that has it now


class ChannelEvent:
    """A channel that came or went, for the callbacks; with it went the destination of the `unbound` endpoints."""

    __slots__ = ("channel", "created", "unbound")

    def __init__(self, channel: Channel, created: bool, unbound: Sequence[Endpoint]) -> None:
        self.channel = channel
        self.created = created
        self.unbound = unbound
