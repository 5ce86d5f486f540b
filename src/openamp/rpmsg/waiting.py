"""Many threads on one link: one lock, and one thread at a time that waits for the peer.

Whoever uses a bus holds the lock of its `WaitingRoom`, but never while it waits or while a callback runs. Of the
threads that wait, one is the *leader*: it is in the pump. The others, its *followers*, sleep until what they wait for
is there, or until the leader leaves: then one of them leads at once. So a message wakes the thread that it is for, and
none more than that.

What a thread waits for is a function, `ready`, that others call with the lock held: `stir` wakes those of whom it is
true. A leader is woken by the link's `wake`.

The lock is given up and taken back the way `threading.Condition` does it: taking it back cannot be interrupted, so
that Ctrl-C at any moment leaves lock and leadership in order.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

__all__ = ["Ready", "WaitingRoom"]

Ready = Callable[[], object]


def _never() -> bool:
    return False


class _Follower:
    """A thread that sleeps while another one leads."""

    __slots__ = ("gate", "ready", "woken")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.woken = False
        self.gate = threading.Lock()
        self.gate.acquire()

    def wake(self) -> None:
        if not self.woken:
            self.woken = True
            self.gate.release()


class WaitingRoom:
    """The lock of all buses on one link, and the order in which threads wait for it.

    Args:
        pump: called as `pump(timeout)` by one thread at a time, to wait for events and handle them.
        wake: ends the `pump` of another thread, or the next one. Without it, a thread that is in the pump notices what
            other threads did only when the peer next signals something.

    Attributes:
        lock: re-entrant; guards everything on the link.
        followers: those who sleep.
        leader: the thread that is in the pump, 0: none.
        num_rounds: changes with everything that may have brought transmit buffers.
    """

    def __init__(self, pump: Callable[[float | None], object], wake: Callable[[], object] | None = None) -> None:
        lock: Any = threading.RLock()
        self.lock: threading.RLock = lock
        self.let_go: Callable[[], Any] = lock._release_save
        self.take_back: Callable[[Any], None] = lock._acquire_restore
        self.followers: list[_Follower] = []
        self.leader = 0
        self.num_rounds = 0
        self._depth = 0  # pumps of the leader inside each other
        self._leads_for: Ready = _never
        self._claims = 0  # threads that want to be alone
        self._pump = pump
        self._wake = wake

    # Below, the lock is held by the caller unless it says otherwise.

    def wait(self, timeout: float | None, ready: Ready) -> object:
        """Waits until the pump came back, until `ready()` or until the time passed; it may also return for nothing.

        Returns:
            What the pump returned, if it was called.

        Raises:
            Exception: what the pump raises.
        """
        me = get_ident()
        if self._claims or (self.leader and self.leader != me):
            left = self._follow(timeout, ready, me)
            if left is not None and left < 0:
                return None
            timeout = left
        outer, self._leads_for = self._leads_for, ready
        saved: Any = (1, me)  # should Ctrl-C come before there is a better one
        self._depth += 1
        self.leader = me
        try:
            saved = self.let_go()
            return self._pump(timeout)
        finally:
            try:
                self.take_back(saved)
            finally:
                self.num_rounds += 1
                if self.leader == me:  # else we stepped aside meanwhile
                    self._leads_for = outer
                    self._depth -= 1
                    if not self._depth:
                        self.leader = 0
                if self.followers:
                    self._stir_surely()

    def pump(self, timeout: float | None = 0.0) -> object:
        """Handles what has happened, unless another thread is about to do that. The lock need not be held.

        Returns:
            What the pump returned, if it was called.
        """
        with self.lock:
            return self.wait(timeout, _never) if self.leader in (0, get_ident()) else None

    def stir(self) -> None:
        """Wakes those who have what they wait for, and lets somebody lead."""
        any_woken = False
        for follower in self.followers:
            if follower.woken or follower.ready():
                follower.wake()
                any_woken = True
        if self.leader == 0:
            if self.followers and not any_woken:
                self.followers[0].wake()
        elif self._wake is not None and self.leader != get_ident() and self._leads_for():
            self._wake()

    def step_aside(self) -> None:
        """Lets another thread lead, if we do: we are going to run callbacks, and they may take their time."""
        if self.leader and self._depth == 1 and self.leader == get_ident():
            self._leads_for = _never
            self._depth = self.leader = 0
        if self.followers:
            self.stir()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block no other thread is in the pump or enters it. The lock is not held, before or within."""
        me = get_ident()
        with self.lock:
            claimed = self._claim(me)
        try:
            yield
        finally:
            with self.lock:
                if claimed:
                    self._leave(2)
                if self.followers:
                    self._stir_surely()

    def _claim(self, me: int) -> bool:
        if self._wake is None and self.leader not in (0, me):
            return False  # it cannot be told to leave
        self._claims += 1
        try:
            while self.leader not in (0, me):
                if self._wake is not None:
                    self._wake()
                self._sleep(None, _Follower(_never), 0, me)
            self.leader = me
            self._depth += 2  # more than one: no callback gives it up
            return True
        finally:
            self._claims -= 1

    def _leave(self, depth: int) -> None:
        self._depth -= depth
        if not self._depth:
            self.leader = 0

    def _follow(self, timeout: float | None, ready: Ready, me: int) -> float | None:
        """Sleeps until it is our turn to lead; returns the seconds left, or -1 when there is no need to."""
        deadline = None if timeout is None else time.monotonic() + timeout
        left = timeout
        needed = False
        try:
            while self.leader != me and (self.leader or self._claims):
                if left is not None and left <= 0:
                    return -1
                self._sleep(left, _Follower(ready), len(self.followers), me)
                if ready():
                    return -1
                if deadline is not None:
                    left = max(deadline - time.monotonic(), 0.0)
            needed = True
            return left
        finally:
            if not needed and self.followers:  # it may have been our turn to lead
                self._stir_surely()

    def _sleep(self, timeout: float | None, follower: _Follower, place: int, me: int) -> None:
        self.followers.insert(place, follower)
        saved: Any = (1, me)
        try:
            try:
                saved = self.let_go()
                follower.gate.acquire(True, -1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
            finally:
                self.take_back(saved)
        finally:
            self.followers.remove(follower)

    def _stir_surely(self) -> None:
        try:
            self.stir()
        except KeyboardInterrupt:  # it may have come before anybody was woken
            self.stir()
            raise
