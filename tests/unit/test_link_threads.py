"""Several threads on one link, at either end and on every platform."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import os
import queue
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import openamp
from openamp import aio, images
from openamp.errors import (
    ClosedError,
    HostShutdown,
    RemoteCrashed,
    StateError,
    TimeoutExpired,
)
from openamp.platforms.loopback import LoopbackRemote
from openamp.rpmsg import BorrowedBuffer, Bus, Endpoint
from openamp.testing.buses import bus_pair

pytestmark = pytest.mark.timeout(30)

SRC = str(Path(openamp.__file__).parents[1])
TIMEOUT = 10.0
THREADS = 4
NUM = 300

ECHO = """
import openamp
with openamp.serve("process") as bus:
    try:
        for n in range({num}):
            bus.create_endpoint(f"echo{{n}}", callback=lambda ept, data, src: ept.send_to(data, src))
        bus.create_endpoint("die", callback=lambda ept, data, src: __import__("os").abort())
        while True:
            bus.wait()
    except openamp.HostShutdown:
        pass
"""


class Threads:
    """Threads whose errors are raised when they are joined."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[..., object], *arguments: object) -> threading.Thread:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def join(self) -> list[BaseException]:
        for thread in self._threads:
            thread.join(2 * TIMEOUT)
            assert not thread.is_alive(), "a thread hangs"
        return self.errors

    def check(self) -> None:
        for error in self.join():
            raise error


@pytest.fixture
def threads() -> Threads:
    return Threads()


def echo(link: LoopbackRemote) -> None:
    bus = openamp.serve(link)
    for n in range(THREADS):
        bus.create_endpoint(f"echo{n}", callback=lambda ept, data, src: ept.send_to(data, src))
    bus.create_endpoint("die").receive()
    raise RuntimeError("told to")


@pytest.fixture(params=["loopback", "process"])
def rproc(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[openamp.RemoteProc]:
    if request.param == "loopback":
        with openamp.open("loopback", remote=echo) as rproc:
            rproc.boot()
            yield rproc
    else:
        program = tmp_path / "echo.py"
        program.write_text(ECHO.format(num=THREADS))
        with openamp.open("process", env={"PYTHONPATH": SRC}) as rproc:
            rproc.boot(str(program))
            yield rproc


def numbered(who: int, n: int) -> bytes:
    body = b"%d:%d:" % (who, n) + bytes(n % 200)
    return zlib.crc32(body).to_bytes(4, "little") + body


def send_numbered(ept: Endpoint, num: int) -> None:
    for n in range(num):
        ept.send(numbered(0, n), timeout=TIMEOUT)


def until_waits(bus: Bus, num: int = 1) -> None:
    """Returns when `num` threads wait."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with bus._lock:
            if len(bus._room.followers) + bool(bus._room.leader) >= num:
                return
        time.sleep(0.001)
    raise AssertionError("the threads do not wait")


def test_each_its_own_endpoint(rproc: openamp.RemoteProc, threads: Threads) -> None:
    def talk(who: int) -> None:
        with rproc.create_endpoint(f"echo{who}", timeout=TIMEOUT) as ept:
            for n in range(NUM):
                ept.send(numbered(who, n), timeout=TIMEOUT)
                assert ept.receive(timeout=TIMEOUT) == numbered(who, n)
            batch = [numbered(who, n) for n in range(NUM)]
            got: list[bytes] = []
            for at in range(0, NUM, 9):
                ept.send_many(batch[at : at + 9], timeout=TIMEOUT)
                got += ept.receive_many(timeout=TIMEOUT)
            while len(got) < NUM:
                got += ept.receive_many(timeout=TIMEOUT)
            assert got == batch

    for who in range(THREADS):
        threads.start(talk, who)
    threads.check()
    assert not rproc.bus._room.followers
    assert rproc.bus._room.leader == 0


def test_one_endpoint_for_all(rproc: openamp.RemoteProc, threads: Threads) -> None:
    ept = rproc.create_endpoint("echo0", timeout=TIMEOUT)
    got: list[bytes] = []
    last: list[list[int]] = [[] for _ in range(THREADS)]

    def send(who: int) -> None:
        for n in range(NUM):
            if n % 3:
                ept.send(numbered(who, n), timeout=TIMEOUT)
            else:
                message = numbered(who, n)
                with ept.borrow(len(message), timeout=TIMEOUT) as view:
                    view[:] = message

    def receive(held: bool) -> None:
        for _ in range(NUM * THREADS // 2):
            if held:
                with ept.hold(timeout=TIMEOUT) as view:
                    got.append(bytes(view))
            else:
                got.append(ept.receive(timeout=TIMEOUT))

    for who in range(THREADS):
        threads.start(send, who)
    threads.start(receive, False)
    threads.start(receive, True)
    threads.check()
    for message in got:
        assert zlib.crc32(message[4:]).to_bytes(4, "little") == message[:4]
        sender, number, _ = message[4:].split(b":", 2)
        last[int(sender)].append(int(number))
    assert [sorted(each) for each in last] == [list(range(NUM))] * THREADS
    with pytest.raises(TimeoutExpired):
        ept.receive(timeout=0.01)


def test_one_sender_one_receiver_keep_the_order(rproc: openamp.RemoteProc, threads: Threads) -> None:
    ept = rproc.create_endpoint("echo0", timeout=TIMEOUT)
    threads.start(send_numbered, ept, 4 * NUM)
    for n in range(4 * NUM):
        assert ept.receive(timeout=TIMEOUT) == numbered(0, n)
    threads.check()


def test_a_followers_time_passes(rproc: openamp.RemoteProc, threads: Threads) -> None:
    first, second = (rproc.create_endpoint(f"echo{n}", timeout=TIMEOUT) for n in range(2))
    threads.start(first.receive)
    until_waits(rproc.bus)
    began = time.monotonic()
    with pytest.raises(TimeoutExpired):
        second.receive(timeout=0.05)
    assert 0.05 <= time.monotonic() - began < 5
    with pytest.raises(openamp.errors.WouldBlock):
        second.try_receive()
    first.send(b"x")
    threads.check()


def test_a_follower_leads_when_the_leader_is_satisfied(rproc: openamp.RemoteProc, threads: Threads) -> None:
    epts = [rproc.create_endpoint(f"echo{n}", timeout=TIMEOUT) for n in range(THREADS)]
    for ept in epts:
        threads.start(ept.receive)
    until_waits(rproc.bus, THREADS)
    for ept in epts:  # the first leads: the others follow it one by one
        ept.send(b"x", timeout=TIMEOUT)
    threads.check()


def test_a_crash_wakes_all(rproc: openamp.RemoteProc, threads: Threads) -> None:
    epts = [rproc.create_endpoint(f"echo{n}", timeout=TIMEOUT) for n in range(THREADS - 1)]
    die = rproc.create_endpoint("die", timeout=TIMEOUT)
    for ept in epts:
        threads.start(ept.receive)
    threads.start(rproc.wait)
    until_waits(rproc.bus, THREADS)
    die.send(b"now")
    errors = threads.join()
    assert [type(error) for error in errors] == [RemoteCrashed] * len(errors)
    assert len(errors) >= THREADS - 1  # `wait` may have returned for the last messages


@pytest.mark.parametrize("how", ["stop", "shutdown", "close", "bus.close"])
def test_an_end_from_another_thread_wakes_all(rproc: openamp.RemoteProc, threads: Threads, how: str) -> None:
    epts = [rproc.create_endpoint(f"echo{n}", timeout=TIMEOUT) for n in range(THREADS)]
    bus = rproc.bus
    for ept in epts:
        threads.start(ept.receive)
    until_waits(bus, THREADS)
    began = time.monotonic()
    ends: dict[str, Callable[[], object]] = {
        "stop": rproc.stop,
        "shutdown": rproc.shutdown,
        "close": rproc.close,
        "bus.close": bus.close,
    }
    ends[how]()
    errors = threads.join()
    assert time.monotonic() - began < 5
    assert [type(error) for error in errors] == [ClosedError] * THREADS


def test_closing_an_endpoint_ends_its_receive_only(rproc: openamp.RemoteProc, threads: Threads) -> None:
    first, second = (rproc.create_endpoint(f"echo{n}", timeout=TIMEOUT) for n in range(2))
    for ept in (first, second):
        threads.start(ept.receive)
    until_waits(rproc.bus, 2)
    first.close()
    second.send(b"x")
    errors = threads.join()
    assert [type(error) for error in errors] == [ClosedError]


def test_stop_ends_a_wait_for_a_remote_that_has_not_come(threads: Threads) -> None:
    with openamp.open("process", name="nobody-comes-here") as rproc:
        rproc.boot()
        threads.start(
            rproc.create_endpoint,
            "svc",
        )
        until_waits(rproc.bus)
        rproc.stop()
        errors = threads.join()
        assert [type(error) for error in errors] == [ClosedError]


def test_start_and_stop_from_many_threads(rproc: openamp.RemoteProc, threads: Threads) -> None:
    def toggle() -> None:
        for _ in range(5):
            for step in (rproc.stop, rproc.start):
                with contextlib.suppress(StateError, RemoteCrashed):
                    step()

    for _ in range(3):
        threads.start(toggle)
    threads.check()
    assert rproc.state in (openamp.State.RUNNING, openamp.State.STOPPED)


def test_a_callbacks_error_goes_to_one(rproc: openamp.RemoteProc, threads: Threads) -> None:
    def fails(ept: Endpoint, data: bytes, src: int) -> None:
        raise ValueError("once")

    failing = rproc.create_endpoint("echo0", callback=fails, timeout=TIMEOUT)
    epts = [rproc.create_endpoint(f"echo{n}", timeout=TIMEOUT) for n in range(1, THREADS)]
    for ept in epts:
        threads.start(ept.receive)
    until_waits(rproc.bus, len(epts))
    failing.send(b"x")
    deadline = time.monotonic() + TIMEOUT
    while not threads.errors and time.monotonic() < deadline:
        time.sleep(0.001)
    for ept in epts:
        ept.send(b"x")
    errors = threads.join()
    assert [str(error) for error in errors] == ["once"]


def test_a_callback_may_wait_for_another_thread(rproc: openamp.RemoteProc, threads: Threads) -> None:
    second = rproc.create_endpoint("echo1", timeout=TIMEOUT)
    orders: queue.Queue[bytes] = queue.Queue()
    answers: queue.Queue[bytes] = queue.Queue()

    def work() -> None:
        second.send(orders.get(timeout=TIMEOUT), timeout=TIMEOUT)
        answers.put(second.receive(timeout=TIMEOUT))

    def called(ept: Endpoint, data: bytes, src: int) -> None:
        orders.put(data)
        results.append(answers.get(timeout=TIMEOUT))

    results: list[bytes] = []
    first = rproc.create_endpoint("echo0", callback=called, timeout=TIMEOUT)
    threads.start(work)
    first.send(b"through two threads")
    while not results:
        rproc.wait(timeout=TIMEOUT)
    threads.check()
    assert results == [b"through two threads"]


def test_callbacks_run_one_at_a_time(rproc: openamp.RemoteProc, threads: Threads) -> None:
    inside = threading.Lock()
    seen: list[bytes] = []

    def called(ept: Endpoint, data: bytes, src: int) -> None:
        assert inside.acquire(blocking=False)
        seen.append(data)
        inside.release()

    ept = rproc.create_endpoint("echo0", callback=called, timeout=TIMEOUT)
    done = threading.Event()

    def turn() -> None:
        while not done.is_set():
            rproc.bus.wait(timeout=0.01)

    for _ in range(THREADS):
        threads.start(turn)
    for n in range(NUM):
        ept.send(numbered(0, n), timeout=TIMEOUT)
    deadline = time.monotonic() + TIMEOUT
    while len(seen) < NUM and time.monotonic() < deadline:
        rproc.bus.wait(timeout=0.01)
    done.set()
    threads.check()
    assert seen == [numbered(0, n) for n in range(NUM)]


@pytest.mark.parametrize("leads", [True, False])
def test_ctrl_c_hands_over(rproc: openamp.RemoteProc, threads: Threads, leads: bool) -> None:
    first, second = (rproc.create_endpoint(f"echo{n}", timeout=TIMEOUT) for n in range(2))

    def interrupt() -> None:
        if leads:
            until_waits(rproc.bus)
            threads.start(second.receive)
        until_waits(rproc.bus, 2)
        os.kill(os.getpid(), signal.SIGINT)

    if not leads:
        threads.start(second.receive)
        until_waits(rproc.bus)
    threads.start(interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.receive(timeout=TIMEOUT)
    second.send(b"x", timeout=TIMEOUT)
    threads.check()
    first.send(b"y", timeout=TIMEOUT)
    assert first.receive(timeout=TIMEOUT) == b"y"


def test_ctrl_c_at_any_moment(threads: Threads) -> None:
    with openamp.open("loopback", remote=echo) as rproc:
        rproc.boot()
        first, second = (rproc.create_endpoint(f"echo{n}", timeout=TIMEOUT) for n in range(2))
        done = threading.Event()

        def talk() -> None:
            while not done.is_set():
                second.send(b"x", timeout=TIMEOUT)
                second.receive(timeout=TIMEOUT)

        threads.start(talk)

        def interrupt() -> None:
            for _ in range(100):
                time.sleep(0.001)
                _thread.interrupt_main()
            done.set()

        threads.start(interrupt)
        hits = 0
        while not done.is_set():
            try:
                first.send(b"y", timeout=TIMEOUT)
                first.receive(timeout=TIMEOUT)
            except KeyboardInterrupt:
                hits += 1
        threads.check()
        assert hits > 0
        assert not rproc.bus._room.followers
        assert rproc.bus._room.leader == 0


def test_a_buffer_is_given_back_once(rproc: openamp.RemoteProc, threads: Threads) -> None:
    ept = rproc.create_endpoint("echo0", timeout=TIMEOUT)
    for _ in range(50):
        ept.send(b"x", timeout=TIMEOUT)
        held, borrowed = ept.hold(timeout=TIMEOUT), ept.borrow(4, timeout=TIMEOUT)
        together = threading.Barrier(2)

        def release() -> None:
            together.wait(TIMEOUT)  # noqa: B023
            held.release()  # noqa: B023
            borrowed.release()  # noqa: B023

        other = threads.start(release)
        release()
        other.join()
    threads.check()
    for n in range(NUM):
        ept.send(numbered(0, n), timeout=TIMEOUT)
        assert ept.receive(timeout=TIMEOUT) == numbered(0, n)


def test_many_borrow_the_last_buffers(threads: Threads) -> None:
    pair = bus_pair(num=2)
    room, calm = pair.host._room, threading.Event()
    pump = room._pump
    turns = 0

    def slow(timeout: float | None) -> None:
        nonlocal turns
        turns += 1
        if calm.is_set():
            pump(timeout)
        else:
            pair._wake.wait(timeout)
            pair._wake.clear()

    room._pump = slow
    server = pair.remote.create_endpoint(src=100)
    ept = pair.host.create_endpoint(src=200, dst=100)
    first, second = ept.borrow(1), ept.borrow(1)
    borrowed: queue.Queue[BorrowedBuffer] = queue.Queue()
    for _ in range(2):
        threads.start(lambda: borrowed.put(ept.borrow(1, timeout=TIMEOUT)))
    until_waits(pair.host, 2)
    second.release()  # here, so the peer signals nothing
    third = borrowed.get(timeout=TIMEOUT)
    assert turns < 20  # those who wait do not wake each other for nothing
    until_waits(pair.host)
    with first:
        pass
    with third:
        pass
    calm.set()
    assert [len(server.receive(timeout=TIMEOUT)) for _ in range(2)] == [1, 1]
    pair.host.poll()
    pair._wake.set()
    borrowed.get(timeout=TIMEOUT).release()
    threads.check()


def test_the_remotes_end(threads: Threads) -> None:
    buses: queue.Queue[Bus] = queue.Queue()

    def firmware(link: LoopbackRemote) -> None:
        inner = Threads()
        with openamp.serve(link) as bus:
            epts = [bus.create_endpoint(f"echo{n}") for n in range(THREADS)]

            def answer(ept: Endpoint) -> None:
                for data in ept:
                    ept.send(data, timeout=TIMEOUT)

            for ept in epts:
                inner.start(answer, ept)
            buses.put(bus)
            assert [type(error) for error in inner.join()] == [HostShutdown] * THREADS

    with openamp.open("loopback", remote=firmware) as rproc:
        rproc.boot()

        def talk(who: int) -> None:
            ept = rproc.create_endpoint(f"echo{who}", timeout=TIMEOUT)
            for n in range(NUM):
                ept.send(numbered(who, n), timeout=TIMEOUT)
                assert ept.receive(timeout=TIMEOUT) == numbered(who, n)

        for who in range(THREADS):
            threads.start(talk, who)
        threads.check()
        rproc.stop()
        assert not rproc.platform._thread  # type: ignore[attr-defined]
    assert buses.get(timeout=TIMEOUT)._failure is not None


def test_an_emulated_core(threads: Threads) -> None:
    with openamp.open("emulated", board="virt-m4") as rproc:
        rproc.boot(images.path("echo", "virt-m4"))
        ept = rproc.create_endpoint("rpmsg-openamp-demo-channel", timeout=TIMEOUT)
        threads.start(send_numbered, ept, 50)
        for n in range(50):
            assert ept.receive(timeout=TIMEOUT) == numbered(0, n)
        threads.check()
        threads.start(ept.receive)
        until_waits(rproc.bus)
        began = time.monotonic()
        rproc.stop()
        errors = threads.join()
        assert time.monotonic() - began < 5
        assert [type(error) for error in errors] == [ClosedError]


def test_asyncio_belongs_to_its_thread(threads: Threads) -> None:
    async def main() -> None:
        async with await aio.open("loopback", remote=echo) as rproc:
            await rproc.boot()
            async with await rproc.create_endpoint("echo0") as ept:
                for call in (
                    lambda: asyncio.run(ept.receive()),
                    lambda: asyncio.run(ept.send(b"x")),
                    lambda: asyncio.run(rproc.wait(timeout=0)),
                    lambda: asyncio.run(rproc.stop()),
                    ept.close,
                    rproc.bus.close,
                ):
                    threads.start(call)
                errors = threads.join()
                assert [type(error) for error in errors] == [StateError] * 6
                assert all("call_soon_threadsafe" in str(error) for error in errors)
                await ept.send(b"still there")
                assert await ept.receive(timeout=TIMEOUT) == b"still there"

    asyncio.run(main())
