"""`open()` and `serve()`: platforms by name, imported only when they are asked for.

A third party adds a platform with an entry point in the group `openamp.platforms` (a callable that returns a
`HostPlatform`), and its remote's end with one in `openamp.remotes` (a callable that returns a `RemotePlatform`).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import time
from collections.abc import Callable
from typing import Any

from openamp.errors import PlatformError, UnknownPlatformError
from openamp.link import HostPlatform, RemotePlatform
from openamp.remote import serve_link
from openamp.remoteproc import RemoteProc
from openamp.rpmsg import Bus

__all__ = ["find_link", "list_platforms", "open", "serve"]

_HOSTS = {
    "emulated": "openamp.platforms.emulated:EmulatedPlatform",
    "loopback": "openamp.platforms.loopback:LoopbackPlatform",
    "process": "openamp.platforms.process:host_end",
}
_REMOTES = {
    "loopback": "openamp.platforms.loopback:remote_end",
    "process": "openamp.platforms.process:remote_end",
}
_REMOTEPROC_OPTIONS = ("h2r_buf_size", "r2h_buf_size", "acknowledge", "allow_overlap")


def list_platforms() -> tuple[str, ...]:
    """Returns the names that `open()` knows, installed third-party platforms included."""
    return tuple(sorted(_HOSTS.keys() | _installed("openamp.platforms").keys()))


def open(platform: str | HostPlatform, **options: Any) -> RemoteProc:
    """Returns a remote processor: we are its host.

    Args:
        platform: a platform's name ("emulated", "loopback") or a `HostPlatform` object.
        **options: `h2r_buf_size`, `r2h_buf_size`, `acknowledge` and `allow_overlap` go to `RemoteProc`, the others
            to the platform (emulated: `board`, ...; loopback: `remote`, `name`, `size`).

    Raises:
        UnknownPlatformError: when there is no such platform (names the ones there are).
        PlatformError: when the platform cannot be had as asked (a wrong option, board or machine).
    """
    ours = {name: options.pop(name) for name in _REMOTEPROC_OPTIONS if name in options}
    if isinstance(platform, str):
        factory = _find(platform, _HOSTS, "openamp.platforms", "open")
        return RemoteProc(_call(platform, factory, options, _REMOTEPROC_OPTIONS), **ours)
    if options:
        raise PlatformError(
            f"option {next(iter(options))!r} is for platforms opened by name; give it to your platform object, "
            f"or leave it out (RemoteProc takes {', '.join(_REMOTEPROC_OPTIONS)})"
        )
    _check(platform, HostPlatform)
    return RemoteProc(platform, **ours)


def serve(platform: str | RemotePlatform, *, timeout: float | None = None, **options: Any) -> Bus:
    """Returns a bus: we are the remote, and a host drives us.

    Args:
        platform: a platform's name ("loopback") or the link that the remote's program was given.
        timeout: how long to wait for the host's driver, in seconds; None waits for ever.
        **options: for the platform (loopback: `name`).

    Raises:
        UnknownPlatformError, PlatformError: as `open()`.
        HostShutdown: when the host ends us while we wait.
        TimeoutExpired: when no driver comes up in time.
    """
    began = time.monotonic()
    link = find_link(platform, timeout, options)
    left = None if timeout is None else max(timeout - (time.monotonic() - began), 0.0)
    return serve_link(link, timeout=left)


def find_link(platform: str | RemotePlatform, timeout: float | None, options: dict[str, Any]) -> RemotePlatform:
    """Returns the remote's end of a link, for `serve()` and its asyncio twin; raises what they raise."""
    if not isinstance(platform, str):
        if options:
            raise PlatformError(f"option {next(iter(options))!r} is for platforms served by name; leave it out")
        _check(platform, RemotePlatform)
        return platform
    factory = _find(platform, _REMOTES, "openamp.remotes", "serve")
    if "timeout" in inspect.signature(factory).parameters:
        options = {**options, "timeout": timeout}
    link: RemotePlatform = _call(platform, factory, options)
    return link


def _check(platform: object, kind: type[HostPlatform] | type[RemotePlatform]) -> None:
    if isinstance(platform, type):
        raise PlatformError(f"{platform.__name__} is a class; make an object of it: {platform.__name__}(...)")
    if not isinstance(platform, kind):
        raise PlatformError(
            f"a {type(platform).__name__} is no platform; give a platform's name, or an object that fulfils "
            f"openamp.link.{kind.__name__}"
        )


def _installed(group: str) -> dict[str, Any]:
    """Returns the entry points of a group by name."""
    from importlib.metadata import entry_points  # 25 ms, and seldom needed

    return {entry.name: entry for entry in entry_points(group=group)}


def _find(name: str, builtin: dict[str, str], group: str, verb: str) -> Callable[..., Any]:
    if name in builtin:
        module, _, attribute = builtin[name].partition(":")
        factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return factory
    others = _installed(group)
    if name in others:
        loaded: Callable[..., Any] = others[name].load()
        return loaded
    known = sorted(builtin.keys() | others.keys())
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UnknownPlatformError(
        f"no platform named {name!r} to {verb}; {hint}there are {', '.join(known)} "
        f"(others are found by the entry-point group {group})"
    )


def _call(name: str, factory: Callable[..., Any], options: dict[str, Any], also: tuple[str, ...] = ()) -> Any:
    parameters = inspect.signature(factory).parameters
    accepted = [key for key in parameters if key not in ("self", "timeout")]
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    for option in options:
        if option not in parameters and not anything:
            close = difflib.get_close_matches(option, [*accepted, *also], 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise PlatformError(
                f"platform {name!r} has no option {option!r}; {hint}it takes {', '.join([*accepted, *also])}"
            )
    for key, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if required and key not in options:
            raise PlatformError(f"platform {name!r} needs the option {key!r}, as in open({name!r}, {key}=...)")
    return factory(**options)
