"""A folder that nothing leaves: how a path that somebody else chose is opened.

A path is taken apart first: it begins at the root whether or not it begins with a slash, and `..` above the root stays
there. Then it is walked one folder at a time, each opened relative to the one before, and no symbolic link is followed
anywhere, neither in the middle nor at the end, wherever it leads. So there is no moment between a check and its use
in which somebody else could exchange a folder for a link. Only regular files are opened.
"""

from __future__ import annotations

import errno
import os
import stat

from openamp.errors import PlatformError

__all__ = ["Sandbox"]

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATED_COSTS = 4096
"""What a new file takes of the room for writing, besides its bytes."""


class Sandbox:
    """Opens and writes files below a root folder.

    Args:
        root: an existing folder. It is looked up once: who exchanges it later does not redirect us.
        writable: files may be written and created.
        room: bytes that may be written to files in all; a new file counts 4096 besides.

    Raises:
        PlatformError: when there is no such folder.

    Attributes:
        room: what is left of it.
    """

    def __init__(self, root: str | os.PathLike[str], *, writable: bool = True, room: int = 64 << 20) -> None:
        try:
            self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise PlatformError(
                f"the root folder {os.fspath(root)!r} cannot be used ({error.strerror}); name a folder that exists"
            ) from error
        self._writable = writable
        self.room = room

    def open(self, path: bytes, flags: int, mode: int = 0o600) -> int:
        """Opens a regular file and returns its descriptor.

        Args:
            path: components separated by slashes.
            flags: of `os.open`: the access mode, O_CREAT, O_EXCL, O_TRUNC and O_APPEND.
            mode: permissions of a file that is created; bits beyond 0o777 are dropped.

        Raises:
            OSError: when it cannot be opened, is outside, or is no regular file.
        """
        writes = flags & (os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND) != os.O_RDONLY
        if writes and not self._writable:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        *folders, name = _components(path)
        folder = self._walk(folders)
        try:
            return self._open_in(folder, name, flags | _FILE, mode & 0o777)
        finally:
            if folder != self._root:
                os.close(folder)

    def _walk(self, folders: list[bytes]) -> int:
        """Returns a descriptor of the folder; the root's own for none."""
        here = self._root
        for folder in folders:
            try:
                inner = os.open(folder, _FOLDER, dir_fd=here)
            finally:
                if here != self._root:
                    os.close(here)
            here = inner
        return here

    def _open_in(self, folder: int, name: bytes, flags: int, mode: int) -> int:
        creates = False
        try:
            # Opening a device can do things by itself, so it is not even tried.
            _check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except FileNotFoundError:
            creates = bool(flags & os.O_CREAT)
            if creates and self.room < _CREATED_COSTS:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)) from None
        fd = os.open(name, flags, mode, dir_fd=folder)
        try:
            _check_regular(os.fstat(fd))
        except OSError:
            os.close(fd)
            raise
        if creates:
            self.room -= _CREATED_COSTS
        return fd

    def write(self, fd: int, data: bytes) -> int:
        """Writes to a file as far as there is room, and returns how many bytes were written.

        Raises:
            OSError: when it cannot be written, or there is no room left.
        """
        if data and self.room <= 0:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        written = os.write(fd, data[: max(self.room, 0)])
        self.room -= written
        return written

    def close(self) -> None:
        """Lets the root folder go; harmless when repeated."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1


def _components(path: bytes) -> list[bytes]:
    """Returns folders and name of a path; raises OSError when it does not name a file."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    if not parts or b"\0" in path or path.rpartition(b"/")[2] in (b"", b".", b".."):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    return parts


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EPERM, "not a regular file")
