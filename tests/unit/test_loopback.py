from __future__ import annotations

import threading

import pytest

import openamp
from openamp.errors import (
    HostShutdown,
    PlatformError,
    RemoteCrashed,
    RemoteExited,
    TimeoutExpired,
    UnknownPlatformError,
)
from openamp.platforms.loopback import LoopbackPlatform, LoopbackRemote
from openamp.remoteproc import State

SERVICE = "rpmsg-openamp-demo-channel"


def echo(link: LoopbackRemote) -> None:
    with openamp.serve(link) as bus, bus.create_endpoint(SERVICE) as endpoint:
        for message in endpoint:
            endpoint.send(message)


def test_echo_of_all_sizes_with_a_remote_in_a_thread() -> None:
    with openamp.open("loopback", remote=echo) as rproc:
        rproc.boot()
        with rproc.create_endpoint(SERVICE) as endpoint:
            assert endpoint.mtu == 496
            for size in range(1, 497):
                endpoint.send(bytes([size & 0xFF]) * size)
                assert endpoint.receive(timeout=5) == bytes([size & 0xFF]) * size


def test_restart_as_often_as_one_likes() -> None:
    with openamp.open("loopback", remote=echo) as rproc:
        rproc.boot()
        for i in range(20):
            with rproc.create_endpoint(SERVICE) as endpoint:
                endpoint.send(b"%d" % i)
                assert endpoint.receive(timeout=5) == b"%d" % i
            rproc.stop()
            rproc.start()
        assert threading.active_count() < 10


def test_host_and_remote_in_one_thread() -> None:
    with openamp.open("loopback", name="one") as rproc:
        rproc.boot()
        remote = openamp.serve("loopback", name="one", timeout=1)
        remote.create_endpoint(SERVICE, callback=lambda ept, data, src: ept.send(data[::-1]))
        with rproc.create_endpoint(SERVICE, timeout=1) as endpoint:
            endpoint.send(b"abc")
            assert endpoint.receive(timeout=1) == b"cba"


def boot_and_wait(rproc: openamp.RemoteProc) -> None:
    rproc.boot()
    rproc.wait(timeout=5)


def test_the_remotes_exception_is_its_crash() -> None:
    def faulty(link: LoopbackRemote) -> None:
        openamp.serve(link)
        raise ZeroDivisionError("as planned")

    with openamp.open("loopback", remote=faulty) as rproc:
        with pytest.raises(RemoteCrashed, match="ZeroDivisionError: as planned") as caught:
            boot_and_wait(rproc)
        assert "faulty" in caught.value.report.location
        assert rproc.state is State.CRASHED
        rproc.stop()


def test_the_remotes_return_is_its_exit() -> None:
    with openamp.open("loopback", remote=lambda link: 7) as rproc:
        with pytest.raises(RemoteExited) as caught:
            boot_and_wait(rproc)
        assert caught.value.code == 7


def test_the_remote_learns_of_the_shutdown() -> None:
    ended = []

    def waits(link: LoopbackRemote) -> None:
        bus = openamp.serve(link)
        endpoint = bus.create_endpoint("svc")
        try:
            endpoint.receive()
        except HostShutdown:
            ended.append(True)
            raise

    with openamp.open("loopback", remote=waits) as rproc:
        rproc.boot()
        rproc.create_endpoint("svc")
    assert ended == [True]


def test_a_host_that_never_gets_its_driver_ready() -> None:
    platform = LoopbackPlatform(name="slow")
    platform.prepare(platform.builtin_firmware())
    platform.builtin_firmware().load(platform.memory)
    platform.start(platform.builtin_firmware(), [0, 1])
    with pytest.raises(TimeoutExpired, match="DRIVER_OK"):
        openamp.serve("loopback", name="slow", timeout=0.05)
    platform.close()


def test_nobody_to_serve() -> None:
    with pytest.raises(TimeoutExpired, match="no loopback host named 'nobody'"):
        openamp.serve("loopback", name="nobody", timeout=0.01)


def test_nobody_serves() -> None:
    with openamp.open("loopback", name="lonely") as rproc:
        rproc.boot()
        with pytest.raises(TimeoutExpired, match="nobody serves this loopback"):
            rproc.create_endpoint("svc", timeout=0.01)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"remot": echo}, "did you mean 'remote'"),
        ({"board": "x"}, "it takes remote, name, size"),
        ({"size": 12}, "size is 0xc"),
    ],
)
def test_wrong_options(options: dict[str, object], said: str) -> None:
    with pytest.raises(PlatformError, match=said):
        openamp.open("loopback", **options)


def test_unknown_platforms() -> None:
    with pytest.raises(UnknownPlatformError, match=r"did you mean 'loopback'.*emulated, loopback"):
        openamp.open("lopback")
    with pytest.raises(UnknownPlatformError, match="to serve"):
        openamp.serve("bluetooth")


def test_large_buffers_in_one_direction() -> None:
    with openamp.open("loopback", remote=echo, h2r_buf_size=2048, size=0x400000) as rproc:
        rproc.boot()
        with rproc.create_endpoint(SERVICE) as endpoint:
            assert endpoint.mtu == 2032
