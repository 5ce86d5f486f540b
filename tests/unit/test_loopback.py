from __future__ import annotations

import gc
import os
import sys
import threading

import pytest

import openamp
from openamp.errors import (
    ClosedError,
    HostShutdown,
    OpenAMPError,
    PlatformError,
    RemoteCrashed,
    RemoteExited,
    TimeoutExpired,
    UnknownPlatformError,
)
from openamp.platforms.loopback import LoopbackPlatform, LoopbackRemote
from openamp.remoteproc import State
from openamp.resource_table import Carveout, rpmsg_table
from openamp.testing.elf_builder import ElfSegment, build_elf

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


def test_hundreds_in_one_process_leave_no_descriptors_and_threads() -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    gc.disable()  # what is left may go when it likes, but must not use up what is scarce
    try:
        for _ in range(100):
            with openamp.open("loopback", remote=echo) as rproc:
                rproc.boot()
                with rproc.create_endpoint(SERVICE) as endpoint:
                    endpoint.send(b"x")
                    assert endpoint.receive(timeout=5) == b"x"
    finally:
        gc.enable()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


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


@pytest.mark.parametrize("how", ["stop", "close"])
def test_another_thread_ends_a_wait(how: str) -> None:
    """There is no program whose end would tell the waiting thread."""
    rproc = openamp.open("loopback", name="ended")
    rproc.boot()
    openamp.serve("loopback", name="ended", timeout=1).create_endpoint(SERVICE)
    endpoint = rproc.create_endpoint(SERVICE, timeout=1)
    waiting = threading.Event()
    raised: list[BaseException] = []

    def wait() -> None:
        waiting.set()
        try:
            endpoint.receive()
        except OpenAMPError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(5)
    getattr(rproc, how)()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(raised[0], ClosedError)
    rproc.close()


def test_the_end_of_a_stopped_run_does_not_reach_the_next_one() -> None:
    with openamp.open("loopback", remote=echo) as rproc:
        rproc.boot()
        for _ in range(50):
            rproc.shutdown()
            rproc.start()
            assert rproc.state is State.RUNNING
        with rproc.create_endpoint(SERVICE) as endpoint:
            endpoint.send(b"still here")
            assert endpoint.receive(timeout=5) == b"still here"


def test_one_run_is_served_once() -> None:
    with openamp.open("loopback", name="once") as rproc:
        rproc.boot()
        openamp.serve("loopback", name="once", timeout=1)
        with pytest.raises(TimeoutExpired, match="that nobody serves yet"):
            openamp.serve("loopback", name="once", timeout=0.01)
        rproc.stop()
        rproc.start()
        openamp.serve("loopback", name="once", timeout=1)


@pytest.mark.parametrize(("argument", "code"), [(3, 3), (None, 0), ("a message", 1)])
def test_sys_exit_in_the_remote_is_its_exit(argument: object, code: int) -> None:
    with openamp.open("loopback", remote=lambda link: sys.exit(argument)) as rproc:  # type: ignore[arg-type]
        with pytest.raises(RemoteExited) as caught:
            boot_and_wait(rproc)
        assert caught.value.code == code


def test_memory_is_fresh_after_stop_and_start() -> None:
    with openamp.open("loopback", remote=echo) as rproc:
        rproc.boot()
        (shared,) = rproc.memory
        rproc.stop()
        shared.data[-16:] = b"x" * 16
        rproc.start()
        assert bytes(shared.data[-16:]) == bytes(16)


DATA = ElfSegment(0x20000000, b"data")
WITH_ADDRESSES = {
    "rings": (DATA, rpmsg_table(num=16, align=16, vring_da=(0xB800_0000, 0xB800_8000))),
    "carve-out": (DATA, rpmsg_table(num=16, entries=[Carveout(da=0x9000_0000, len=0x1000, name="heap")])),
    "segment across the shared memory": (ElfSegment(0x0FFF_F000, b"x" * 0x2000), rpmsg_table(num=16)),
}


@pytest.mark.parametrize("what", WITH_ADDRESSES)
def test_any_image_finds_its_memory(what: str) -> None:
    with openamp.open("loopback", remote=echo) as rproc:
        for segment, table in [*WITH_ADDRESSES.values(), WITH_ADDRESSES[what]]:
            rproc.load(build_elf([segment], resource_table=table.build(), table_address=0x20010000))
        rproc.boot()
        with rproc.create_endpoint(SERVICE) as endpoint:
            endpoint.send(b"abc")
            assert endpoint.receive(timeout=5) == b"abc"


def test_code_and_data_at_the_same_address() -> None:
    """Programmable real-time units have a memory for each."""
    segments = [ElfSegment(0, b"i" * 64, flags=5), ElfSegment(0, b"d" * 128, flags=6)]
    with openamp.open("loopback", remote=echo, allow_overlap=True) as rproc:
        rproc.load(build_elf(segments, resource_table=rpmsg_table(num=16).build(), table_address=0x1000))
        assert [(region.da, region.size) for region in rproc.memory][:1] == [(0, 128)]


def test_an_image_that_wants_too_much_memory() -> None:
    segments = [ElfSegment(at << 28, b"", size=0x0FFF_FFFF) for at in (3, 5)]
    with (
        openamp.open("loopback") as rproc,
        pytest.raises(PlatformError, match=r"segment LOAD 1 of image at 0x50000000\.\.0x5fffffff makes 0x1ffffffe"),
    ):
        rproc.load(build_elf(segments))


def test_a_closed_platform_is_no_use() -> None:
    platform = LoopbackPlatform()
    platform.close()
    with pytest.raises(ClosedError, match="open another one"):
        platform.prepare(platform.builtin_firmware())
