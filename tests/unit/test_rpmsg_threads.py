"""Two buses in two threads on the same rings: real races on the rings' indices and flags, and no signal is lost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from openamp.rpmsg import Bus, HostBus, RemoteBus
from openamp.testing.buses import make_rings
from openamp.virtio.device import VIRTIO_RPMSG_F_NS

NUM = 4
MESSAGES = 3000
TIMEOUT = 10.0


class Doorbell:
    """Signals to one side. A side that was not kicked sleeps until its deadline."""

    def __init__(self) -> None:
        self.rung = threading.Event()
        self.bus: Bus | None = None

    def kick(self, notify_id: int) -> None:
        self.rung.set()

    def pump(self, timeout: float | None) -> None:
        assert self.bus is not None
        if self.rung.wait(timeout):
            self.rung.clear()
            self.bus.notified(None)


@pytest.fixture(autouse=True)
def _many_thread_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def two_sides() -> tuple[HostBus, RemoteBus]:
    rings = make_rings(num=NUM)
    bells = Doorbell(), Doorbell()
    r2h, h2r = rings.driver_queues()
    host = HostBus(
        r2h=r2h,
        h2r=h2r,
        r2h_buffers=rings.r2h_buffers,
        h2r_buffers=rings.h2r_buffers,
        features=VIRTIO_RPMSG_F_NS,
        kick=bells[1].kick,
        pump=bells[0].pump,
        notify_ids=(0, 1),
    )
    device_r2h, device_h2r = rings.device_queues()
    remote = RemoteBus(
        r2h=device_r2h,
        h2r=device_h2r,
        memory=rings.memory,
        features=VIRTIO_RPMSG_F_NS,
        kick=bells[0].kick,
        pump=bells[1].pump,
        notify_ids=(0, 1),
    )
    bells[0].bus, bells[1].bus = host, remote
    return host, remote


def in_thread(work: Callable[[], None]) -> Callable[[], None]:
    """Starts `work`; the returned function joins it and raises what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join() -> None:
        thread.join(3 * TIMEOUT)
        assert not thread.is_alive()
        if errors:
            raise errors[0]

    return join


@pytest.mark.parametrize("style", ["one by one", "batches", "callback", "zero copy"])
def test_echo_between_threads(style: str) -> None:
    host, remote = two_sides()
    messages = [b"%d" % i for i in range(MESSAGES)]

    def serve() -> None:
        done = 0
        if style == "callback":

            def echo(ept: object, data: bytes, src: int) -> None:
                nonlocal done
                server.send(data, timeout=TIMEOUT)
                done += 1

            server = remote.create_endpoint("echo", callback=echo)
            while done < MESSAGES:
                remote.wait(timeout=TIMEOUT)
            return
        server = remote.create_endpoint("echo")
        while done < MESSAGES:
            if style == "batches":
                batch = server.receive_many(timeout=TIMEOUT)
                server.send_many(batch, timeout=TIMEOUT)
                done += len(batch)
            elif style == "zero copy":
                with server.hold(timeout=TIMEOUT) as view, server.borrow(len(view), timeout=TIMEOUT) as out:
                    out[:] = view
                done += 1
            else:
                server.send(server.receive(timeout=TIMEOUT), timeout=TIMEOUT)
                done += 1

    join = in_thread(serve)
    client = host.create_endpoint("echo", timeout=TIMEOUT)
    got: list[bytes] = []
    if style == "one by one":
        for message in messages:
            client.send(message, timeout=TIMEOUT)
            got.append(client.receive(timeout=TIMEOUT))
    else:
        for at in range(0, MESSAGES, 7):
            client.send_many(messages[at : at + 7], timeout=TIMEOUT)
        while len(got) < MESSAGES:
            got += client.receive_many(timeout=TIMEOUT)
    join()
    assert got == messages
