"""What a virtqueue checks of that which its own side gives it."""

from __future__ import annotations

from collections.abc import Sequence

from openamp.errors import VirtqueueError

__all__ = ["chain", "even", "number", "part"]

_MAX_NUM = 32768


def number(num: int, queue: str) -> None:
    """Checks the number of descriptors."""
    if not 1 <= num <= _MAX_NUM or num & (num - 1):
        raise VirtqueueError(
            f"queue {queue!r}: {num:#x} descriptors; the number must be a power of two from 1 to {_MAX_NUM:#x} "
            "(virtio 1.2, 2.7)",
            queue=queue,
            value=num,
        )


def part(view: memoryview, size: int, what: str, queue: str) -> memoryview:
    """Returns the first `size` bytes of a part of the ring, after checking that they can be used."""
    if view.readonly or not view.c_contiguous:
        raise VirtqueueError(
            f"queue {queue!r}: the {what} must be a writable, contiguous memoryview; give it the shared memory itself",
            queue=queue,
        )
    if view.nbytes < size:
        raise VirtqueueError(
            f"queue {queue!r}: the {what} takes {size:#x} bytes, its memoryview has {view.nbytes:#x}; "
            "give it more memory or the queue fewer descriptors",
            queue=queue,
            value=view.nbytes,
        )
    return (view if view.format == "B" else view.cast("B"))[:size]


def even(addresses: int, queue: str) -> None:
    """Checks that no part lies at an odd address, where a 16-bit word could be read torn.

    Args:
        addresses: of the parts, or-ed together.
        queue: for the error text.
    """
    if addresses & 1:
        raise VirtqueueError(
            f"queue {queue!r}: a part of the ring lies at an odd address, where its 16-bit words could be read torn; "
            "align it (virtio 1.2, 2.7 asks for 16, 2 and 4 bytes)",
            queue=queue,
        )


def chain(segments: Sequence[tuple[int, int, bool]], num: int, queue: str) -> int:
    """Checks a chain that we want to offer; returns how many bytes the device may report written."""
    if not 1 <= len(segments) <= num:
        raise VirtqueueError(
            f"queue {queue!r}: a chain of {len(segments)} descriptors; it may have 1 to {num}", queue=queue
        )
    readable = writable = 0
    any_writable = False
    for addr, length, is_writable in segments:
        if addr >> 64 or length >> 32:
            raise VirtqueueError(
                f"queue {queue!r}: a buffer of {length:#x} bytes at {addr:#x}; descriptors hold 32 and 64 bits",
                queue=queue,
            )
        if is_writable:
            any_writable = True
            writable += length
        elif any_writable:
            raise VirtqueueError(
                f"queue {queue!r}: a readable segment behind a writable one; put the readable ones first "
                "(virtio 1.2, 2.7.4.2)",
                queue=queue,
            )
        else:
            readable += length
    total = readable + writable
    if total > 1 << 32:
        raise VirtqueueError(
            f"queue {queue!r}: a chain of {total:#x} bytes; the most is 2^32 (virtio 1.2, 2.7.5.2)",
            queue=queue,
            value=total,
        )
    return writable if any_writable else readable
