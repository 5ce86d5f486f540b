"""Virtqueues: driver against device against a list model; hostile peers; the compiled form against the plain one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openamp.errors import OpenAMPError, VirtqueueError, WouldBlock
from openamp.virtio import vring_size
from openamp.virtio.virtqueue import DeviceQueue, DriverQueue
from support.queues import FORMS, PAIRS, SUPPRESS, Ring

Segment = tuple[int, int, bool]

addresses = st.one_of(st.integers(0, 0xFFFF_FFFF), st.integers(0, (1 << 64) - 1))
lengths = st.one_of(st.integers(0, 600), st.integers(0, (1 << 32) - 1))
small = st.integers(0, 1 << 20)
segments = st.builds(
    lambda readable, writable: [(a, n, False) for a, n in readable] + [(a, n, True) for a, n in writable],
    st.lists(st.tuples(addresses, small), max_size=5),
    st.lists(st.tuples(addresses, small), max_size=5),
)


@dataclass
class Offered:
    """A chain on its way; what the model knows of it."""

    head: int
    segments: tuple[Segment, ...]

    @property
    def limit(self) -> int:
        writable = [length for _, length, is_writable in self.segments if is_writable]
        return sum(writable) if writable else sum(length for _, length, _ in self.segments)


class Exchange(RuleBasedStateMachine):
    """A driver and a device do what the rules allow, and a model of lists says what must come of it."""

    driver: DriverQueue
    device: DeviceQueue

    @initialize(
        pair=st.sampled_from(sorted(PAIRS)), num=st.sampled_from([1, 2, 4, 8, 16]), align=st.sampled_from([1, 4, 64])
    )
    def start(self, pair: str, num: int, align: int) -> None:
        self.forms = PAIRS[pair]
        self.num = num
        self.ring = Ring(num, align)
        self.fresh()

    def fresh(self) -> None:
        self.driver = self.ring.driver(self.forms[0])
        self.device = self.ring.device(self.forms[1])
        self.added: list[Offered] = []  # by the driver, not yet published
        self.available: deque[Offered] = deque()
        self.held: list[Offered] = []  # by the device
        self.pushed: list[tuple[Offered, int]] = []  # by the device, not yet published
        self.used: deque[tuple[Offered, int]] = deque()
        self.published = self.returned = 0

    @property
    def in_use(self) -> int:
        chains = [*self.added, *self.available, *self.held, *(o for o, _ in self.pushed), *(o for o, _ in self.used)]
        return sum(len(chain.segments) for chain in chains)

    # The driver

    @rule(addr=addresses, length=lengths, writable=st.booleans())
    def add(self, addr: int, length: int, writable: bool) -> None:
        if self.in_use == self.num:
            with pytest.raises(WouldBlock):
                self.driver.add(addr, length, writable)
            return
        head = self.driver.add(addr, length, writable)
        self.added.append(Offered(head, ((addr, length, writable),)))

    @rule(chain=segments)
    def add_chain(self, chain: list[Segment]) -> None:
        if not 1 <= len(chain) <= self.num:
            with pytest.raises(VirtqueueError):
                self.driver.add_chain(chain)
        elif len(chain) > self.num - self.in_use:
            with pytest.raises(WouldBlock):
                self.driver.add_chain(chain)
        else:
            self.added.append(Offered(self.driver.add_chain(chain), tuple(chain)))

    @rule(count=st.integers(0, 20), writable=st.booleans())
    def add_many(self, count: int, writable: bool) -> None:
        buffers = [(0x1000 * i, 512) for i in range(count)]
        room = min(count, self.num - self.in_use)
        heads = self.driver.add_many(buffers, writable)
        assert len(heads) == room
        for head, (addr, length) in zip(heads, buffers, strict=False):
            self.added.append(Offered(head, ((addr, length, writable),)))

    @rule()
    def publish_added(self) -> None:
        wanted = bool(self.added) and self.ring.used_flags != SUPPRESS
        assert self.driver.publish() is wanted
        self.published += len(self.added)
        self.available.extend(self.added)
        self.added.clear()

    @rule()
    def reclaim(self) -> None:
        expected = None
        if self.used:
            chain, written = self.used.popleft()
            expected = (chain.head, written)
        assert self.driver.reclaim() == expected

    @rule(limit=st.integers(0, 20))
    def reclaim_many(self, limit: int) -> None:
        expected = [self.used.popleft() for _ in range(min(limit, len(self.used)))]
        assert self.driver.reclaim_many(limit) == [(chain.head, written) for chain, written in expected]

    @rule()
    def driver_suppresses(self) -> None:
        self.driver.disable_notifications()
        assert self.ring.avail_flags == SUPPRESS

    @rule()
    def driver_listens(self) -> None:
        assert self.driver.enable_notifications() is bool(self.used)
        assert self.ring.avail_flags == 0

    @rule()
    def reset(self) -> None:
        self.driver.reset()
        self.fresh()

    # The device

    @rule()
    def pop(self) -> None:
        chain = self.device.pop()
        if not self.available:
            assert chain is None
            return
        expected = self.available.popleft()
        assert chain == (expected.head, expected.segments)
        self.held.append(expected)

    @rule(limit=st.integers(0, 20))
    def pop_many(self, limit: int) -> None:
        expected = [self.available.popleft() for _ in range(min(limit, len(self.available)))]
        assert self.device.pop_many(limit) == [(chain.head, chain.segments) for chain in expected]
        self.held += expected

    @precondition(lambda self: not self.available or len(self.available[0].segments) == 1)
    @rule()
    def pop_single(self) -> None:
        expected = None
        if self.available:
            chain = self.available.popleft()
            self.held.append(chain)
            expected = (chain.head, *chain.segments[0])
        assert self.device.pop_single() == expected

    @rule(data=st.data())
    def push(self, data: st.DataObject) -> None:
        if not self.held:
            return
        chain = self.held.pop(data.draw(st.integers(0, len(self.held) - 1), label="which"))
        written = data.draw(st.integers(0, min(chain.limit, 0xFFFF_FFFF)), label="written")
        self.device.push(chain.head, written)
        self.pushed.append((chain, written))

    @rule(head=st.integers(-2, 40))
    def push_what_is_not_held(self, head: int) -> None:
        if head not in [chain.head for chain in self.held]:
            with pytest.raises(VirtqueueError):
                self.device.push(head, 0)

    @rule(more=st.integers(1, 1 << 33))
    def push_too_much(self, more: int) -> None:
        for chain in self.held:
            with pytest.raises(VirtqueueError):
                self.device.push(chain.head, chain.limit + more)

    @rule()
    def publish_pushed(self) -> None:
        wanted = bool(self.pushed) and self.ring.avail_flags != SUPPRESS
        assert self.device.publish() is wanted
        self.returned += len(self.pushed)
        self.used.extend(self.pushed)
        self.pushed.clear()

    @rule()
    def device_suppresses(self) -> None:
        self.device.disable_notifications()
        assert self.ring.used_flags == SUPPRESS

    @rule()
    def device_listens(self) -> None:
        assert self.device.enable_notifications() is bool(self.available)
        assert self.ring.used_flags == 0

    # What holds at any time

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "ring"):
            assert self.driver.num_free == self.num - self.in_use
            assert self.device.num_held == len(self.held)
            assert self.ring.avail_idx == self.published & 0xFFFF
            assert self.ring.used_idx == self.returned & 0xFFFF

    @invariant()
    def no_head_is_out_twice(self) -> None:
        if hasattr(self, "ring"):
            out = [*self.added, *self.available, *self.held, *(o for o, _ in self.pushed), *(o for o, _ in self.used)]
            assert len({chain.head for chain in out}) == len(out)


TestExchange = Exchange.TestCase
TestExchange.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


# A peer that writes anything anywhere

interesting = st.one_of(
    st.integers(0, 9), st.sampled_from([0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x8000_0000, 0xFFFF_FFFF]), lengths
)
NUM, ALIGN = 8, 16
SIZE = vring_size(NUM, ALIGN)

# What the ring's other side stores; `at` and values are taken modulo what fits.
damage = st.one_of(
    st.tuples(st.just("descriptor"), st.integers(0, NUM - 1), addresses, interesting, st.integers(0, 15), interesting),
    st.tuples(st.just("offer"), interesting),
    st.tuples(st.just("give_back"), interesting, interesting),
    st.tuples(st.just("avail_idx"), interesting),
    st.tuples(st.just("used_idx"), interesting),
    st.tuples(st.just("flags"), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    st.tuples(st.just("bytes"), st.integers(0, SIZE - 16), st.binary(min_size=1, max_size=16)),
)
driver_steps = st.one_of(
    st.tuples(st.just("add"), addresses, lengths, st.booleans()),
    st.tuples(st.just("add_chain"), segments),
    st.tuples(st.sampled_from(["publish", "reclaim", "disable_notifications", "enable_notifications", "reset"])),
    st.tuples(st.just("reclaim_many"), st.integers(0, 10)),
)
device_steps = st.one_of(
    st.tuples(st.sampled_from(["pop", "pop_single", "publish", "disable_notifications", "enable_notifications"])),
    st.tuples(st.sampled_from(["pop_many", "pop_singles"]), st.integers(0, 10)),
    st.tuples(st.just("push"), interesting, interesting),
    st.tuples(st.just("push_back"), interesting),
)
scripts = st.one_of(
    st.tuples(st.just("driver"), st.lists(st.one_of(driver_steps, driver_steps, damage), max_size=40)),
    st.tuples(st.just("device"), st.lists(st.one_of(device_steps, device_steps, damage), max_size=40)),
)


def do_damage(ring: Ring, step: tuple[Any, ...]) -> bool:
    """Does the step if it is damage."""
    match step:
        case ("descriptor", at, addr, length, flags, link):
            ring.describe(at, addr, length & 0xFFFF_FFFF, flags, link & 0xFFFF)
        case ("offer", head):
            ring.offer(head & 0xFFFF)
        case ("give_back", head, written):
            ring.give_back((head & 0xFFFF_FFFF, written & 0xFFFF_FFFF))
        case ("avail_idx", value):
            ring.avail_idx = value
        case ("used_idx", value):
            ring.used_idx = value
        case ("flags", avail, used):
            ring.avail_flags, ring.used_flags = avail, used
        case ("bytes", at, data):
            ring.memory[at : at + len(data)] = data
        case _:
            return False
    return True


class Offers:
    """What a queue handed out must always be true of it, whatever the peer did."""

    def __init__(self, ring: Ring, queue: Any) -> None:
        self.ring = ring
        self.queue = queue
        self.out: dict[int, int] = {}  # head: the most that may be reported written

    def step(self, step: tuple[Any, ...]) -> object:
        """Does one step; returns its result, or the OpenAMPError's type and text. Anything else is our bug."""
        name, *arguments = step
        if name == "push_back":
            name, arguments = "push", [next(iter(self.out), 0), arguments[0] % (max(self.out.values(), default=0) + 1)]
        method: Callable[..., object] = getattr(self.queue, name)
        try:
            result = method(*arguments)
        except OpenAMPError as error:
            return type(error).__name__, str(error), vars(error)
        self.check(name, arguments, result)
        return result

    def check(self, name: str, arguments: list[Any], result: Any) -> None:
        if name == "reset":
            self.out.clear()
        elif name == "add":
            assert result not in self.out
            self.out[result] = arguments[1]
        elif name == "add_chain":
            assert result not in self.out
            writable = [length for _, length, is_writable in arguments[0] if is_writable]
            self.out[result] = sum(writable) if writable else sum(s[1] for s in arguments[0])
        elif name in {"reclaim", "reclaim_many"}:
            for head, written in [result] if name == "reclaim" and result else result or []:
                assert 0 <= written <= self.out.pop(head)
        elif name in {"pop", "pop_single"} and result is not None:
            self.took(result)
        elif name in {"pop_many", "pop_singles"}:
            for one in result:
                self.took(one)
        elif name == "push":
            assert arguments[1] <= self.out.pop(arguments[0])

    def took(self, chain: Any) -> None:
        head = chain[0]
        pieces = chain.segments if hasattr(chain, "segments") else (chain[1:],)
        assert 0 <= head < NUM
        assert head not in self.out
        assert 1 <= len(pieces) <= NUM
        writable = [length for _, length, is_writable in pieces if is_writable]
        self.out[head] = sum(writable) if writable else sum(piece[1] for piece in pieces)


def run(form: ModuleType, side: str, steps: list[tuple[Any, ...]]) -> tuple[list[object], bytes]:
    """Runs a script on one form of the queue; returns what came of each step, and the ring's bytes."""
    ring = Ring(NUM, ALIGN)
    queue = ring.driver(form) if side == "driver" else ring.device(form)
    offers = Offers(ring, queue)
    results = [None if do_damage(ring, step) else offers.step(step) for step in steps]
    queue.close()
    return results, bytes(ring.memory)


@given(script=scripts)
@settings(max_examples=400, deadline=None)
def test_any_peer_gives_values_or_openamp_errors_the_same_in_both_forms(
    script: tuple[str, list[tuple[Any, ...]]],
) -> None:
    side, steps = script
    outcomes = [run(form, side, steps) for form in FORMS.values()]
    for outcome in outcomes[1:]:
        assert outcome == outcomes[0]


@given(memory=st.binary(min_size=SIZE, max_size=SIZE), steps=st.lists(device_steps, max_size=20))
@settings(max_examples=200, deadline=None)
def test_a_device_on_any_bytes_gives_values_or_openamp_errors(memory: bytes, steps: list[tuple[Any, ...]]) -> None:
    whole: list[tuple[Any, ...]] = [("bytes", 0, memory), ("avail_idx", 5), *steps]
    outcomes = [run(form, "device", whole) for form in FORMS.values()]
    for outcome in outcomes[1:]:
        assert outcome == outcomes[0]
