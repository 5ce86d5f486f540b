"""Segments that overwrite each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openamp.firmware.image import Segment

__all__ = ["Overlap", "find_overlaps"]

_MOST_REPORTED = 16

_EFFORT = 16 << 20
"""Bytes compared at most, each pair of segments counting for 64: hostile images overlap everything with everything."""

_EXECUTE = 1


@dataclass(frozen=True, slots=True)
class Overlap:
    """Bytes that the file holds for `earlier` and that `later` replaces by others when the image is loaded.

    Attributes:
        earlier: the segment that loses bytes.
        later: the segment that is loaded over it.
        start: first device address they share.
        end: the first address behind.
    """

    earlier: Segment
    later: Segment
    start: int
    end: int

    @property
    def code_and_data(self) -> bool:
        """Only one of them is executable: code and data have memories of their own, both with these addresses."""
        return bool((self.earlier.flags ^ self.later.flags) & _EXECUTE)

    def describe(self) -> str:
        """Returns the overlap as a sentence."""
        text = (
            f"segment {self.later.name} ({self.later.da:#x}..{self.later.end:#x}) overwrites "
            f"{self.start:#x}..{self.end:#x} of segment {self.earlier.name} "
            f"({self.earlier.da:#x}..{self.earlier.end:#x})"
        )
        if self.code_and_data:
            text += ", code and data told apart only by the execute flag"
        return text


def find_overlaps(segments: Sequence[Segment]) -> list[Overlap]:
    """Returns where loading the segments in order loses bytes that the file holds.

    Zeros over zeros, a file's bytes over zeros, and equal bytes over each other lose nothing. At most 16 are
    returned; where comparing would take too long, the bytes count as different.
    """
    found: list[Overlap] = []
    order = sorted(range(len(segments)), key=lambda index: segments[index].da)
    effort = _EFFORT
    for position, i in enumerate(order):
        end = segments[i].end
        for j in order[position + 1 :]:
            if segments[j].da >= end:
                break
            earlier, later = segments[min(i, j)], segments[max(i, j)]
            start = max(earlier.da, later.da)
            stop = min(earlier.da + len(earlier.data), later.end)
            effort -= 64 + max(stop - start, 0)
            if start < stop and (effort < 0 or _differ(earlier, later, start, stop)):
                found.append(Overlap(earlier, later, start, stop))
            if effort < 0 or len(found) == _MOST_REPORTED:
                return found
    return found


def _differ(earlier: Segment, later: Segment, start: int, stop: int) -> bool:
    old = bytes(earlier.data[start - earlier.da : stop - earlier.da])
    new = bytes(later.data[start - later.da : stop - later.da])
    return old != new.ljust(len(old), b"\0")
