"""Another Linux process at the other end: shared memory and a signal in each direction.

Two modes on the same code: `memfd`, our own (memory and eventfds handed over a UNIX socket, any layout, any number of
links by name), and `generic-linux`, which is what OpenAMP's C library does between two Linux processes.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from openamp.errors import PlatformError
from openamp.platforms.process.generic_linux import GenericLinuxPlatform, GenericLinuxRemote
from openamp.platforms.process.host import HostEnd, ProcessPlatform
from openamp.platforms.process.remote import ProcessRemote

__all__ = ["GenericLinuxPlatform", "GenericLinuxRemote", "ProcessPlatform", "ProcessRemote", "host_end", "remote_end"]


def host_end(
    *,
    mode: str = "memfd",
    name: str | None = None,
    size: int | None = None,
    args: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    grace: float | None = None,
    processor: int | None = None,
    shm: str | None = None,
    socket_path: str | None = None,
    connect_timeout: float | None = None,
    spin: float | None = None,
) -> HostEnd:
    """Returns the host's end: a `ProcessPlatform`, or a `GenericLinuxPlatform` in the mode of that name.

    The options are those of the two classes; None is their default.

    Raises:
        PlatformError: when an option is impossible, or not one of the mode.
    """
    ends: dict[str, Callable[..., HostEnd]] = {"memfd": ProcessPlatform, "generic-linux": GenericLinuxPlatform}
    options = {
        "name": name,
        "size": size,
        "args": args,
        "env": env,
        "cwd": cwd,
        "grace": grace,
        "processor": processor,
        "shm": shm,
        "socket_path": socket_path,
        "connect_timeout": connect_timeout,
        "spin": spin,
    }
    end: HostEnd = _make(mode, ends, options)
    return end


def remote_end(
    *,
    mode: str = "memfd",
    name: str | None = None,
    processor: int | None = None,
    shm: str | None = None,
    socket_path: str | None = None,
    size: int | None = None,
    spin: float | None = None,
    timeout: float | None = None,
) -> ProcessRemote:
    """Returns the remote's end: `ProcessRemote.join_host`, or in generic-linux mode `GenericLinuxRemote.join_machine`.

    Raises:
        PlatformError: when an option is impossible, or not one of the mode.
        TimeoutExpired: when no host comes in time.
    """
    ends: dict[str, Callable[..., ProcessRemote]] = {
        "memfd": ProcessRemote.join_host,
        "generic-linux": GenericLinuxRemote.join_machine,
    }
    options = {
        "name": name,
        "processor": processor,
        "shm": shm,
        "socket_path": socket_path,
        "size": size,
        "spin": spin,
        "timeout": timeout,
    }
    end: ProcessRemote = _make(mode, ends, options)
    return end


def _make(mode: str, ends: dict[str, Callable[..., Any]], options: dict[str, Any]) -> Any:
    if mode not in ends:
        raise PlatformError(f"mode {mode!r} of the process platform is unknown; there are {', '.join(ends)}")
    known = inspect.signature(ends[mode]).parameters
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in known:
            raise PlatformError(
                f"mode {mode!r} of the process platform has no option {key!r}; it takes {', '.join(known)}"
            )
    return ends[mode](**given)
