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
    from openamp import images as images
    from openamp import link as link
    from openamp import memory as memory
    from openamp import resource_table as resource_table
    from openamp.errors import OpenAMPError, RemoteCrashed, RemoteExited, StateError, TimeoutExpired
    from openamp.firmware import FirmwareImage, load_image
    from openamp.registry import list_platforms, open, serve
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
    "list_platforms",
    "load_image",
    "open",
    "serve",
]

__version__ = "0.1.0"

# Each name and each module is imported on first use (PEP 562): the command line starts without the library behind it.
_HOMES = {
    "errors": ("OpenAMPError", "RemoteCrashed", "RemoteExited", "StateError", "TimeoutExpired"),
    "firmware": ("FirmwareImage", "load_image"),
    "registry": ("list_platforms", "open", "serve"),
    "remoteproc": ("RemoteProc", "State"),
    "rpmsg": ("ADDR_ANY", "Bus", "Channel", "Endpoint", "Message"),
    "server": ("Server",),
}

_MODULES = ("aio", "errors", "firmware", "images", "lcm", "link", "memory", "resource_table", "rpmsg", "testing")


if not TYPE_CHECKING:  # or any misspelt name would be an Any

    def __getattr__(name: str) -> Any:
        for module, names in _HOMES.items():
            if name in names:
                value = getattr(import_module(f"openamp.{module}"), name)
                globals()[name] = value
                return value
        if name in _MODULES:
            return import_module(f"openamp.{name}")
        raise AttributeError(f"module 'openamp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
