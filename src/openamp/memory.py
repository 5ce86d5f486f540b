"""Memory that both sides see, by device address.

A `Region` is a run of bytes at a device address (da); a `MemoryMap` is a set of regions and finds the bytes
behind any address. Nothing here copies: views are `memoryview` slices of the region's own buffer, which for a
shared region is a mapping that the peer (another process, an emulated core) sees too.

Ranges are half-open: a region covers `da <= address < da + size`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from openamp.errors import AddressError, AllocationError

__all__ = ["MemoryMap", "Region", "SharedMemory"]


_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL if hasattr(fcntl, "F_SEAL_SEAL") else 0


class SharedMemory:
    """An anonymous or file-backed shared mapping.

    Args:
        size: length in bytes; rounded up to whole pages.
        name: shown in /proc for anonymous memory; None makes it without a descriptor, so that it can be handed to
            other threads and engines of this process only, and any number of them can be had.
        fd: an open file descriptor to map instead of creating anonymous memory; it is duplicated.
        offset: where in the file the mapping starts (a multiple of the page size).

    Raises:
        AllocationError: when the system refuses the mapping.
    """

    def __init__(self, size: int, *, name: str | None = "openamp", fd: int | None = None, offset: int = 0) -> None:
        page = mmap.PAGESIZE
        self.size = (size + page - 1) // page * page
        try:
            if fd is not None:
                self.fd = os.dup(fd)
            elif name is not None and hasattr(os, "memfd_create"):
                self.fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                os.ftruncate(self.fd, self.size)
                fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)  # a peer could take the memory away from us
            else:
                self.fd = -1
            self.mapping = mmap.mmap(self.fd, self.size, offset=offset)
        except (OSError, ValueError) as error:
            if getattr(self, "fd", -1) >= 0:
                os.close(self.fd)
                self.fd = -1
            raise AllocationError(
                f"cannot map {self.size:#x} bytes of shared memory ({error}); ask for less or free some", size=self.size
            ) from error
        self.view = memoryview(self.mapping)

    def close(self) -> None:
        """Closes the descriptor; the bytes go when the last view on them goes."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()


class Region:
    """A run of bytes at a device address.

    Attributes:
        name: for people and error texts.
        da: the first device address.
        size: length in bytes.
        data: writable `memoryview` of format "B" with `size` items.
        pa: physical address on the host's side, or None where it is the same as `da`.
        pool: the host may place carve-outs, rings and buffers here.
    """

    __slots__ = ("da", "data", "name", "pa", "pool", "size")

    def __init__(
        self, name: str, da: int, data: memoryview | bytearray | mmap.mmap, *, pa: int | None = None, pool: bool = False
    ) -> None:
        view = memoryview(data)
        self.data = view if view.format == "B" else view.cast("B")
        self.name = name
        self.da = da
        self.size = len(self.data)
        self.pa = pa
        self.pool = pool

    @property
    def end(self) -> int:
        """The first device address behind the region."""
        return self.da + self.size

    def __repr__(self) -> str:
        return f"Region({self.name!r}, {self.da:#x}..{self.end:#x}{', pool' if self.pool else ''})"


class MemoryMap:
    """The regions that both sides see; iterates in order of device address.

    An alias is a second region with another `da` over the same `data`.

    Raises:
        AddressError: when two regions overlap.
    """

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self._regions: list[Region] = []
        self._starts: list[int] = []
        for region in regions:
            self.add(region)

    def add(self, region: Region) -> Region:
        """Adds a region; raises AddressError when it overlaps one that is there."""
        at = bisect_right(self._starts, region.da)
        for other in self._regions[max(at - 1, 0) : at + 1]:
            if region.da < other.end and other.da < region.end:
                raise AddressError(
                    f"memory region {region!r} overlaps {other!r}; give one of them another address or size",
                    da=region.da,
                    size=region.size,
                )
        self._regions.insert(at, region)
        self._starts.insert(at, region.da)
        return region

    def remove(self, region: Region) -> None:
        """Takes a region out again; raises ValueError when it is not there."""
        at = self._regions.index(region)
        del self._regions[at], self._starts[at]

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions)

    def __len__(self) -> int:
        return len(self._regions)

    def __repr__(self) -> str:
        return f"MemoryMap({self._regions!r})"

    def find(self, da: int, size: int = 1) -> Region | None:
        """Returns the region that holds all of `da .. da + size`, or None."""
        at = bisect_right(self._starts, da) - 1
        if at < 0:
            return None
        region = self._regions[at]
        return region if size >= 0 and da + size <= region.end else None

    def view(self, da: int, size: int) -> memoryview:
        """Returns the shared bytes of `da .. da + size` themselves, not a copy.

        Raises:
            AddressError: when the range is not wholly inside one region.
        """
        region = self.find(da, size)
        if region is None:
            raise AddressError(
                f"address range {da:#x}..{da + size:#x} ({size:#x} bytes) is in no memory region; "
                f"there are {self.describe()}",
                da=da,
                size=size,
            )
        start = da - region.da
        return region.data[start : start + size]

    def read(self, da: int, size: int) -> bytes:
        """Returns a copy of `size` bytes at `da`; raises AddressError as `view` does."""
        return bytes(self.view(da, size))

    def write(self, da: int, data: bytes | bytearray | memoryview) -> None:
        """Copies `data` to `da`; raises AddressError as `view` does."""
        self.view(da, len(data))[:] = data

    def describe(self) -> str:
        """Returns the regions in one line, for error texts."""
        return ", ".join(f"{r.name} {r.da:#x}..{r.end:#x}" for r in self._regions) or "none"
