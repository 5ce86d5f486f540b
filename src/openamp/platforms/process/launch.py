"""Starting a program as the remote, its output, and how it ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from openamp.errors import CrashReport, PlatformError
from openamp.link import Crash, Event, Exit
from openamp.platforms.process.wire import ENVIRONMENT

__all__ = ["Program"]

_TAIL = 4096
_READS = 16
_BLOCK = 65536
"""Bytes that are read at a time, and how often: more than a pipe holds, but a program may print for ever."""
_LINGER = 0.5


class Program:
    """A program that runs as the remote.

    Args:
        path: an executable, or a Python program (a file ending in .py).
        args: its arguments.
        link: the socket's descriptor that it gets.
        env: changes to our environment.
        cwd: its working directory; None is ours.
        emit: called with (stream, bytes) for its output.

    Raises:
        PlatformError: when it cannot be started.
    """

    def __init__(
        self,
        path: str,
        args: Sequence[str],
        *,
        link: int,
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
        emit: Callable[[str, bytes], None],
    ) -> None:
        python = Path(path).suffix == ".py"
        self.command = [*([sys.executable] if python else []), os.fspath(Path(path).absolute()), *args]
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(link,),
                cwd=cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {}), ENVIRONMENT: str(link)},
                process_group=0,  # Ctrl-C is the host's affair: it shuts the remote down
            )
        except (OSError, ValueError) as error:
            if cwd is not None and not os.path.isdir(cwd):
                raise PlatformError(
                    f"the remote's program cannot be started in the working directory {os.fspath(cwd)!r}: there is "
                    f"none; give another one with cwd="
                ) from error
            raise PlatformError(
                f"the remote's program cannot be started: {' '.join(self.command)!r}: "
                f"{getattr(error, 'strerror', None) or error}; "
                f"check the path, and that the file is executable for this machine"
            ) from error
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.streams = {self._process.stdout.fileno(): "stdout", self._process.stderr.fileno(): "stderr"}
        self._printing = set(self.streams)  # those that are still open
        for fd in self.streams:
            os.set_blocking(fd, False)
        self.pidfd = -1
        try:
            self.pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            self.close()
            raise
        self._emit = emit
        self._tail = b""
        self._steps: list[tuple[float, signal.Signals]] | None = None  # towards its end, once it was asked to
        self._left_at: float | None = None

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """It has not ended yet."""
        return self._process.poll() is None

    def is_late(self) -> bool:
        """It closed its end of the link a while ago, by the first call of this, and runs on."""
        now = time.monotonic()
        if self._left_at is None:
            self._left_at = now
        return now > self._left_at + _LINGER

    def read(self, fd: int) -> bool:
        """Passes on what the program printed; False when the stream has ended."""
        for _ in range(_READS):
            try:
                data = os.read(fd, _BLOCK)
            except BlockingIOError:
                break
            if not data:
                self._printing.discard(fd)
                return False
            self._tail = (self._tail + data)[-_TAIL:]
            self._emit(self.streams[fd], data)
        return True

    def end(self) -> Event:
        """Returns how the program ended; call it when it has."""
        for fd in self.streams:
            self.read(fd)
        code = self._process.wait()
        if code == 0:
            return Exit(0)
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = "unknown"
            reason = f"killed by signal {-code} ({name})"
        else:
            reason = f"exited with status {code}"
        return Crash(
            CrashReport(
                reason=reason,
                details=(f"process {self.pid}: {' '.join(self.command)}",),
                output_tail=self._tail.decode("utf-8", "replace"),
            )
        )

    def wait(self, timeout: float | None, grace: float) -> bool:
        """Waits for the end; a program that is still there after `grace` seconds is terminated, then killed.

        Returns:
            False when `timeout` seconds passed before.
        """
        now = time.monotonic()
        deadline = None if timeout is None else now + timeout
        if self._steps is None:
            self._steps = [(now + grace, signal.SIGTERM), (now + 2 * grace, signal.SIGKILL)]
        while self.is_running:
            now = time.monotonic()
            while self._steps and now >= self._steps[0][0]:
                self._process.send_signal(self._steps.pop(0)[1])
            if deadline is not None and now >= deadline:
                self._listen(0)
                return not self.is_running
            moments = [when - now for when, _ in self._steps[:1]]
            if deadline is not None:
                moments.append(deadline - now)
            self._listen(min(moments, default=None))
        return True

    def _listen(self, timeout: float | None) -> None:
        """Waits for its end or its output, which is passed on: a full pipe would keep it from ending."""
        poll = select.poll()
        for fd in (self.pidfd, *self._printing):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(None if timeout is None else max(timeout, 0.0) * 1000 + 1):
            if fd != self.pidfd:
                self.read(fd)

    def close(self) -> None:
        """Closes the pipes; the program has ended or is killed."""
        if self.is_running:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
