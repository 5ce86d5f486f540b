"""The life cycle on a platform that does nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from openamp.errors import (
    AddressError,
    ClosedError,
    CrashReport,
    ImageError,
    PlatformError,
    RemoteCrashed,
    RemoteExited,
    StateError,
    TimeoutExpired,
)
from openamp.firmware import FirmwareImage, Segment, TableSection
from openamp.link import Crash, Event, Exit, HostPlatform, Kick
from openamp.memory import MemoryMap, Region
from openamp.remoteproc import TRANSITIONS, RemoteProc, State
from openamp.resource_table import ADDR_ANY, Carveout, Entry, ResourceTable, Trace, Vdev, rpmsg_table
from openamp.rpmsg import Bus, HeldBuffer, RemoteBus
from openamp.virtio import DeviceQueue, vring_size

CODE = 0x1000
TABLE = 0x2000
TRACE = 0x3000
POOL = 0x10000


class FakePlatform:
    """A remote whose events the test decides."""

    def __init__(self) -> None:
        self.memory = MemoryMap(
            [
                Region("ram", 0, memoryview(bytearray(0x10000))),
                Region("shared", POOL, memoryview(bytearray(0x20000)), pool=True),
            ]
        )
        self.calls: list[str] = []
        self.events: list[Event] = []
        self.status_at_start = -1
        self.joins = True

    def prepare(self, image: FirmwareImage) -> None:
        self.calls.append("prepare")

    def start(self, image: FirmwareImage, notify_ids: Sequence[int]) -> None:
        self.calls.append(f"start {list(notify_ids)}")
        if image.resource_table is not None:
            self.status_at_start = live_vdev(self).status

    def stop(self) -> None:
        self.calls.append("stop")

    def join(self, timeout: float | None) -> bool:
        return self.joins

    def kick(self, notify_id: int) -> None:
        self.calls.append(f"kick {notify_id}")

    def wait(self, timeout: float | None) -> Sequence[Event]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        self.calls.append("close")


def live_vdev(platform: FakePlatform) -> Vdev:
    return ResourceTable.parse(platform.memory.read(TABLE, 0x400)).vdevs[0]


def firmware(*entries: Entry, table: ResourceTable | None = None, **options: Any) -> FirmwareImage:
    data = (table or rpmsg_table(num=8, align=16, entries=entries, **options)).build()
    return FirmwareImage(
        name="test.elf",
        format="elf32",
        segments=(
            Segment(da=CODE, size=0x100, data=b"code", va=CODE, name="text"),
            Segment(da=TABLE, size=0x800, data=data, va=TABLE, name="data"),
        ),
        resource_table=TableSection(data=data, da=TABLE),
    )


def remote_bus(platform: FakePlatform) -> RemoteBus:
    """What a remote would do with the live table."""
    vdev = live_vdev(platform)
    queues = [
        DeviceQueue.contiguous(platform.memory.view(r.da, vring_size(r.num, r.align)), r.num, r.align, name=name)
        for name, r in zip(("r2h", "h2r"), vdev.vrings, strict=True)
    ]
    return RemoteBus(
        r2h=queues[0],
        h2r=queues[1],
        memory=platform.memory,
        features=vdev.gfeatures,
        kick=lambda notify_id: platform.events.append(Kick(notify_id)),
        pump=lambda timeout: None,
        notify_ids=(vdev.vrings[0].notifyid, vdev.vrings[1].notifyid),
    )


def test_the_fake_is_a_platform() -> None:
    assert isinstance(FakePlatform(), HostPlatform)


def test_boot_loads_writes_the_table_and_releases_in_this_order() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware(notifyids=(ADDR_ANY, ADDR_ANY)))
    assert rproc.state is State.RUNNING
    assert platform.memory.read(CODE, 8) == b"code\0\0\0\0"
    vdev = live_vdev(platform)
    assert all(POOL <= ring.da < POOL + 0x20000 for ring in vdev.vrings)
    assert [ring.notifyid for ring in vdev.vrings] == [1, 2]  # 0 is the device's
    assert (vdev.gfeatures, vdev.status) == (1, 7)
    assert platform.status_at_start == 3  # DRIVER_OK only once it is released
    assert platform.calls == ["prepare", "prepare", "start [1, 2]", "kick 1"]


def test_features_that_the_remote_does_not_offer_are_not_taken() -> None:
    platform = FakePlatform()
    RemoteProc(platform).boot(firmware(dfeatures=0))
    assert live_vdev(platform).gfeatures == 0


def test_carveouts_anywhere_are_written_back() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware(Carveout(da=ADDR_ANY, len=0x1000, name="heap")))
    (carveout,) = ResourceTable.parse(platform.memory.read(TABLE, 0x400)).carveouts
    assert carveout.da == carveout.pa == rproc.placement.carveouts[0].da


def test_physical_addresses_are_the_regions_own_as_far_as_the_table_has_room() -> None:
    platform = FakePlatform()
    (pool,) = (region for region in platform.memory if region.pool)
    pool.pa = 0x8_8000_0000
    rproc = RemoteProc(platform)
    rproc.boot(firmware(Carveout(da=ADDR_ANY, len=0x1000, name="heap")))
    (carveout,) = ResourceTable.parse(platform.memory.read(TABLE, 0x400)).carveouts
    assert carveout.pa == 0x8000_0000 + carveout.da - POOL


def test_everything_is_fresh_after_stop_and_start() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware())
    first = platform.memory.read(TABLE, 0x100)
    rings = rproc.placement.vdevs[0].vrings
    for address, size in [(CODE, 0x100), (TABLE, 0x100), *((r.da, r.size) for r in rings)]:
        platform.memory.write(address, b"\xee" * size)
    rproc.stop()
    assert rproc.state is State.STOPPED
    rproc.start()
    assert platform.memory.read(TABLE, 0x100) == first
    assert platform.memory.read(CODE, 0x100) == b"code" + bytes(0xFC)
    with remote_bus(platform) as remote:
        remote.create_endpoint("svc")
        rproc.wait(timeout=0)
        assert [channel.name for channel in rproc.bus.channels] == ["svc"]


def test_messages_go_both_ways() -> None:
    platform = FakePlatform()
    with RemoteProc(platform) as rproc:
        rproc.boot(firmware())
        remote = remote_bus(platform)
        theirs = remote.create_endpoint("svc")
        ours = rproc.create_endpoint("svc")
        remote.poll()
        assert theirs.dst == ours.src
        ours.send(b"ping")
        remote.poll()
        assert theirs.receive(timeout=0) == b"ping"
        theirs.send(b"pong")
        assert ours.receive(timeout=0) == b"pong"


def test_callbacks_can_be_there_before_the_first_announcement() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    seen = []
    rproc.on_bus(lambda bus: bus.on_channel_created(lambda channel: seen.append(channel.name)))
    rproc.boot(firmware())
    remote_bus(platform).create_endpoint("svc")
    rproc.wait(timeout=0)
    assert seen == ["svc"]


def test_no_announcement_says_so() -> None:
    rproc = RemoteProc(FakePlatform())
    rproc.boot(firmware())
    with pytest.raises(TimeoutExpired, match="svc"):
        rproc.create_endpoint("svc", timeout=0.01)


@pytest.mark.parametrize("state", list(State))
def test_a_wrong_order_says_what_is_allowed(state: State) -> None:
    calls = {"start": "start", "stop": "stop", "shutdown": "shutdown", "recover": "recover"}
    for name, method in calls.items():
        if name in TRANSITIONS[state]:
            continue
        rproc = RemoteProc(FakePlatform())
        reach(rproc, state)
        with pytest.raises(StateError, match=f"cannot {name} while the remote is {state.value}") as caught:
            getattr(rproc, method)()
        assert caught.value.state == state.value
        assert set(caught.value.allowed) == set(TRANSITIONS[state]) - {"crash", "exit"}


def reach(rproc: RemoteProc, state: State) -> None:
    platform = rproc.platform
    assert isinstance(platform, FakePlatform)
    if state is State.LOADED:
        rproc.load(firmware())
    elif state is not State.OFFLINE:
        rproc.boot(firmware())
        if state is State.CRASHED:
            platform.events = [Crash(CrashReport("fault"))]
            with pytest.raises(RemoteCrashed):
                rproc.wait(timeout=0)
        elif state is State.STOPPED:
            rproc.stop()
    assert rproc.state is state


def test_boot_without_firmware() -> None:
    with pytest.raises(StateError, match="no firmware"):
        RemoteProc(FakePlatform()).boot()


def test_load_while_running() -> None:
    rproc = RemoteProc(FakePlatform())
    rproc.boot(firmware())
    with pytest.raises(StateError, match="cannot load while the remote is running"):
        rproc.load(firmware())


def test_bus_needs_a_running_remote() -> None:
    rproc = RemoteProc(FakePlatform())
    with pytest.raises(StateError, match="start or boot it first"):
        _ = rproc.bus


def test_an_image_without_a_table_runs_without_a_bus() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(FirmwareImage(name="bare.bin", segments=(Segment(da=CODE, size=4, data=b"code", va=CODE),)))
    assert rproc.state is State.RUNNING
    assert platform.calls == ["prepare", "prepare", "start []"]
    with pytest.raises(PlatformError, match=r"bare\.bin has no resource table"):
        _ = rproc.bus


def test_a_crash_is_raised_by_every_later_call_and_carries_the_trace() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware(Trace(TRACE, 0x100, name="log")))
    endpoint = rproc.bus.create_endpoint(src=50, dst=51)
    platform.memory.write(TRACE, b"started\nabout to fail\n")
    platform.events = [Crash(CrashReport("bus error", pc=0x1004, address=0xDEAD))]
    with pytest.raises(RemoteCrashed, match="about to fail") as caught:
        endpoint.receive(timeout=1)
    assert rproc.state is State.CRASHED
    assert caught.value.report.output_tail == "started\nabout to fail"
    first = caught.value
    for call in (
        lambda: endpoint.send(b"x"),
        lambda: endpoint.receive(timeout=0),
        lambda: rproc.wait(timeout=0),
        lambda: rproc.bus,
        lambda: rproc.create_endpoint("svc"),
    ):
        with pytest.raises(RemoteCrashed) as again:
            call()
        assert again.value is first


def test_what_came_before_the_crash_can_still_be_received() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware())
    remote = remote_bus(platform)
    theirs = remote.create_endpoint("svc")
    ours = rproc.create_endpoint("svc")
    remote.poll()
    theirs.send(b"last words")
    platform.events = [Crash(CrashReport("fault"))]  # even its kick is lost
    assert ours.receive(timeout=1) == b"last words"
    with pytest.raises(RemoteCrashed):
        ours.receive(timeout=1)


def test_recovery_boots_again() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    reach(rproc, State.CRASHED)
    platform.calls.clear()
    rproc.recover()
    assert rproc.state is State.RUNNING
    assert platform.calls == ["stop", "prepare", "start [0, 1]", "kick 0"]
    assert rproc.bus.channels == ()


def test_the_end_of_the_remotes_program() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware())
    platform.events = [Exit(3)]
    with pytest.raises(RemoteExited, match="status 3") as caught:
        rproc.wait(timeout=0)
    assert caught.value.code == 3
    assert rproc.state is State.STOPPED
    rproc.shutdown().wait()  # the documented sequence goes on as usual
    rproc.start()


def test_a_crash_in_the_first_moments_comes_from_boot() -> None:
    platform = FakePlatform()
    platform.events = [Crash(CrashReport("fault"))]
    rproc = RemoteProc(platform)
    with pytest.raises(RemoteCrashed):
        rproc.boot(firmware())
    assert rproc.state is State.CRASHED


def test_shutdown_returns_at_once_and_wait_has_a_deadline() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware())
    platform.joins = False
    ending = rproc.shutdown()
    assert rproc.state is State.STOPPED
    with pytest.raises(TimeoutExpired, match="not in reset"):
        ending.wait(timeout=0.01)
    platform.joins = True
    ending.wait()


def test_close_stops_once() -> None:
    platform = FakePlatform()
    with RemoteProc(platform) as rproc:
        rproc.boot(firmware())
    rproc.close()
    assert platform.calls[-2:] == ["stop", "close"]
    for call in (rproc.boot, rproc.load, rproc.shutdown, rproc.wait, lambda: rproc.bus):
        with pytest.raises(StateError, match="was closed; open another one") as caught:
            call()
        assert caught.value.state == "closed"


def test_its_text_says_where_what_and_how_it_is() -> None:
    rproc = RemoteProc(FakePlatform())
    assert repr(rproc) == "<RemoteProc on FakePlatform: offline>"
    rproc.boot(firmware())
    assert repr(rproc) == "<RemoteProc on FakePlatform with 'test.elf': running>"
    rproc.close()
    assert repr(rproc) == "<RemoteProc on FakePlatform with 'test.elf': closed>"


def test_a_table_outside_the_memory() -> None:
    data = rpmsg_table(num=8, align=16).build()
    image = FirmwareImage(
        name="far.elf",
        segments=(Segment(da=CODE, size=4, data=b"code", va=CODE),),
        resource_table=TableSection(data=data, da=0x9000_0000),
    )
    with pytest.raises(AddressError, match=r"resource table.*0x90000000"):
        RemoteProc(FakePlatform()).boot(image)


def test_a_table_that_start_up_code_copies_is_answered_in_both_places() -> None:
    platform = FakePlatform()
    data = rpmsg_table(num=8, align=16).build()
    image = FirmwareImage(
        name="copied.elf",
        segments=(Segment(da=TABLE, size=len(data), data=data, va=0x4000, name="data"),),
        resource_table=TableSection(data=data, da=TABLE, section_address=0x4000),
    )
    rproc = RemoteProc(platform)
    rproc.boot(image)
    assert rproc.live_table is not None
    live, loaded = (platform.memory.read(address, len(data)) for address in (0x4000, TABLE))
    assert ResourceTable.parse(live).vdevs[0].vrings == ResourceTable.parse(loaded).vdevs[0].vrings
    assert ResourceTable.parse(live).vdevs[0].status == 7
    assert ResourceTable.parse(live).vdevs[0].vrings[0].da >= POOL


def test_segments_that_overwrite_each_other() -> None:
    twice = tuple(Segment(da=CODE, size=4, data=name.encode() * 4, va=CODE, name=name) for name in "ab")
    image = FirmwareImage(name="twice.elf", segments=twice)
    with pytest.raises(ImageError, match="allow_overlap"):
        RemoteProc(FakePlatform()).boot(image)
    RemoteProc(FakePlatform(), allow_overlap=True).boot(image)


def test_trace_output_is_followed() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    seen: list[tuple[str, bytes]] = []
    rproc.on_output(lambda stream, data: seen.append((stream, data)))
    rproc.boot(firmware(Trace(TRACE, 0x100, name="log")))
    platform.memory.write(TRACE, b"one\n")
    rproc.wait(timeout=0)
    platform.memory.write(TRACE + 4, b"two\n")
    rproc.wait(timeout=0)
    assert seen == [("log", b"one\n"), ("log", b"two\n")]
    assert rproc.trace() == "one\ntwo\n"


def test_two_rpmsg_devices_are_two_buses() -> None:
    (vdev,) = rpmsg_table(num=8, align=16).entries
    rproc = RemoteProc(FakePlatform())
    rproc.boot(firmware(table=ResourceTable((vdev, vdev))))
    assert len(rproc.buses) == 2
    ids = [ring.notify_id for device in rproc.placement.vdevs for ring in device.vrings]
    assert ids == [0, 1, 2, 3]


def test_an_error_in_a_callback_does_not_lose_the_crash() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware())
    remote = remote_bus(platform)
    theirs = remote.create_endpoint("svc")

    def fail(endpoint: object, data: object, src: int) -> None:
        raise ValueError("in the callback")

    rproc.bus.create_endpoint("svc", callback=fail)
    remote.poll()
    theirs.send(b"x")
    platform.events.append(Crash(CrashReport("fault")))
    with pytest.raises((ValueError, RemoteCrashed)):
        rproc.wait(timeout=0)
    assert rproc.state is State.CRASHED
    with pytest.raises(RemoteCrashed):
        rproc.wait(timeout=0)


def test_an_output_callback_that_raises_does_not_lose_the_crash() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    seen: list[bytes] = []

    def fail(stream: str, data: bytes) -> None:
        raise ValueError("in the output callback")

    rproc.on_output(fail)
    rproc.on_output(lambda stream, data: seen.append(data))
    rproc.boot(firmware(Trace(TRACE, 0x100, name="log")))
    platform.memory.write(TRACE, b"last words\n")
    platform.events = [Kick(0), Crash(CrashReport("fault"))]
    with pytest.raises(ValueError, match="in the output callback"):
        rproc.wait(timeout=0)
    assert rproc.state is State.CRASHED
    assert seen == [b"last words\n"]
    with pytest.raises(RemoteCrashed):
        rproc.wait(timeout=0)


def test_what_output_callbacks_raise_comes_out_of_stop() -> None:
    class Talker(FakePlatform):
        """Says goodbye when it is stopped."""

        output: Callable[[str, bytes], None]

        def on_output(self, callback: Callable[[str, bytes], None]) -> None:
            self.output = callback

        def stop(self) -> None:
            self.output("uart", b"bye")
            super().stop()

    platform = Talker()
    rproc = RemoteProc(platform)

    def fail(stream: str, data: bytes) -> None:
        raise ValueError(data.decode())

    rproc.on_output(fail)
    rproc.boot(firmware())
    with pytest.raises(ValueError, match="bye"):
        rproc.stop()
    assert platform.calls[-1] == "stop"
    assert rproc.state is State.STOPPED


def flood(rproc: RemoteProc, platform: FakePlatform) -> list[int]:
    """The remote answers within the host's callback, 1000 times: more than one turn takes in."""
    theirs = remote_bus(platform).create_endpoint()
    left = [1000]

    def received(endpoint: object, data: object, src: int) -> None:
        if left[0]:
            left[0] -= 1
            theirs.try_send_to(b"again", ours.src)

    ours = rproc.buses[0].create_endpoint(src=60, callback=received)
    theirs.try_send_to(b"first", ours.src)
    return left


def test_what_one_wait_leaves_behind_the_next_one_takes() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware())
    left = flood(rproc, platform)
    while left[0]:
        assert rproc.wait(timeout=0)


def test_a_wait_on_one_bus_does_not_leave_behind_what_is_on_another() -> None:
    (vdev,) = rpmsg_table(num=8, align=16).entries
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware(table=ResourceTable((vdev, vdev))))
    left = flood(rproc, platform)
    other = rproc.buses[1].create_endpoint(src=50, dst=51)
    for _ in range(100):
        with pytest.raises(TimeoutExpired):
            other.receive(timeout=0)
    assert left == [0]


def test_the_blocks_own_exception_survives_a_shutdown_that_fails() -> None:
    platform = FakePlatform()
    with pytest.raises(KeyError) as caught, RemoteProc(platform) as rproc:
        rproc.boot(firmware())
        platform.joins = False
        raise KeyError("of the block")
    assert "shutdown failed: the remote is not in reset" in caught.value.__notes__[0]
    assert platform.calls[-1] == "close"


def test_a_shutdown_that_fails_is_raised_by_the_block() -> None:
    platform = FakePlatform()
    with pytest.raises(TimeoutExpired, match="not in reset"), RemoteProc(platform) as rproc:
        rproc.boot(firmware())
        platform.joins = False
    assert platform.calls[-1] == "close"


def test_a_start_that_fails_leaves_the_remote_stopped_and_can_be_repeated() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    buses: list[Bus] = []

    @rproc.on_bus
    def once(bus: Bus) -> None:
        buses.append(bus)
        if len(buses) == 1:
            raise ValueError("in on_bus")

    with pytest.raises(ValueError, match="in on_bus"):
        rproc.boot(firmware())
    assert rproc.state is State.STOPPED
    assert rproc.buses == ()
    assert platform.calls[-1] == "stop"
    with pytest.raises(ClosedError, match="start failed"):
        buses[0].poll()
    rproc.start()
    assert rproc.bus is buses[1]


def test_driver_ok_reaches_firmware_whose_start_up_code_clears_the_status() -> None:
    class Clearing(FakePlatform):
        """Its firmware writes its own status byte over ours."""

        def start(self, image: FirmwareImage, notify_ids: Sequence[int]) -> None:
            super().start(image, notify_ids)
            status = self.memory.view(TABLE, 0x800)
            status[ResourceTable.parse(status).offsets[0] + 24] = 0

    platform = Clearing()
    RemoteProc(platform).boot(firmware())
    assert live_vdev(platform).status == 7


def test_driver_ok_reaches_firmware_that_copies_its_table_late() -> None:
    platform = FakePlatform()
    data = rpmsg_table(num=8, align=16).build()
    image = FirmwareImage(
        name="copied.elf",
        segments=(Segment(da=TABLE, size=len(data), data=data, va=0x4000, name="data"),),
        resource_table=TableSection(data=data, da=TABLE, section_address=0x4000),
    )
    RemoteProc(platform).boot(image)
    loaded = platform.memory.read(TABLE, len(data))
    assert ResourceTable.parse(loaded).vdevs[0].status == 7


def test_endpoints_have_all_options_of_the_bus() -> None:
    platform = FakePlatform()
    rproc = RemoteProc(platform)
    rproc.boot(firmware())
    held: list[object] = []
    ours = rproc.create_endpoint(
        "svc", src=60, dst=61, announce=True, backlog=3, zero_copy=True, callback=lambda e, data, src: held.append(data)
    )
    remote = remote_bus(platform)
    remote.create_endpoint(src=61, dst=60).send(b"x")
    assert rproc.wait(timeout=0)
    assert isinstance(held[0], HeldBuffer)
    remote.poll()
    assert [channel.dst for channel in remote.channels] == [ours.src]
