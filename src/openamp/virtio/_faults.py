"""What a peer can break in a split virtqueue, each as the error it becomes.

Clauses are those of virtio 1.2.
"""

from __future__ import annotations

from openamp.errors import RemoteProtocolError

__all__ = [
    "avail_head",
    "avail_index",
    "chain_flags",
    "chain_link",
    "chain_order",
    "chain_size",
    "used_head",
    "used_index",
    "used_length",
]


def _error(queue: str, message: str, index: int, value: int, clause: str) -> RemoteProtocolError:
    clause = f"virtio 1.2, {clause}"
    return RemoteProtocolError(
        f"queue {queue!r}: {message} ({clause}); nothing more can be trusted of this queue, restart the peer",
        queue=queue,
        index=index,
        value=value,
        clause=clause,
    )


def used_index(queue: str, last: int, value: int, in_flight: int) -> RemoteProtocolError:
    """The device moved used.idx past the buffers that it holds, or back."""
    return _error(
        queue,
        f"the device moved used.idx from {last:#x} to {value:#x} while it holds {in_flight:#x} buffers",
        last,
        value,
        "2.7.8: used.idx counts the buffers that the device has used",
    )


def used_head(queue: str, slot: int, value: int, num: int) -> RemoteProtocolError:
    """The device returned a head that is none, or that it does not hold."""
    what = "it does not hold that one" if value < num else f"there are {num:#x} descriptors"
    return _error(
        queue,
        f"the device wrote head {value:#x} into used.ring[{slot:#x}]; {what}",
        slot,
        value,
        "2.7.8: id matches an entry placed in the available ring earlier",
    )


def used_length(queue: str, slot: int, value: int, head: int, limit: int) -> RemoteProtocolError:
    """The device says that it wrote more than the buffer holds."""
    return _error(
        queue,
        f"the device says in used.ring[{slot:#x}] that it wrote {value:#x} bytes into head {head:#x} of {limit:#x}",
        slot,
        value,
        "2.7.8.2: the device wrote at least len bytes into the buffer",
    )


def avail_index(queue: str, last: int, value: int, room: int) -> RemoteProtocolError:
    """The driver moved avail.idx further than it has descriptors, or back."""
    return _error(
        queue,
        f"the driver moved avail.idx from {last:#x} to {value:#x} while it has {room:#x} descriptors to offer",
        last,
        value,
        "2.7.6.1: avail.idx never goes back, nor (2.7.13.2) past the descriptors that there are",
    )


def avail_head(queue: str, slot: int, value: int, num: int) -> RemoteProtocolError:
    """The driver offered a head that is none, or that we hold already."""
    what = "it was offered before and not yet given back" if value < num else f"there are {num:#x} descriptors"
    return _error(
        queue,
        f"the driver wrote head {value:#x} into avail.ring[{slot:#x}]; {what}",
        slot,
        value,
        "2.7.6: each entry refers to the head of a descriptor chain",
    )


def chain_flags(queue: str, descriptor: int, value: int) -> RemoteProtocolError:
    """A descriptor is indirect, or one of several where there must be one."""
    if value & 4:
        what = "an indirect table"
        clause = "2.7.5.3.1: INDIRECT only where VIRTIO_F_INDIRECT_DESC was negotiated"
    else:
        what = "a chain of several, where a message is one buffer"
        clause = "2.7.4.3: framing as the first drivers have it; RPMsg's messages are one descriptor each"
    return _error(queue, f"descriptor {descriptor:#x} has the flags {value:#x}: {what}", descriptor, value, clause)


def chain_order(queue: str, descriptor: int, value: int) -> RemoteProtocolError:
    """A readable descriptor follows a writable one."""
    return _error(
        queue,
        f"descriptor {descriptor:#x} (flags {value:#x}) is readable and follows a writable one",
        descriptor,
        value,
        "2.7.4.2: writable descriptors come after the readable ones",
    )


def chain_link(queue: str, descriptor: int, value: int, num: int) -> RemoteProtocolError:
    """A descriptor's next is none."""
    return _error(
        queue,
        f"descriptor {descriptor:#x} goes on at {value:#x}; there are {num:#x} descriptors",
        descriptor,
        value,
        "2.7.5: next is an index into the descriptor table",
    )


def chain_size(queue: str, head: int, value: int, what: str) -> RemoteProtocolError:
    """A chain has more bytes than 2^32, or more descriptors than there are."""
    return _error(
        queue,
        f"the chain at head {head:#x} has {value:#x} {what}",
        head,
        value,
        "2.7.5.2: a chain has at most 2^32 bytes, and no loop",
    )
