"""RPMsg: endpoints, the name service, and the bus over two virtqueues, for the host and for the remote."""

from __future__ import annotations

from openamp import virtio
from openamp.virtio._choice import choose

# Before the first import of it. It is built upon the queues and their layout.
choose(
    __path__,
    [("rings.py", "rings.pxd", "../virtio/virtqueue.pxd")],
    plain=virtio.implementation == "plain",
)

from openamp.rpmsg.buffers import BorrowedBuffer, HeldBuffer  # noqa: E402
from openamp.rpmsg.bus import Bus, BusStatistics  # noqa: E402
from openamp.rpmsg.endpoint import Endpoint, Message  # noqa: E402
from openamp.rpmsg.names import Channel  # noqa: E402
from openamp.rpmsg.transport import Payload  # noqa: E402
from openamp.rpmsg.virtio_bus import HostBus, RemoteBus  # noqa: E402
from openamp.rpmsg.wire import ADDR_ANY, NS_ADDR, Header, NameServiceMessage  # noqa: E402

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
