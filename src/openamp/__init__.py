"""OpenAMP in Python: boot a remote processor's firmware, talk to it over RPMsg, and shut it down.

import openamp

with openamp.open("emulated", board="stm32mp157") as rproc:
    rproc.boot("echo.elf")
    with rproc.create_endpoint("rpmsg-openamp-demo-channel") as ept:
        ept.send(b"hello")
        print(ept.receive(timeout=1.0))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openamp.errors import OpenAMPError, RemoteCrashed, RemoteExited, StateError, TimeoutExpired
    from openamp.firmware import FirmwareImage, load_image
    from openamp.registry import open, platforms, serve
    from openamp.remoteproc import RemoteProc, State
    from openamp.rpmsg import ADDR_ANY, Bus, Channel, Endpoint, Message
    from openamp.server import Server

__all__ = [
    "ADDR_ANY",
    "Bus",
    "Channel",
    "Endpoint",
    "FirmwareImage",
    "Message",
    "OpenAMPError",
    "RemoteCrashed",
    "RemoteExited",
    "RemoteProc",
    "Server",
    "State",
    "StateError",
    "TimeoutExpired",
    "load_image",
    "open",
    "platforms",
    "serve",
]

__version__ = "0.1.0"

# Each name is imported on first use (PEP 562): the command line starts without the library behind it.
_HOMES = {
    "errors": ("OpenAMPError", "RemoteCrashed", "RemoteExited", "StateError", "TimeoutExpired"),
    "firmware": ("FirmwareImage", "load_image"),
    "registry": ("open", "platforms", "serve"),
    "remoteproc": ("RemoteProc", "State"),
    "rpmsg": ("ADDR_ANY", "Bus", "Channel", "Endpoint", "Message"),
    "server": ("Server",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"openamp.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'openamp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
