"""RPMsg: endpoints, the name service, and the bus over two virtqueues, for the host and for the remote."""

from __future__ import annotations

from openamp.rpmsg.buffers import BorrowedBuffer, HeldBuffer
from openamp.rpmsg.bus import Bus, BusStatistics
from openamp.rpmsg.endpoint import Endpoint, Message
from openamp.rpmsg.names import Channel
from openamp.rpmsg.transport import Payload
from openamp.rpmsg.virtio_bus import HostBus, RemoteBus
from openamp.rpmsg.wire import ADDR_ANY, NS_ADDR, Header, NameServiceMessage

__all__ = [
    "ADDR_ANY",
    "NS_ADDR",
    "BorrowedBuffer",
    "Bus",
    "BusStatistics",
    "Channel",
    "Endpoint",
    "Header",
    "HeldBuffer",
    "HostBus",
    "Message",
    "NameServiceMessage",
    "Payload",
    "RemoteBus",
]
