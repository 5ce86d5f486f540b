"""The C names of the OpenAMP documentation's life cycle management and RPMsg interfaces, over the classes.

Programs written step by step after the documentation read the same here. What differs from C is Python's:

- Handles are returned (a `RemoteProc` on the host, a `RemoteContext` on the remote) instead of stored through a
  pointer, and errors are exceptions (`openamp.errors`) instead of negative numbers.
- Data is `bytes`; its length comes with it. Receive callbacks keep C's order, `cb(ept, data, len, src, priv)`. With
  `zero_copy=True` at `rpmsg_create_ept`, `data` is a `HeldBuffer` on the message where it lies, as C's pointer is: it
  is given back after the callback unless the callback calls `rpmsg_hold_rx_buffer`.
- Nothing runs behind the program's back: callbacks are called from within `platform_poll`, and from within every
  call that waits.

On the host: `remoteproc_init`, `remoteproc_boot`, `remoteproc_shutdown`, `remoteproc_deinit`. In the remote's context:
`remoteproc_resource_init`, `remoteproc_resource_deinit`. On both sides: `platform_poll` and everything `rpmsg_`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from openamp.errors import ClosedError, HostShutdown, NotBoundError, TimeoutExpired, WouldBlock
from openamp.link import HostPlatform, RemotePlatform
from openamp.registry import open as open_platform
from openamp.registry import serve
from openamp.remoteproc import Firmware, RemoteProc, Shutdown
from openamp.rpmsg import ADDR_ANY, BorrowedBuffer, Bus, Channel, Endpoint, HeldBuffer, Payload

__all__ = [
    "ADDR_ANY",
    "RemoteContext",
    "platform_poll",
    "remoteproc_boot",
    "remoteproc_deinit",
    "remoteproc_init",
    "remoteproc_resource_deinit",
    "remoteproc_resource_init",
    "remoteproc_shutdown",
    "rpmsg_create_ept",
    "rpmsg_destroy_ept",
    "rpmsg_get_tx_payload_buffer",
    "rpmsg_hold_rx_buffer",
    "rpmsg_release_rx_buffer",
    "rpmsg_release_tx_buffer",
    "rpmsg_send",
    "rpmsg_send_nocopy",
    "rpmsg_send_offchannel",
    "rpmsg_send_offchannel_nocopy",
    "rpmsg_sendto",
    "rpmsg_sendto_nocopy",
    "rpmsg_trysend",
    "rpmsg_trysend_offchannel",
    "rpmsg_trysendto",
]

EndpointCallback = Callable[[Endpoint, Any, int, int, Any], object]
"""Called with (ept, data, len, src, priv), as C's `rpmsg_ept_cb`."""

ChannelCallback = Callable[[Endpoint], object]
"""Called with the endpoint of a channel that was created or deleted, as the documentation's `rpmsg_chnl_cb_t`."""


class RemoteContext:
    """The remote's handle: its bus, and whether the host has ended it.

    Attributes:
        bus: the RPMsg bus to the host.
        is_ended: the host has shut this context down; `platform_poll` returned because of it.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.is_ended = False


Handle = RemoteProc | RemoteContext


# -- the host's side ---------------------------------------------------------------------------------------------------


def remoteproc_init(
    firmware: Firmware | None,
    platform: str | HostPlatform = "emulated",
    channel_created: ChannelCallback | None = None,
    channel_destroyed: ChannelCallback | None = None,
    default_cb: EndpointCallback | None = None,
    **options: Any,
) -> RemoteProc:
    """Host, first step: fetches and decodes the image, handles its resource table, carves out memory.

    Args:
        firmware: the image's path or bytes, or a `FirmwareImage`; None takes the platform's own, where it has one
            (loopback).
        platform: a platform's name or object; `options` are `openamp.open`'s (emulated: `board="stm32mp157"`).
        channel_created: called with a new endpoint for every channel that the remote announces and no endpoint of
            yours waits for; it is already bound, and the remote gets the acknowledgement.
        channel_destroyed: called with that endpoint when the remote takes the channel away.
        default_cb: receives the messages of those endpoints; without it they queue for `ept.receive()`.

    Raises:
        OpenAMPError: as `openamp.open` and `RemoteProc.load` do; nothing stays open then.
    """
    rproc = open_platform(platform, **options)
    try:
        rproc.load(firmware)
    except BaseException:
        rproc.close()
        raise

    @rproc.on_bus
    def follow_channels(bus: Bus) -> None:
        _follow_channels(bus, channel_created, channel_destroyed, default_cb)

    return rproc


def remoteproc_boot(rproc: RemoteProc) -> None:
    """Host, second step: locates code and data, loads them and releases the remote processor from reset.

    Raises:
        OpenAMPError: as `RemoteProc.boot` does.
    """
    rproc.boot()


def remoteproc_shutdown(rproc: RemoteProc) -> Shutdown:
    """Host, last step but one: shuts the remote processor down, asynchronously; `.wait()` on the result for the end.

    It does not ask the remote's software. For a graceful shutdown send it the application's shutdown message and
    wait for its acknowledgement before.

    Raises:
        StateError: when the remote was never booted.
    """
    return rproc.shutdown()


def remoteproc_deinit(rproc: RemoteProc) -> None:
    """Host, last step: gives back what `remoteproc_init` took, ending the remote if it still runs."""
    rproc.close()


# -- the remote's side -------------------------------------------------------------------------------------------------


def remoteproc_resource_init(
    platform: str | RemotePlatform,
    channels: str | Iterable[str] = (),
    channel_created: ChannelCallback | None = None,
    channel_destroyed: ChannelCallback | None = None,
    default_cb: EndpointCallback | None = None,
    *,
    timeout: float | None = None,
    **options: Any,
) -> RemoteContext:
    """Remote: creates the virtio and RPMsg devices and announces the channels that this application serves.

    Args:
        platform: the link that the remote's program was given, or a platform's name with its `options`.
        channels: name or names of the services to announce.
        channel_created: called with an announced endpoint when the host has acknowledged it (or, with a host that
            sends no acknowledgement, when its first message has come).
        channel_destroyed: called with the endpoint when the host takes the channel away.
        default_cb: receives the messages of those endpoints; without it they queue for `ept.receive()`.
        timeout: how long to wait for the host's driver, in seconds; None waits for ever.

    Raises:
        HostShutdown: when the host ends this context before its driver is up.
        OpenAMPError: as `openamp.serve` does.
    """
    bus = serve(platform, timeout=timeout, **options)
    served: list[Endpoint] = []

    @bus.on_channel_created
    def bound(channel: Channel) -> None:
        for endpoint in served:
            if channel_created is not None and endpoint.name == channel.name and endpoint.dst == channel.dst:
                channel_created(endpoint)

    callback = _endpoint_callback(default_cb, None)
    try:
        for name in [channels] if isinstance(channels, str) else channels:
            endpoint = bus.create_endpoint(name, callback=callback, unbind_callback=channel_destroyed)
            served.append(endpoint)
    except BaseException:
        bus.close()
        raise
    return RemoteContext(bus)


def remoteproc_resource_deinit(context: RemoteContext) -> None:
    """Remote, last step: destroys the endpoints, which tells the host, and gives everything back."""
    context.bus.close()


# -- both sides --------------------------------------------------------------------------------------------------------


def platform_poll(handle: Handle, timeout: float | None = None) -> bool:
    """Waits for what the other side sends, at most `timeout` seconds, and runs the callbacks.

    Returns:
        True when something happened; False when the time passed or, on the remote, the host has ended this context
        (`RemoteContext.is_ended` tells).

    Raises:
        RemoteCrashed, RemoteExited: on the host, when the remote ended.
    """
    if isinstance(handle, RemoteProc):
        return handle.wait(timeout=timeout)
    try:
        return handle.bus.wait(timeout=timeout)
    except HostShutdown:
        handle.is_ended = True
        return False


def rpmsg_create_ept(
    rdev: Handle | Bus,
    name: str,
    src: int = ADDR_ANY,
    dest: int = ADDR_ANY,
    cb: EndpointCallback | None = None,
    unbind_cb: ChannelCallback | None = None,
    priv: Any = None,
    *,
    zero_copy: bool = False,
) -> Endpoint:
    """Creates an endpoint; never waits for the other side.

    A named endpoint without a destination is bound when the other side announces or acknowledges the name, or sends
    the first message; the remote announces it.

    Args:
        rdev: the handle of either side, or a bus.
        name: the service's name; "" for none.
        src: the local address; ADDR_ANY chooses one.
        dest: the other side's address; ADDR_ANY waits for the binding.
        cb: receive callback (ept, data, len, src, priv); without it messages queue for `ept.receive()`.
        unbind_cb: called with the endpoint when the other side takes its channel away.
        priv: handed to `cb`.
        zero_copy: `cb` gets a `HeldBuffer` instead of bytes; see `rpmsg_hold_rx_buffer`.

    Raises:
        AddressInUseError: when `src` is taken.
        RpmsgError: when the name or an address is impossible.
    """
    bus = rdev if isinstance(rdev, Bus) else rdev.bus
    return bus.create_endpoint(
        name,
        src=src,
        dst=dest,
        callback=_endpoint_callback(cb, priv),
        timeout=0,
        zero_copy=zero_copy,
        unbind_callback=unbind_cb,
    )


def rpmsg_destroy_ept(ept: Endpoint) -> None:
    """Destroys an endpoint and tells the other side if it was announced."""
    ept.close()


def rpmsg_send(ept: Endpoint, data: Payload) -> int:
    """Sends to the endpoint's destination, waiting for a buffer; returns the number of bytes."""
    ept.send(data)
    return _size(data)


def rpmsg_sendto(ept: Endpoint, data: Payload, dst: int) -> int:
    """Sends to any address of the other side, waiting for a buffer; returns the number of bytes."""
    ept.send_to(data, dst)
    return _size(data)


def rpmsg_send_offchannel(ept: Endpoint, src: int, dst: int, data: Payload) -> int:
    """Sends between any two addresses, waiting for a buffer; returns the number of bytes."""
    ept.send_offchannel(src, dst, data)
    return _size(data)


def rpmsg_trysend(ept: Endpoint, data: Payload) -> int:
    """Sends to the endpoint's destination, or raises WouldBlock when no buffer is free."""
    ept.try_send(data)
    return _size(data)


def rpmsg_trysendto(ept: Endpoint, data: Payload, dst: int) -> int:
    """Sends to any address of the other side, or raises WouldBlock when no buffer is free."""
    ept.try_send_to(data, dst)
    return _size(data)


def rpmsg_trysend_offchannel(ept: Endpoint, src: int, dst: int, data: Payload) -> int:
    """Sends between any two addresses, or raises WouldBlock when no buffer is free."""
    ept.try_send_offchannel(src, dst, data)
    return _size(data)


def rpmsg_get_tx_payload_buffer(ept: Endpoint, wait: bool = True) -> BorrowedBuffer:
    """Lends a transmit buffer; write the payload into its `data`, then give it to one of the `_nocopy` functions.

    Raises:
        WouldBlock: when `wait` is False and no buffer is free.
    """
    try:
        return ept.borrow(timeout=None if wait else 0)
    except TimeoutExpired as error:
        raise WouldBlock(f"no transmit buffer is free now ({error}); wait=True waits for one") from error


def rpmsg_send_nocopy(ept: Endpoint, buffer: BorrowedBuffer, size: int) -> int:
    """Sends the first `size` bytes of a lent buffer to the endpoint's destination; the buffer is gone then."""
    return rpmsg_sendto_nocopy(ept, buffer, size, _destination(ept))


def rpmsg_sendto_nocopy(ept: Endpoint, buffer: BorrowedBuffer, size: int, dst: int) -> int:
    """Sends the first `size` bytes of a lent buffer to any address of the other side; the buffer is gone then."""
    return rpmsg_send_offchannel_nocopy(ept, ept.src, dst, buffer, size)


def rpmsg_send_offchannel_nocopy(ept: Endpoint, src: int, dst: int, buffer: BorrowedBuffer, size: int) -> int:
    """Sends the first `size` bytes of a lent buffer between any two addresses; the buffer is gone then."""
    buffer.send(size, src=src, dst=dst)
    return size


def rpmsg_release_tx_buffer(ept: Endpoint, buffer: BorrowedBuffer) -> None:
    """Gives a lent transmit buffer back unsent."""
    buffer.release()


def rpmsg_hold_rx_buffer(
    ept: Endpoint, buffer: HeldBuffer | None = None, *, timeout: float | None = None
) -> HeldBuffer:
    """Holds a received message where it lies; its `data` stays valid until `rpmsg_release_rx_buffer`.

    Args:
        ept: the endpoint.
        buffer: inside a receive callback of an endpoint made with `zero_copy=True`, what it got as `data`, as in C;
            None takes the next message of an endpoint without a callback.
        timeout: seconds to wait for that message; None waits for ever.

    Raises:
        ClosedError: when the buffer was given back already.
        OpenAMPError: without a buffer, as `Endpoint.hold` does.
    """
    if buffer is None:
        return ept.hold(timeout=timeout)
    if buffer.released:
        raise ClosedError("this message was given back after its callback; hold it inside of the callback")
    buffer.keep()
    return buffer


def rpmsg_release_rx_buffer(ept: Endpoint, buffer: HeldBuffer) -> None:
    """Gives a held message's buffer back to the other side."""
    buffer.release()


# -- inside ------------------------------------------------------------------------------------------------------------


def _endpoint_callback(cb: EndpointCallback | None, priv: Any) -> Callable[[Endpoint, Any, int], object] | None:
    if cb is None:
        return None

    def deliver(endpoint: Endpoint, data: Any, src: int) -> None:
        cb(endpoint, data, len(data.data if isinstance(data, HeldBuffer) else data), src, priv)

    return deliver


def _follow_channels(
    bus: Bus,
    created: ChannelCallback | None,
    destroyed: ChannelCallback | None,
    default_cb: EndpointCallback | None,
) -> None:
    """Gives every announced channel an endpoint, as the documentation's host does."""
    if created is None and destroyed is None and default_cb is None:
        return

    def unbound(endpoint: Endpoint) -> None:
        try:
            if destroyed is not None:
                destroyed(endpoint)
        finally:
            endpoint.close()

    @bus.on_channel_created
    def announced(channel: Channel) -> None:
        if any(endpoint.name == channel.name and endpoint.dst == channel.dst for endpoint in bus.endpoints):
            return  # the application was waiting for it with an endpoint of its own
        endpoint = bus.create_endpoint(
            channel.name,
            dst=channel.dst,
            callback=_endpoint_callback(default_cb, None),
            unbind_callback=unbound,
        )
        if created is not None:
            created(endpoint)


def _size(data: Payload) -> int:
    return memoryview(data).nbytes


def _destination(ept: Endpoint) -> int:
    if not ept.is_bound:
        raise NotBoundError(f"{ept!r} has no destination yet; poll until its channel is created, or send to an address")
    return ept.dst
