"""DriverQueue and DeviceQueue, both forms: what they write, what they read, what they refuse."""

from __future__ import annotations

import gc
import mmap
import struct
import weakref
from collections.abc import Callable
from types import ModuleType

import pytest

from openamp.errors import (
    AllocationError,
    ClosedError,
    OpenAMPError,
    RemoteProtocolError,
    ResourceTableError,
    VirtqueueError,
    WouldBlock,
)
from openamp.virtio import vring_size
from openamp.virtio.virtqueue import DeviceQueue, DriverQueue
from support.queues import FORMS, INDIRECT, NEXT, PAIRS, SUPPRESS, WRITE, Ring

Pair = tuple[ModuleType, ModuleType]


@pytest.fixture(params=list(FORMS.values()), ids=list(FORMS))
def form(request: pytest.FixtureRequest) -> ModuleType:
    assert isinstance(request.param, ModuleType)
    return request.param


@pytest.fixture(params=list(PAIRS.values()), ids=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> Pair:
    driver, device = request.param
    return driver, device


@pytest.fixture
def ring() -> Ring:
    return Ring()


# What the driver writes


def test_add_writes_descriptor_and_ring_but_not_the_index(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add(0x1234_5678_9ABC_DEF0, 0xFFFF_FFFF, True)
    assert ring.descriptor(head) == (0x1234_5678_9ABC_DEF0, 0xFFFF_FFFF, WRITE, 0)
    assert ring.avail_ring()[0] == head
    assert ring.avail_idx == 0
    assert driver.num_free == 7


def test_publish_moves_the_index_by_all_that_was_added(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    heads = [driver.add(0x100 * i, 0x100, False) for i in range(5)]
    driver.publish()
    assert ring.avail_idx == 5
    assert ring.avail_ring()[:5] == heads


def test_publish_asks_for_a_kick_unless_the_device_suppresses_it(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    driver.add(0, 1, False)
    assert driver.publish() is True
    ring.used_flags = SUPPRESS
    driver.add(0, 1, False)
    assert driver.publish() is False
    ring.used_flags = 0xFFFE  # other bits mean nothing
    driver.add(0, 1, False)
    assert driver.publish() is True


def test_publish_of_nothing_wants_no_kick(pair: Pair, ring: Ring) -> None:
    assert ring.driver(pair[0]).publish() is False
    assert ring.device(pair[1]).publish() is False
    assert (ring.avail_idx, ring.used_idx) == (0, 0)


def test_add_chain_links_readable_before_writable(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add_chain([(0x1000, 1, False), (0x2000, 2, False), (0x3000, 3, True)])
    first = ring.descriptor(head)
    second = ring.descriptor(first[3])
    third = ring.descriptor(second[3])
    assert first[:3] == (0x1000, 1, NEXT)
    assert second[:3] == (0x2000, 2, NEXT)
    assert third == (0x3000, 3, WRITE, 0)
    assert driver.num_free == 5


def test_a_descriptor_that_stays_the_same_is_not_written_again(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add(0x1000, 512, True)
    driver.publish()
    ring.give_back((head, 16))
    assert driver.reclaim() == (head, 16)
    ring.describe(head, 0, 0, 0)
    assert driver.add(0x1000, 512, True) == head
    assert ring.descriptor(head) == (0, 0, 0, 0)


@pytest.mark.parametrize("bad", [(-1, 1), (1 << 64, 1), (0x2000, -1), (0x2000, 1 << 32), (1 << 70, 1 << 70)])
def test_after_a_refused_buffer_the_descriptor_is_written_whole(
    form: ModuleType, ring: Ring, bad: tuple[int, int]
) -> None:
    driver = ring.driver(form)
    head = driver.add(0x1000, 512, True)
    driver.publish()
    ring.give_back((head, 0))
    driver.reclaim()
    with pytest.raises(VirtqueueError, match="descriptors hold 32 and 64 bits"):
        driver.add(*bad, True)
    assert driver.num_free == 8
    assert driver.add(0x1000, 512, True) == head
    assert ring.descriptor(head) == (0x1000, 512, WRITE, 0)


def test_a_chain_then_a_single_buffer_in_the_same_descriptor(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add_chain([(0x1000, 512, False), (0x2000, 512, False)])
    driver.publish()
    ring.give_back((head, 0))
    driver.reclaim()
    seen = {driver.add(0x1000, 512, False) for _ in range(2)}
    assert head in seen
    assert all(ring.descriptor(i) == (0x1000, 512, 0, 0) for i in seen)


# What the device writes


def test_push_writes_the_element_but_not_the_index(form: ModuleType, ring: Ring) -> None:
    device = ring.device(form)
    ring.describe(3, 0x1000, 512, WRITE)
    ring.offer(3)
    assert device.pop_single() == (3, 0x1000, 512, True)
    device.push(3, 500)
    assert ring.used_ring()[0] == (3, 500)
    assert ring.used_idx == 0
    assert device.publish() is True
    assert ring.used_idx == 1


def test_publish_of_the_device_honours_suppression(form: ModuleType, ring: Ring) -> None:
    device = ring.device(form)
    ring.offer(0, 1)
    ring.avail_flags = SUPPRESS
    for head, wanted in ((0, False), (1, True)):
        device.pop()
        device.push(head, 0)
        assert device.publish() is wanted
        ring.avail_flags = 0


def test_pop_gives_the_whole_chain(form: ModuleType, ring: Ring) -> None:
    device = ring.device(form)
    ring.describe(2, 0x1000, 1, NEXT, 5)
    ring.describe(5, 0x2000, 2, NEXT | WRITE, 0)
    ring.describe(0, 0xFFFF_FFFF_FFFF_FFFF, 3, WRITE, 0xFFFF)
    ring.offer(2)
    chain = device.pop()
    assert chain is not None
    assert chain.head == 2
    assert chain.segments == ((0x1000, 1, False), (0x2000, 2, True), (0xFFFF_FFFF_FFFF_FFFF, 3, True))
    assert device.pop() is None
    assert device.num_held == 1


def test_a_chain_may_use_every_descriptor(pair: Pair, ring: Ring) -> None:
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    segments = tuple((0x1000 * i, i, i >= 4) for i in range(8))
    head = driver.add_chain(segments)
    assert driver.num_free == 0
    driver.publish()
    assert device.pop() == (head, segments)
    device.push(head, 4 + 5 + 6 + 7)
    device.publish()
    assert driver.reclaim() == (head, 22)
    assert driver.num_free == 8


def test_empty_buffers_are_buffers(pair: Pair, ring: Ring) -> None:
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    heads = [driver.add(0, 0, True), driver.add_chain([(1, 5, False), (2, 0, True)])]
    driver.publish()
    assert device.pop() == (heads[0], ((0, 0, True),))
    assert device.pop() == (heads[1], ((1, 5, False), (2, 0, True)))
    with pytest.raises(VirtqueueError):
        device.push(heads[1], 1)
    device.push_many([(head, 0) for head in heads])
    device.publish()
    assert driver.reclaim_many(9) == [(heads[0], 0), (heads[1], 0)]


# Together


def test_indices_run_modulo_2_to_the_16(pair: Pair) -> None:
    """Three at a time: the wrap comes in the middle of a batch."""
    ring = Ring(num=4)
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    for round_ in range(0x10000 // 3 + 5):
        a, b, c = (driver.add(round_, 8, True) for _ in range(3))
        driver.publish()
        assert device.pop_singles(9) == [(head, round_, 8, True) for head in (a, b, c)]
        device.push_many([(b, 1), (c, 2), (a, 3)])
        device.publish()
        assert driver.reclaim_many(9) == [(b, 1), (c, 2), (a, 3)]
    assert ring.avail_idx == ring.used_idx == 3 * (0x10000 // 3 + 5) & 0xFFFF


@pytest.mark.parametrize("turns", [1, 3])
def test_the_largest_ring_fills_and_empties(pair: Pair, turns: int) -> None:
    num = 32768
    ring = Ring(num=num, align=4096)
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    for _ in range(turns):
        heads = driver.add_many([(i, i) for i in range(num)], True)
        assert len(set(heads)) == num
        with pytest.raises(WouldBlock):
            driver.add(0, 0, True)
        driver.publish()
        assert [single[:3] for single in device.pop_singles(num + 1)] == [(heads[i], i, i) for i in range(num)]
        device.push_many([(head, i) for i, head in enumerate(heads)])
        device.publish()
        assert driver.reclaim_many(num + 1) == [(head, i) for i, head in enumerate(heads)]
        assert driver.num_free == num


def test_one_descriptor_makes_a_ring(pair: Pair) -> None:
    ring = Ring(num=1)
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    for i in range(5):
        head = driver.add(i, 1, False)
        with pytest.raises(WouldBlock):
            driver.add(i, 1, False)
        driver.publish()
        assert device.pop_many(2) == [(head, ((i, 1, False),))]
        device.push(head, 0)
        device.publish()
        assert driver.reclaim() == (head, 0)


@pytest.mark.parametrize("align", [1, 2, 4, 16, 4096])
def test_legacy_rings_of_any_alignment_work(pair: Pair, align: int) -> None:
    memory = memoryview(bytearray(vring_size(4, align) + 10))
    driver: DriverQueue = pair[0].DriverQueue.contiguous(memory, 4, align, name="h2r")
    device: DeviceQueue = pair[1].DeviceQueue.contiguous(memory, 4, align, name="h2r")
    for i in range(20):
        head = driver.add(0xFFFF_FFFF_0000_0000 + i, 0x8000_0000 + i, False)
        driver.publish()
        assert device.pop_single() == (head, 0xFFFF_FFFF_0000_0000 + i, 0x8000_0000 + i, False)
        device.push(head, 0x8000_0000)
        device.publish()
        assert driver.reclaim() == (head, 0x8000_0000)


def test_many_stops_when_the_queue_is_full_and_at_the_limit(pair: Pair, ring: Ring) -> None:
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    assert len(driver.add_many(((i, 1) for i in range(20)), False)) == 8
    driver.publish()
    assert len(device.pop_many(3)) == 3
    assert len(device.pop_singles(4)) == 4
    assert len(device.pop_many(3)) == 1
    assert device.pop_singles(0) == []
    device.push_many([(i, 0) for i in range(8)])
    device.publish()
    assert len(driver.reclaim_many(0)) == 0
    assert len(driver.reclaim_many(3)) == 3
    assert len(driver.reclaim_many(30)) == 5


def test_what_arrives_while_the_last_batch_is_taken_is_seen(pair: Pair, ring: Ring) -> None:
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    driver.add(1, 1, False)
    driver.publish()
    assert device.take()
    driver.add(2, 1, False)
    driver.publish()
    assert device.take()
    assert (device.addr, device.length, device.writable, device.num_held) == (2, 1, False, 2)
    assert not device.take()
    device.push(device.head, 0)
    device.publish()
    assert driver.take()
    assert (driver.head, driver.written) == (device.head, 0)
    assert not driver.take()


def test_suppression_flags_and_what_arrived_meanwhile(pair: Pair, ring: Ring) -> None:
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    device.disable_notifications()
    assert ring.used_flags == SUPPRESS
    head = driver.add(0, 1, True)
    assert driver.publish() is False
    assert device.enable_notifications() is True
    assert device.enable_notifications() is True, "until it is taken"
    assert ring.used_flags == 0
    assert device.pop() is not None
    assert device.enable_notifications() is False

    driver.disable_notifications()
    assert ring.avail_flags == SUPPRESS
    device.push(head, 1)
    assert device.publish() is False
    assert driver.enable_notifications() is True
    assert ring.avail_flags == 0
    assert driver.reclaim() == (head, 1)
    assert driver.enable_notifications() is False


def test_reset_starts_afresh(pair: Pair, ring: Ring) -> None:
    driver = ring.driver(pair[0])
    driver.disable_notifications()
    driver.add(1, 2, True)
    driver.publish()
    ring.give_back((99, 0))
    with pytest.raises(RemoteProtocolError):
        driver.reclaim()
    driver.reset()
    assert not any(ring.memory)
    assert driver.num_free == 8
    assert driver.reclaim() is None
    device = ring.device(pair[1])
    head = driver.add(1, 2, True)
    assert driver.publish() is True
    assert device.pop_single() == (head, 1, 2, True)


def test_a_new_driver_zeroes_stale_rings(form: ModuleType, ring: Ring) -> None:
    ring.memory[:] = b"\xa5" * len(ring.memory)
    driver = ring.driver(form)
    assert driver.reclaim() is None
    padding = slice(16 * 8 + 6 + 16, len(ring.memory) - 6 - 64)
    assert not any(ring.memory[: padding.start])
    assert bytes(ring.memory[padding]) == b"\xa5" * len(ring.memory[padding])
    assert not any(ring.memory[padding.stop :])


# A hostile device


def hostile_device(
    form: ModuleType, what: Callable[[Ring, int], object], *, writable: bool = True
) -> RemoteProtocolError:
    """Lets a driver with three buffers out (the last unpublished) meet what the device does; returns its complaint."""
    ring = Ring()
    driver = ring.driver(form)
    first = driver.add(0x1000, 512, writable)
    driver.add(0x2000, 512, writable)
    driver.publish()
    driver.add(0x3000, 512, writable)
    what(ring, first)
    with pytest.raises(RemoteProtocolError) as caught:
        driver.reclaim()
    for call in (
        driver.reclaim,
        driver.publish,
        driver.enable_notifications,
        driver.disable_notifications,
        lambda: driver.add(0, 0, False),
        lambda: driver.add_chain([(0, 0, False)]),
        lambda: driver.reclaim_many(5),
    ):
        with pytest.raises(RemoteProtocolError) as again:
            call()
        assert again.value is caught.value
    driver.reset()
    assert driver.reclaim() is None
    return caught.value


@pytest.mark.parametrize("index", [3, 4, 8, 9, 0x8000, 0xFFFF])
def test_device_moves_the_index_past_what_it_holds(form: ModuleType, index: int) -> None:
    def jump(ring: Ring, _: int) -> None:
        ring.used_idx = index

    error = hostile_device(form, jump)
    assert (error.queue, error.index, error.value) == ("r2h", 0, index)
    assert error.clause.startswith("virtio 1.2, 2.7.8")
    assert f"{index:#x}" in str(error)


@pytest.mark.parametrize("head", [8, 9, 0xFFFF, 0x10000, 0x8000_0000, 0xFFFF_FFFF])
def test_device_returns_a_head_out_of_range(form: ModuleType, head: int) -> None:
    error = hostile_device(form, lambda ring, _: ring.give_back((head, 0)))
    assert (error.index, error.value) == (0, head)
    assert error.clause.startswith("virtio 1.2, 2.7.8")


def test_device_returns_a_free_head(form: ModuleType) -> None:
    assert hostile_device(form, lambda ring, _: ring.give_back((7, 0))).value == 7


def test_device_returns_a_head_that_is_added_but_not_published(form: ModuleType) -> None:
    assert hostile_device(form, lambda ring, _: ring.give_back((ring.avail_ring()[2], 0))).value == 2


def test_device_returns_a_head_twice(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add(0, 1, True)
    driver.add(0, 1, True)
    driver.publish()
    ring.give_back((head, 0), (head, 0))
    assert driver.reclaim() == (head, 0)
    with pytest.raises(RemoteProtocolError, match="does not hold"):
        driver.reclaim()


def test_device_returns_the_middle_of_a_chain(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add_chain([(0, 1, False), (0, 1, False)])
    driver.publish()
    ring.give_back((ring.descriptor(head)[3], 0))
    with pytest.raises(RemoteProtocolError, match="does not hold"):
        driver.reclaim()


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("written", [513, 0x8000_0000, 0xFFFF_FFFF])
def test_device_reports_more_than_the_buffer_holds(form: ModuleType, written: int, writable: bool) -> None:
    error = hostile_device(form, lambda ring, first: ring.give_back((first, written)), writable=writable)
    assert error.value == written
    assert error.clause.startswith("virtio 1.2, 2.7.8.2")


def test_in_a_mixed_chain_only_the_writable_part_counts(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add_chain([(0, 512, False), (0, 4, True)])
    driver.publish()
    ring.give_back((head, 5))
    with pytest.raises(RemoteProtocolError, match=r"wrote 0x5 bytes into head 0x0 of 0x4"):
        driver.reclaim()


def test_a_c_device_may_report_the_length_of_what_it_only_read(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add(0x1000, 512, False)
    driver.publish()
    ring.give_back((head, 512))
    assert driver.reclaim() == (head, 512)


def test_device_that_scribbles_over_its_own_inputs_does_not_confuse_the_driver(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    head = driver.add_chain([(0x1000, 1, False), (0x2000, 2, True)])
    driver.publish()
    ring.desc[:] = b"\xff" * len(ring.desc)
    ring.avail[:] = b"\xff" * len(ring.avail)
    ring.give_back((head, 2))
    assert driver.reclaim() == (head, 2)
    assert driver.num_free == 8
    assert driver.add(0x1000, 1, False) is not None
    driver.publish()
    assert ring.avail_idx == 2


def test_what_came_before_the_fault_is_not_lost(pair: Pair, ring: Ring) -> None:
    driver = ring.driver(pair[0])
    heads = [driver.add(i, 8, True) for i in range(3)]
    driver.publish()
    ring.give_back((heads[0], 1), (heads[1], 2), (heads[1], 2))
    assert driver.reclaim_many(9) == [(heads[0], 1), (heads[1], 2)]
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            driver.reclaim_many(9)
    for method in ("pop_many", "pop_singles"):
        driver.reset()
        heads = driver.add_many([(i, 8) for i in range(3)], True)
        driver.publish()
        ring.avail.cast("H")[2 + 2] = 0xFFFF
        device = ring.device(pair[1])
        assert [taken[0] for taken in getattr(device, method)(9)] == heads[:2]
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                getattr(device, method)(9)


# A hostile driver


def hostile_driver(form: ModuleType, ring: Ring, *, single: bool = False) -> RemoteProtocolError:
    """Lets a device take what the ring offers; returns its complaint."""
    device = ring.device(form)
    take = device.pop_single if single else device.pop
    with pytest.raises(RemoteProtocolError) as caught:
        take()
    for call in (
        device.pop,
        device.pop_single,
        device.publish,
        device.enable_notifications,
        device.disable_notifications,
        lambda: device.push(0, 0),
        lambda: device.pop_many(3),
        lambda: device.pop_singles(3),
    ):
        with pytest.raises(RemoteProtocolError) as again:
            call()
        assert again.value is caught.value
    return caught.value


@pytest.mark.parametrize("index", [9, 0x8000, 0xFFFF])
def test_driver_moves_the_index_past_its_descriptors(form: ModuleType, ring: Ring, index: int) -> None:
    ring.avail_idx = index
    error = hostile_driver(form, ring)
    assert (error.queue, error.index, error.value) == ("r2h", 0, index)
    assert error.clause.startswith("virtio 1.2, 2.7.6.1")


def test_driver_offers_more_than_it_can_have_back(form: ModuleType, ring: Ring) -> None:
    """What we hold, and what we pushed without publishing it, cannot be offered again."""
    device = ring.device(form)
    ring.offer(*range(8))
    assert len(device.pop_many(8)) == 8
    device.push(0, 0)
    ring.offer(0)
    with pytest.raises(RemoteProtocolError, match="while it has 0x0 descriptors to offer"):
        device.pop()


def test_driver_offers_again_what_came_back(form: ModuleType, ring: Ring) -> None:
    device = ring.device(form)
    ring.offer(*range(8))
    device.pop_many(8)
    device.push(5, 0)
    device.publish()
    ring.offer(5)
    assert device.pop() == (5, ((0, 0, False),))


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("head", [8, 0x7FFF, 0xFFFF])
def test_driver_offers_a_head_out_of_range(form: ModuleType, ring: Ring, head: int, single: bool) -> None:
    ring.offer(head)
    error = hostile_driver(form, ring, single=single)
    assert (error.index, error.value) == (0, head)
    assert error.clause.startswith("virtio 1.2, 2.7.6")


def test_driver_offers_a_head_that_is_held(form: ModuleType, ring: Ring) -> None:
    ring.offer(3, 3)
    device = ring.device(form)
    assert device.pop() is not None
    with pytest.raises(RemoteProtocolError, match="offered before and not yet given back"):
        device.pop()


@pytest.mark.parametrize("flags", [INDIRECT, INDIRECT | NEXT, INDIRECT | WRITE])
@pytest.mark.parametrize("single", [True, False])
def test_driver_uses_an_indirect_table(form: ModuleType, ring: Ring, flags: int, single: bool) -> None:
    ring.describe(0, 0x1000, 64, flags, 1)
    ring.offer(0)
    error = hostile_driver(form, ring, single=single)
    assert (error.index, error.value) == (0, flags)
    assert error.clause.startswith("virtio 1.2, 2.7.5.3.1")


def test_driver_uses_an_indirect_table_inside_a_chain(form: ModuleType, ring: Ring) -> None:
    ring.describe(0, 0x1000, 64, NEXT, 1)
    ring.describe(1, 0x1000, 64, INDIRECT)
    ring.offer(0)
    assert hostile_driver(form, ring).index == 1


def test_driver_offers_a_chain_where_a_message_is_one_descriptor(form: ModuleType, ring: Ring) -> None:
    ring.describe(0, 0x1000, 64, NEXT, 1)
    ring.offer(0)
    error = hostile_driver(form, ring, single=True)
    assert (error.index, error.value) == (0, NEXT)


@pytest.mark.parametrize("loop", [(0,), (1, 0), (1, 2, 1), (1, 2, 3, 4, 5, 6, 7, 0)])
def test_driver_offers_a_loop(form: ModuleType, ring: Ring, loop: tuple[int, ...]) -> None:
    at = 0
    for link in loop:
        ring.describe(at, 0x1000, 1, NEXT, link)
        at = link
    ring.offer(0)
    error = hostile_driver(form, ring)
    assert (error.index, error.value) == (0, 9)
    assert error.clause.startswith("virtio 1.2, 2.7.5.2")


@pytest.mark.parametrize("link", [8, 0xFFFF])
def test_driver_links_out_of_the_table(form: ModuleType, ring: Ring, link: int) -> None:
    ring.describe(0, 0x1000, 1, NEXT, link)
    ring.offer(0)
    error = hostile_driver(form, ring)
    assert (error.index, error.value) == (0, link)
    assert error.clause.startswith("virtio 1.2, 2.7.5:")


def test_driver_puts_readable_behind_writable(form: ModuleType, ring: Ring) -> None:
    ring.describe(0, 0x1000, 0, NEXT | WRITE, 1)
    ring.describe(1, 0x1000, 1, 0)
    ring.offer(0)
    error = hostile_driver(form, ring)
    assert error.index == 1
    assert error.clause.startswith("virtio 1.2, 2.7.4.2")


def test_driver_offers_more_than_4_gib(form: ModuleType, ring: Ring) -> None:
    ring.describe(0, 0, 0xFFFF_FFFF, NEXT, 1)
    ring.describe(1, 0, 1, NEXT, 2)
    ring.describe(2, 0, 1, 0)
    ring.offer(0)
    error = hostile_driver(form, ring)
    assert error.value == 0x1_0000_0001
    assert error.clause.startswith("virtio 1.2, 2.7.5.2")


def test_unknown_descriptor_flags_mean_nothing(form: ModuleType, ring: Ring) -> None:
    ring.describe(0, 0x1000, 64, 0xFFF8 | WRITE)
    ring.offer(0)
    assert ring.device(form).pop_single() == (0, 0x1000, 64, True)


def test_jump_seen_by_enable_notifications(pair: Pair, ring: Ring) -> None:
    driver, device = ring.driver(pair[0]), ring.device(pair[1])
    ring.used_idx = 1
    ring.avail_idx = 9
    with pytest.raises(RemoteProtocolError):
        driver.enable_notifications()
    with pytest.raises(RemoteProtocolError):
        device.enable_notifications()


# Our own mistakes


def test_a_full_queue_would_block(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    driver.add_chain([(0, 1, False)] * 6)
    with pytest.raises(WouldBlock, match="3 descriptors are wanted, 2 are free"):
        driver.add_chain([(0, 1, False)] * 3)
    driver.add_chain([(0, 1, False)] * 2)
    with pytest.raises(WouldBlock, match="all 8 descriptors are in use"):
        driver.add(0, 1, False)


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [(0, 1, False)] * 9,
        [(0, 1, True), (0, 1, False)],
        [(0, 0, True), (0, 1, False)],
        [(0, 0xFFFF_FFFF, False), (0, 2, False)],
        [(0, 1 << 32, False)],
        [(1 << 64, 1, False)],
        [(0, -1, False)],
        [(-1, 1, False)],
    ],
)
def test_chains_that_cannot_be(form: ModuleType, ring: Ring, segments: list[tuple[int, int, bool]]) -> None:
    driver = ring.driver(form)
    with pytest.raises(VirtqueueError):
        driver.add_chain(segments)
    assert driver.num_free == 8
    assert driver.publish() is False


@pytest.mark.parametrize("head", [-1, 0, 4, 8, 0xFFFF, 1 << 32, 1 << 80, -(1 << 80)])
def test_push_of_a_head_that_is_not_held(form: ModuleType, ring: Ring, head: int) -> None:
    device = ring.device(form)
    ring.offer(3)
    device.pop()
    with pytest.raises(VirtqueueError):
        device.push(head, 0)
    device.push(3, 0)
    with pytest.raises(VirtqueueError, match="not held"):
        device.push(3, 0)
    device.publish()
    assert ring.used_idx == 1


@pytest.mark.parametrize("written", [-1, 513, 1 << 32, 1 << 80])
def test_push_of_more_than_is_offered(form: ModuleType, ring: Ring, written: int) -> None:
    device = ring.device(form)
    ring.describe(3, 0, 512, WRITE)
    ring.offer(3)
    device.pop_single()
    with pytest.raises(VirtqueueError):
        device.push(3, written)
    device.push(3, 512)
    assert device.num_held == 0


@pytest.mark.parametrize("num", [-1, 0, 3, 6, 100, 32769, 65536, 1 << 40])
@pytest.mark.parametrize("side", ["DriverQueue", "DeviceQueue"])
def test_numbers_of_descriptors_that_cannot_be(form: ModuleType, side: str, num: int) -> None:
    memory = memoryview(bytearray(1 << 12))
    with pytest.raises(VirtqueueError) as caught:
        getattr(form, side)(memory, memory, memory, num, name="h2r")
    assert (caught.value.queue, caught.value.value) == ("h2r", num)
    with pytest.raises(ResourceTableError):
        getattr(form, side).contiguous(memory, num, 16)


@pytest.mark.parametrize("side", ["DriverQueue", "DeviceQueue"])
def test_parts_that_cannot_be(form: ModuleType, side: str) -> None:
    make = getattr(form, side)
    memory = memoryview(bytearray(4096))
    good = {"desc": memory[:128], "avail": memory[128:150], "used": memory[256:326]}
    make(**good, num=8)
    for part, view in good.items():
        for bad, why in (
            (view[:-1], "takes"),
            (view.toreadonly(), "writable"),
            (memory[1 : 1 + len(view)], "odd address"),
            (memory[: 2 * len(view) : 2], "contiguous"),
        ):
            with pytest.raises(VirtqueueError, match=why):
                make(**{**good, part: bad}, num=8)
    with pytest.raises(AllocationError):
        make.contiguous(memory[:64], 8, 16)
    with pytest.raises(ResourceTableError):
        make.contiguous(memory, 8, 3)


def test_parts_of_another_item_size_are_bytes_all_the_same(form: ModuleType) -> None:
    memory = bytearray(4096)
    view = memoryview(memory)
    driver: DriverQueue = form.DriverQueue(
        view[:128].cast("I"), view[128:152].cast("Q"), view[256:384].cast("I", (4, 8)), 8
    )
    driver.add(0x11, 0x22, True)
    assert memory[:14] == struct.pack("<QIH", 0x11, 0x22, WRITE)


# Memory


def test_close_lets_the_mapping_go(form: ModuleType) -> None:
    mapping = mmap.mmap(-1, 8192)
    view = memoryview(mapping)
    driver: DriverQueue = form.DriverQueue.contiguous(view, 16, 4096, name="h2r")
    device: DeviceQueue = form.DeviceQueue.contiguous(view, 16, 4096, name="h2r")
    head = driver.add(0, 1, True)
    driver.publish()
    device.pop_single()
    device.push(head, 1)
    device.publish()
    driver.reclaim()
    for queue in (driver, device):
        queue.close()
        queue.close()
    view.release()
    mapping.close()
    for call in (
        lambda: driver.add(0, 1, True),
        lambda: driver.add_chain([(0, 1, True)]),
        driver.publish,
        driver.reclaim,
        lambda: driver.reclaim_many(2),
        driver.enable_notifications,
        driver.disable_notifications,
        driver.reset,
        device.pop,
        device.pop_single,
        lambda: device.pop_many(2),
        lambda: device.push(0, 0),
        device.publish,
        device.enable_notifications,
        device.disable_notifications,
    ):
        with pytest.raises(ClosedError, match="queue 'h2r' is closed"):
            call()


def test_a_forgotten_queue_lets_the_mapping_go_at_once(pair: Pair) -> None:
    mapping = mmap.mmap(-1, 8192)
    view = memoryview(mapping)
    gc.disable()
    try:
        driver = pair[0].DriverQueue.contiguous(view, 16, 4096)
        device = pair[1].DeviceQueue.contiguous(view, 16, 4096)
        del driver, device
        view.release()
        mapping.close()
    finally:
        gc.enable()


def test_close_ends_a_broken_queue_too(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    ring.used_idx = 5
    with pytest.raises(RemoteProtocolError):
        driver.reclaim()
    driver.close()
    with pytest.raises(ClosedError):
        driver.reclaim()
    with pytest.raises(ClosedError):
        driver.reset()


def test_raising_the_first_cause_again_does_not_pile_up_frames(form: ModuleType, ring: Ring) -> None:
    driver = ring.driver(form)
    ring.used_idx = 5
    depths = []
    for _ in range(4):
        try:
            driver.reclaim()
        except OpenAMPError as error:
            depth, trace = 0, error.__traceback__
            while trace is not None:
                depth, trace = depth + 1, trace.tb_next
            depths.append(depth)
    assert depths[1] == depths[2] == depths[3]


def test_a_queue_never_made_refuses_politely(form: ModuleType) -> None:
    """Only C could misuse this; the compiled form must not crash."""
    for side in (form.DriverQueue, form.DeviceQueue):
        queue = side.__new__(side)
        with pytest.raises((ClosedError, AttributeError)):
            queue.publish()
        with pytest.raises((ClosedError, AttributeError)):
            queue.take()


def test_plain_views_do_not_outlive_the_queue(ring: Ring) -> None:
    class Owner(bytearray):
        pass

    owner = Owner(vring_size(8, 64))
    gone = weakref.ref(owner)
    queue = FORMS["plain"].DriverQueue.contiguous(memoryview(owner), 8, 64)
    del owner
    assert gone() is not None
    queue.close()
    assert gone() is None
