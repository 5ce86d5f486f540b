"""The virtio device's status, features and the legacy ring layout."""

from __future__ import annotations

import pytest

from openamp.errors import AllocationError, ResourceTableError
from openamp.virtio.device import VIRTIO_F_VERSION_1, VIRTIO_RPMSG_F_NS, VirtioStatus, split_ring, vring_size


def linux_vring_size(num: int, align: int) -> int:
    """The macro of linux/virtio_ring.h, term by term."""
    return ((16 * num + 2 * (3 + num) + align - 1) & ~(align - 1)) + 2 * 3 + 8 * num


@pytest.mark.parametrize("num", [1, 2, 16, 256, 32768])
@pytest.mark.parametrize("align", [1, 2, 4, 16, 4096])
def test_sizes(num: int, align: int) -> None:
    size = vring_size(num, align)
    assert size == linux_vring_size(num, align)
    desc, avail, used = split_ring(memoryview(bytearray(size + 5)), num, align)
    assert (len(desc), len(avail), len(used)) == (16 * num, 6 + 2 * num, 6 + 8 * num)


def test_layout() -> None:
    memory = bytearray(vring_size(16, 64))
    desc, avail, used = split_ring(memoryview(memory), 16, 64)
    desc[0], avail[0], used[0] = 1, 2, 3
    assert (memory[0], memory[256], memory[320]) == (1, 2, 3)


@pytest.mark.parametrize("num", [0, -1, 3, 255, 65536, 0xFFFFFFFF])
def test_ring_must_be_a_power_of_two(num: int) -> None:
    with pytest.raises(ResourceTableError, match="power of two") as caught:
        vring_size(num, 16)
    assert caught.value.value == num


@pytest.mark.parametrize("align", [0, -4, 3, 0xFFFFFFFF])
def test_alignment_must_be_a_power_of_two(align: int) -> None:
    with pytest.raises(ResourceTableError, match="alignment"):
        split_ring(memoryview(bytearray(64)), 2, align)


def test_memory_too_short() -> None:
    with pytest.raises(AllocationError) as caught:
        split_ring(memoryview(bytearray(100)), 16, 16)
    assert caught.value.size == vring_size(16, 16)


def test_values_of_the_specification() -> None:
    assert VirtioStatus.ACKNOWLEDGE | VirtioStatus.DRIVER | VirtioStatus.DRIVER_OK == 7
    assert (VirtioStatus.FEATURES_OK, VirtioStatus.NEEDS_RESET, VirtioStatus.FAILED) == (8, 0x40, 0x80)
    assert VIRTIO_RPMSG_F_NS == 1
    assert VIRTIO_F_VERSION_1 == 1 << 32
