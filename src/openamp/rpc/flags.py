"""The flags of `open` on the wire.

The protocols carry the caller's numbers as they are, and C libraries disagree about them. OpenAMP's demonstrations
send Linux's values even from bare metal (they define REDEF_O_CREAT as octal 100 and so on), so these are the default;
firmware that sends what its newlib defines needs `FlagValues.NEWLIB`.

| flag | Linux (x86, Arm, RISC-V) | newlib |
|---|---|---|
| O_RDONLY, O_WRONLY, O_RDWR | 0, 1, 2 | 0, 1, 2 |
| O_CREAT | 0x40 | 0x200 |
| O_EXCL | 0x80 | 0x800 |
| O_TRUNC | 0x200 | 0x400 |
| O_APPEND | 0x400 | 0x8 |

What makes no difference to a regular file here is ignored (O_NOCTTY, O_NONBLOCK, O_SYNC, O_DSYNC, O_CLOEXEC,
O_LARGEFILE, newlib's O_BINARY); anything else is refused.
"""

from __future__ import annotations

import enum
import os

__all__ = ["FlagValues"]

_ACCESS = 3
_ACCESS_MODES = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR)


class FlagValues(enum.Enum):
    """Whose numbers the flags of `open` are."""

    LINUX = "linux"
    NEWLIB = "newlib"

    def to_host(self, flags: int) -> int | None:
        """Returns our flags for those of a request; None when there are some that we do not know or do not grant."""
        flags &= 0xFFFF_FFFF
        access = flags & _ACCESS
        if access >= len(_ACCESS_MODES):
            return None
        ours = _ACCESS_MODES[access]
        rest = flags & ~_ACCESS & ~_IGNORED[self]
        for theirs, flag in _TABLES[self].items():
            if rest & theirs:
                ours |= flag
                rest &= ~theirs
        return None if rest else ours

    def from_host(self, flags: int) -> int:
        """Returns the request's flags for ours."""
        theirs = _ACCESS_MODES.index(flags & os.O_ACCMODE)
        for value, flag in _TABLES[self].items():
            if flags & flag:
                theirs |= value
        return theirs


_TABLES = {
    FlagValues.LINUX: {0x40: os.O_CREAT, 0x80: os.O_EXCL, 0x200: os.O_TRUNC, 0x400: os.O_APPEND},
    FlagValues.NEWLIB: {0x200: os.O_CREAT, 0x800: os.O_EXCL, 0x400: os.O_TRUNC, 0x8: os.O_APPEND},
}
_IGNORED = {
    # O_NOCTTY, O_NONBLOCK, O_DSYNC, O_LARGEFILE (x86 and RISC-V, Arm), O_CLOEXEC, O_SYNC
    FlagValues.LINUX: 0x100 | 0x800 | 0x1000 | 0x8000 | 0x2_0000 | 0x8_0000 | 0x10_1000,
    # O_SYNC, O_NONBLOCK, O_NOCTTY, O_BINARY, O_CLOEXEC
    FlagValues.NEWLIB: 0x2000 | 0x4000 | 0x8000 | 0x1_0000 | 0x4_0000,
}
