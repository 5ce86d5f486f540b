"""Virtio: the device's status and features, and split virtqueues.

The queues run compiled where the extension was built, else as plain Python with the same results.
`implementation` says which. `OPENAMP_PLAIN=1` in the environment chooses the plain form although the other is there.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from typing import Literal

if os.environ.get("OPENAMP_PLAIN", "0") not in {"", "0"}:
    for _folder in __path__:  # let the import system find only sources here
        sys.path_importer_cache[_folder] = FileFinder(_folder, (SourceFileLoader, SOURCE_SUFFIXES))

from openamp.virtio.device import VIRTIO_RPMSG_F_NS, VirtioStatus, vring_size
from openamp.virtio.virtqueue import COMPILED, Chain, DeviceQueue, DriverQueue

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
