"""The console that a server of remote procedure calls lends to its clients."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Callable

__all__ = ["Console", "Printer"]


class Console:
    """Descriptors 0, 1 and 2.

    Args:
        stdin: returns the next line with its end, b"" when there is no more; None is an empty input.
        stdout: called with what is written to descriptor 1; None prints it, with control characters spelled out.
        stderr: the same for descriptor 2.
    """

    def __init__(
        self,
        stdin: Callable[[], bytes] | None,
        stdout: Callable[[bytes], object] | None,
        stderr: Callable[[bytes], object] | None,
    ) -> None:
        self._next_line = stdin or bytes
        self._rest = b""
        self._outputs = {1: stdout or Printer("stdout").write, 2: stderr or Printer("stderr").write}

    def read(self, size: int) -> bytes:
        """Returns what there is of a line, its end included; b"" when there is no more input."""
        if size <= 0:
            return b""
        line = self._rest or self._next_line()
        self._rest = line[size:]
        return line[:size]

    def read_line(self, size: int) -> bytes:
        """Returns a line without its end; what does not fit comes with the next one."""
        if size <= 0:
            return b""
        line = self._rest or self._next_line()
        text = line.rstrip(b"\r\n")
        self._rest = line[size:] if len(text) > size else b""
        return text[:size]

    def write(self, fd: int, data: bytes) -> None:
        """Writes to descriptor 1 or 2."""
        if fd not in self._outputs:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._outputs[fd](data)


class Printer:
    """Prints bytes of a remote so that nothing in them acts on the terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, data: bytes) -> None:
        text = self._decoder.decode(data).replace("\r", "")  # C programs end their lines with \r\n
        stream = getattr(sys, self._name)
        stream.write("".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text))
        stream.flush()
