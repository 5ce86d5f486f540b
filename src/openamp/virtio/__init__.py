"""Virtio: the device's status and features, and split virtqueues.

The queues run compiled where the extension was built, else as plain Python with the same results.
`implementation` says which. `OPENAMP_PLAIN=1` in the environment chooses the plain form although the other is there;
a compiled form that is older than its source is not used, with a warning.
"""

from __future__ import annotations

from typing import Literal

from openamp.virtio._choice import choose

choose(__path__, [("virtqueue.py", "virtqueue.pxd")])  # before the first import of it

from openamp.virtio.device import VIRTIO_RPMSG_F_NS, VirtioStatus, vring_size  # noqa: E402
from openamp.virtio.virtqueue import COMPILED, Chain, DeviceQueue, DriverQueue  # noqa: E402

__all__ = [
    "VIRTIO_RPMSG_F_NS",
    "Chain",
    "DeviceQueue",
    "DriverQueue",
    "VirtioStatus",
    "implementation",
    "vring_size",
]

implementation: Literal["compiled", "plain"] = "compiled" if COMPILED else "plain"
"""Which form of the queues runs."""
