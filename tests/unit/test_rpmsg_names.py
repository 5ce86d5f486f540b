"""Addresses, channels and the name service: who is bound to whom, and who tells whom."""

from __future__ import annotations

import struct

import pytest

from openamp.errors import (
    AddressInUseError,
    ClosedError,
    NotBoundError,
    RemoteProtocolError,
    RpmsgError,
    TimeoutExpired,
)
from openamp.rpmsg import ADDR_ANY, NS_ADDR, Bus, Channel, Endpoint
from openamp.rpmsg.wire import NameServiceMessage
from openamp.testing.buses import BusPair, bus_pair


def announce(sender: Endpoint, name: bytes, addr: int, flags: int = 0) -> None:
    """Sends an announcement as a program that knows nothing of us would."""
    sender.send_offchannel(addr, NS_ADDR, NameServiceMessage(name, addr, flags).build())


def raw_pair(**options: bool) -> tuple[BusPair, Endpoint]:
    """A pair, and an endpoint of the remote to write raw messages with."""
    pair = bus_pair(**options)
    return pair, pair.remote.create_endpoint(src=1)


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_dynamic_addresses_start_at_1024() -> None:
    bus = bus_pair().host
    assert [bus.create_endpoint().src for _ in range(3)] == [0x400, 0x401, 0x402]


def test_dynamic_address_skips_taken_ones() -> None:
    bus = bus_pair().host
    bus.create_endpoint(src=0x401)
    assert [bus.create_endpoint().src for _ in range(2)] == [0x400, 0x402]


def test_a_freed_address_is_not_given_out_at_once() -> None:
    bus = bus_pair().host
    first = bus.create_endpoint()
    first.close()
    assert bus.create_endpoint().src != first.src
    assert bus.create_endpoint(src=first.src).src == first.src


@pytest.mark.parametrize("src", [0, 1, 52, 54, 1023, 1024, 0xFFFFFFFE])
def test_any_address_may_be_asked_for(src: int) -> None:
    pair = bus_pair()
    server = pair.remote.create_endpoint(src=src)
    client = pair.host.create_endpoint(src=src, dst=src)
    client.send(b"to")
    assert server.receive(timeout=1) == b"to"


def test_address_in_use() -> None:
    bus = bus_pair().host
    bus.create_endpoint(src=0x50)
    with pytest.raises(AddressInUseError, match="0x50 is taken by <Endpoint '' 0x50") as caught:
        bus.create_endpoint(src=0x50)
    assert caught.value.address == 0x50
    with pytest.raises(AddressInUseError, match="the name service"):
        bus.create_endpoint(src=NS_ADDR)
    assert bus_pair(features=0).host.create_endpoint(src=NS_ADDR).src == NS_ADDR


@pytest.mark.parametrize("address", [-1, 0x100000000])
def test_impossible_addresses(address: int) -> None:
    bus = bus_pair().host
    with pytest.raises(RpmsgError, match="source address"):
        bus.create_endpoint(src=address)
    with pytest.raises(RpmsgError, match="destination address"):
        bus.create_endpoint(dst=address)
    ept = bus.create_endpoint()
    assert bus.endpoints == (ept,)
    for dst in (address, ADDR_ANY):
        with pytest.raises(RpmsgError, match="destination address"):
            ept.send_to(b"", dst)
        with pytest.raises(RpmsgError, match="source address"):
            ept.send_offchannel(dst, 1, b"")


# -- binding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced_first", [True, False])
def test_acknowledging_host(announced_first: bool) -> None:
    pair = bus_pair()
    if announced_first:
        server = pair.remote.create_endpoint("svc")
        client = pair.host.create_endpoint("svc", timeout=1)
    else:
        client = pair.host.create_endpoint("svc", timeout=0)
        assert not client.is_bound
        server = pair.remote.create_endpoint("svc")
        client.wait_bound(timeout=1)
    server.wait_bound(timeout=1)
    assert (client.dst, server.dst) == (server.src, client.src)
    assert pair.host.statistics().num_announcements_sent == 1
    assert pair.remote.statistics().num_announcements_received == 1


@pytest.mark.parametrize("announced_first", [True, False])
def test_host_like_linux(announced_first: bool) -> None:
    pair = bus_pair(acknowledge=False)
    if announced_first:
        server = pair.remote.create_endpoint("svc")
        client = pair.host.create_endpoint("svc", timeout=1)
    else:
        client = pair.host.create_endpoint("svc", timeout=0)
        server = pair.remote.create_endpoint("svc")
        client.wait_bound(timeout=1)
    pair.settle()
    assert not server.is_bound
    client.send(b"hello")
    assert server.receive(timeout=1) == b"hello"
    assert server.dst == client.src
    assert pair.host.statistics().num_announcements_sent == 0


def test_host_endpoint_is_bound_by_a_message() -> None:
    pair, raw = raw_pair()
    static = pair.host.create_endpoint("svc", src=100, timeout=0)
    raw.send_offchannel(0x777, 100, b"first")
    assert static.receive(timeout=1) == b"first"
    assert static.dst == 0x777
    assert pair.host.channels == (Channel("svc", 0x777),)


def test_later_messages_do_not_rebind() -> None:
    pair, raw = raw_pair()
    static = pair.host.create_endpoint(src=100)
    raw.send_offchannel(0x777, 100, b"a")
    raw.send_offchannel(0x778, 100, b"b")
    assert [static.receive_message(timeout=1).src for _ in range(2)] == [0x777, 0x778]
    assert static.dst == 0x777


def test_explicit_destination_is_not_rebound_by_strangers() -> None:
    pair, raw = raw_pair()
    pair.remote.create_endpoint("svc", src=0x500)
    client = pair.host.create_endpoint("svc", dst=0x500)
    pair.settle()
    announce(raw, b"svc", 0x500, 1)
    pair.settle()
    raw.send_offchannel(0x501, client.src, b"stranger")
    pair.settle()
    assert not client.is_bound
    raw.send_offchannel(0x500, client.src, b"peer")
    pair.settle()
    assert client.dst == 0x500


def test_same_name_twice_are_two_channels() -> None:
    pair = bus_pair()
    servers = [pair.remote.create_endpoint("svc", src=src) for src in (0x600, 0x500)]
    pair.settle()
    assert pair.host.channels == (Channel("svc", 0x600), Channel("svc", 0x500))
    second = pair.host.create_endpoint("svc", dst=0x500, timeout=1)
    first = pair.host.create_endpoint("svc", timeout=1)
    assert (first.dst, second.dst) == (0x600, 0x500)
    first.send(b"1")
    second.send(b"2")
    assert [server.receive(timeout=1) for server in servers] == [b"1", b"2"]


def test_same_name_twice_is_acknowledged_in_the_order_of_the_announcements() -> None:
    """The remote gives an acknowledgement to the first of its endpoints of that name that waits."""
    pair = bus_pair()
    servers = [pair.remote.create_endpoint("svc", src=0x500 + i) for i in range(4)]
    other = pair.remote.create_endpoint("other")
    pair.settle()
    clients: dict[int, Endpoint] = {}
    for at, bound in ((2, []), (1, []), (0, [0, 1, 2]), (3, [0, 1, 2, 3])):
        clients[at] = pair.host.create_endpoint("svc", dst=0x500 + at)
        pair.settle()
        assert [server.is_bound for server in servers] == [i in bound for i in range(4)]
        assert [servers[i].dst for i in bound] == [clients[i].src for i in bound]
    assert not other.is_bound
    pair.host.create_endpoint("other")
    pair.settle()
    assert other.is_bound
    assert pair.host.statistics().num_announcements_sent == 5


def test_an_acknowledgement_held_back_goes_out_when_the_channel_before_it_goes_away() -> None:
    pair = bus_pair()
    servers = [pair.remote.create_endpoint("svc", src=src) for src in (0x500, 0x600, 0x700)]
    pair.settle()
    clients = [pair.host.create_endpoint("svc", dst=server.src) for server in servers[1:]]
    clients[0].send(b"binds as well")
    assert servers[1].receive(timeout=1) == b"binds as well"
    clients[0].close()
    pair.settle()
    assert pair.host.statistics().num_announcements_sent == 0
    servers[1].close()
    servers[0].close()
    pair.settle()
    assert servers[2].dst == clients[1].src
    assert pair.host.statistics().num_announcements_sent == 1


def test_two_endpoints_of_one_channel_are_both_acknowledged() -> None:
    pair, raw = raw_pair()
    announce(raw, b"svc", 0x500)
    pair.settle()
    clients = [pair.host.create_endpoint("svc", dst=0x500) for _ in range(2)]
    pair.settle()
    assert [client.dst for client in clients] == [0x500, 0x500]
    assert pair.host.statistics().num_announcements_sent == 2


def test_waiting_endpoints_are_bound_in_their_order() -> None:
    pair = bus_pair()
    waiting = [pair.host.create_endpoint("svc", timeout=0) for _ in range(2)]
    for src in (0x500, 0x600):
        pair.remote.create_endpoint("svc", src=src)
    pair.settle()
    assert [ept.dst for ept in waiting] == [0x500, 0x600]


def test_announced_again_is_the_same_channel_and_acknowledged_again() -> None:
    pair, raw = raw_pair()
    created: list[Channel] = []
    pair.host.on_channel_created(created.append)
    announce(raw, b"svc", 0x500)
    client = pair.host.create_endpoint("svc", timeout=1)
    announce(raw, b"svc", 0x500)
    pair.settle()
    assert created == [Channel("svc", 0x500)]
    assert pair.host.statistics().num_announcements_sent == 2
    assert client.dst == 0x500


def test_host_may_announce_a_service() -> None:
    pair = bus_pair()
    offered = pair.host.create_endpoint("svc", announce=True)
    assert not offered.is_bound
    pair.settle()
    assert pair.remote.channels == (Channel("svc", offered.src),)
    user = pair.remote.create_endpoint("svc")
    assert user.dst == offered.src
    pair.settle()
    assert offered.dst == user.src


def test_remote_may_keep_silent() -> None:
    pair = bus_pair()
    pair.remote.create_endpoint("svc", announce=False)
    pair.remote.create_endpoint("other", dst=0x400)
    pair.settle()
    assert pair.host.channels == ()


def test_announcing_needs_a_name() -> None:
    with pytest.raises(RpmsgError, match="with a name"):
        bus_pair().host.create_endpoint(announce=True)


def test_second_endpoint_after_the_first_was_closed() -> None:
    pair = bus_pair()
    server = pair.remote.create_endpoint("svc")
    for _ in range(3):
        with pair.host.create_endpoint("svc", timeout=1) as client:
            client.send(b"hello")
            assert server.receive(timeout=1) == b"hello"
            assert server.dst == client.src
        pair.settle()
        assert not server.is_bound


def test_nobody_announces() -> None:
    pair = bus_pair()
    pair.host._diagnose = lambda: "the core sleeps"
    pair.remote.create_endpoint("other", src=0x500)
    pair.host.create_endpoint("other", timeout=1)
    with pytest.raises(
        TimeoutExpired, match=r"'svc'.*'other' at 0x500 \(bound to our 0x400\); the core sleeps"
    ) as caught:
        pair.host.create_endpoint("svc", timeout=0.001)
    assert caught.value.timeout == 0.001
    assert [ept.name for ept in pair.host.endpoints] == ["other"]


def test_all_channels_of_the_name_are_taken() -> None:
    pair = bus_pair()
    pair.remote.create_endpoint("svc", src=0x500)
    pair.host.create_endpoint("svc", timeout=1)
    with pytest.raises(TimeoutExpired, match="bound to our 0x400"):
        pair.host.create_endpoint("svc", timeout=0.001)
    assert pair.host.create_endpoint("svc", dst=0x500).is_bound


def test_a_closed_endpoints_channel_goes_to_the_one_that_waits() -> None:
    pair = bus_pair()
    pair.remote.create_endpoint("svc", src=0x500)
    first = pair.host.create_endpoint("svc", timeout=1)
    second = pair.host.create_endpoint("svc", timeout=0)
    first.close()
    assert second.dst == 0x500
    pair.settle()
    assert pair.remote.endpoints[0].dst == second.src


def test_an_endpoint_that_lost_its_channel_goes_over_to_another_when_asked() -> None:
    pair = bus_pair()
    servers = [pair.remote.create_endpoint("svc", src=src) for src in (0x500, 0x600)]
    client = pair.host.create_endpoint("svc", timeout=1)
    servers[0].close()
    pair.settle()
    assert not client.is_bound
    client.wait_bound(timeout=0)
    assert client.dst == 0x600


def test_a_server_made_again_does_not_answer_the_host_of_before() -> None:
    """A Linux host says nothing when its endpoint goes; the next one's first message binds the new server."""
    pair = bus_pair(acknowledge=False)
    gone: list[Channel] = []
    pair.remote.on_channel_destroyed(gone.append)
    for src in (0x40, 0x41):
        server = pair.remote.create_endpoint("svc")
        client = pair.host.create_endpoint("svc", src=src, timeout=1)
        client.send(b"hello")
        assert server.receive(timeout=1) == b"hello"
        assert server.dst == src
        client.close()
        server.close()
        pair.settle()
    assert pair.remote.channels == ()
    assert gone == [Channel("svc", 0x40), Channel("svc", 0x41)]


# -- destruction -------------------------------------------------------------------------------------------------------


def test_destroyed_channel_unbinds() -> None:
    pair = bus_pair()
    gone: list[Channel] = []
    pair.host.on_channel_destroyed(gone.append)
    server = pair.remote.create_endpoint("svc")
    client = pair.host.create_endpoint("svc", timeout=1)
    server.send_to(b"last words", client.src)
    server.close()
    assert client.receive(timeout=1) == b"last words"
    for call in (
        client.receive,
        lambda: client.send(b""),
        lambda: client.try_send(b""),
        lambda: client.send_many([b""]),
    ):
        with pytest.raises(NotBoundError, match="the peer destroyed the channel 'svc' at 0x400"):
            call()
    with pytest.raises(NotBoundError, match="destroyed"):
        client.try_receive()
    assert gone == [Channel("svc", 0x400)]
    assert pair.host.channels == ()
    assert list(client) == []


def test_it_comes_back() -> None:
    pair = bus_pair()
    pair.remote.create_endpoint("svc").close()
    client = pair.host.create_endpoint("svc", timeout=0)
    pair.remote.create_endpoint("svc")
    client.wait_bound(timeout=1)
    pair.remote.endpoints[0].close()
    pair.settle()
    assert not client.is_bound
    again = pair.remote.create_endpoint("svc", src=0x900)
    client.wait_bound(timeout=1)
    assert client.dst == 0x900
    client.send(b"hello")
    assert again.receive(timeout=1) == b"hello"


def test_a_waiting_receiver_learns_of_the_destruction() -> None:
    pair = bus_pair()
    server = pair.remote.create_endpoint("svc", callback=lambda ept, data, src: ept.close())
    client = pair.host.create_endpoint("svc", timeout=1)
    client.send(b"end")
    with pytest.raises(NotBoundError, match="no more messages"):
        client.receive(timeout=5)
    assert server.is_closed


def test_only_announced_endpoints_announce_their_end() -> None:
    pair = bus_pair(acknowledge=False)
    pair.remote.create_endpoint("svc")
    pair.host.create_endpoint("svc", timeout=1).close()
    pair.host.create_endpoint(dst=0x400).close()
    pair.settle()
    assert pair.host.statistics().num_announcements_sent == 0
    pair.host.create_endpoint("offer", announce=True).close()
    pair.settle()
    assert pair.host.statistics().num_announcements_sent == 2
    assert pair.remote.channels == ()


def test_destruction_of_an_unknown_channel_is_nothing() -> None:
    pair, raw = raw_pair()
    gone: list[Channel] = []
    pair.host.on_channel_destroyed(gone.append)
    announce(raw, b"svc", 0x500, 1)
    pair.settle()
    assert gone == []
    assert pair.host.statistics().num_malformed == 0


def test_closing_the_bus_announces_the_end_of_all() -> None:
    pair = bus_pair()
    for name in ("a", "b"):
        pair.remote.create_endpoint(name)
    pair.settle()
    assert [channel.name for channel in pair.host.channels] == ["a", "b"]
    pair.remote.close()
    pair.settle()
    assert not pair.host.channels
    with pytest.raises(ClosedError, match="the bus is closed"):
        pair.remote.create_endpoint("c")


def test_closing_the_bus_does_not_hand_channels_on() -> None:
    pair = bus_pair()
    pair.remote.create_endpoint("svc")
    pair.host.create_endpoint("svc", timeout=1)
    pair.host.create_endpoint("svc", timeout=0)
    pair.host.close()
    assert pair.host.statistics().num_announcements_sent == 2


# -- callbacks ---------------------------------------------------------------------------------------------------------


def test_created_callback_creates_the_endpoint() -> None:
    pair = bus_pair()
    made: list[Endpoint] = []

    @pair.host.on_channel_created
    def created(channel: Channel) -> None:
        made.append(pair.host.create_endpoint(channel.name, dst=channel.dst))

    server = pair.remote.create_endpoint("svc")
    server.wait_bound(timeout=1)
    assert server.dst == made[0].src
    assert created is not None


def test_remote_hears_of_the_acknowledgement() -> None:
    for acknowledge in (True, False):
        pair = bus_pair(acknowledge=acknowledge)
        created: list[Channel] = []
        pair.remote.on_channel_created(created.append)
        server = pair.remote.create_endpoint("svc")
        client = pair.host.create_endpoint("svc", timeout=1)
        client.send(b"x")
        server.receive(timeout=1)
        pair.settle()
        assert created == [Channel("svc", client.src)]


def test_messages_behind_the_announcement_reach_the_endpoint_that_the_callback_makes() -> None:
    pair, raw = raw_pair()
    got: list[bytes] = []

    @pair.host.on_channel_created
    def created(channel: Channel) -> None:
        pair.host.create_endpoint(
            channel.name, src=70, dst=channel.dst, callback=lambda ept, data, src: got.append(data)
        )
        raw.send_to(b"3", 70)
        pair.host.poll()  # takes it in while 1 and 2 have not been called back yet

    announce(raw, b"svc", 0x500)
    raw.send_to(b"1", 70)
    raw.send_to(b"lost", 71)
    raw.send_to(b"2", 70)
    pair.settle()
    assert got == [b"1", b"2", b"3"]
    statistics = pair.host.statistics()
    assert (statistics.num_dropped, statistics.num_received) == (1, 3)


def test_endpoint_made_after_the_channel_is_gone_again() -> None:
    pair, raw = raw_pair()
    pair.host.on_channel_created(lambda channel: pair.host.create_endpoint(channel.name, dst=channel.dst))
    announce(raw, b"svc", 0x500)
    announce(raw, b"svc", 0x500, 1)
    pair.settle()
    assert [ept.is_bound for ept in pair.host.endpoints] == [False]


# -- odd announcements -------------------------------------------------------------------------------------------------


def test_names_with_garbage_flags_and_full_length() -> None:
    pair, raw = raw_pair()
    raw.send_to(struct.pack("<32sII", b"svc\0garbage", 0x500, 0xFFFFFFFE), NS_ADDR)
    raw.send_to(struct.pack("<32sII", b"n" * 32, 0x501, 0), NS_ADDR)
    raw.send_to(struct.pack("<32sII", b"\xff\xfe", 0x502, 2), NS_ADDR)
    pair.settle()
    assert [channel.name for channel in pair.host.channels] == ["svc", "n" * 32, "\\xff\\xfe"]
    for channel in pair.host.channels:
        assert pair.host.create_endpoint(channel.name, timeout=1).dst == channel.dst


def test_a_name_that_is_not_utf8_is_acknowledged_byte_for_byte() -> None:
    pair, raw = raw_pair()
    announce(raw, b"\xff\xfe", 0x502)
    pair.settle()
    pair.host.create_endpoint("\\xff\\xfe", timeout=1)
    pair.settle()
    assert pair.remote.channels[0].wire_name == b"\xff\xfe"


@pytest.mark.parametrize("size", [0, 8, 39, 41, 44])
def test_announcement_of_the_wrong_size_is_counted(size: int) -> None:
    pair, raw = raw_pair()
    raw.send_to(bytes(size), NS_ADDR)
    announce(raw, b"svc", 0x500)
    pair.settle()
    assert pair.host.channels == (Channel("svc", 0x500),)
    assert pair.host.statistics().num_malformed == 1


def test_announcement_of_no_address_is_counted() -> None:
    pair, raw = raw_pair()
    raw.send_to(NameServiceMessage(b"svc", ADDR_ANY).build(), NS_ADDR)
    pair.settle()
    assert pair.host.channels == ()
    assert pair.host.statistics().num_malformed == 1


def test_a_peer_that_announces_for_ever() -> None:
    pair, raw = raw_pair()
    for i in range(4096):
        announce(raw, b"svc", i)
        pair.host.poll()
    announce(raw, b"svc", 4096)
    with pytest.raises(RemoteProtocolError, match="more than 4096 channels") as caught:
        pair.host.poll()
    assert caught.value.value == 4096
    pair.host.poll()
    announce(raw, b"svc", 0, 1)
    announce(raw, b"new", 0)
    pair.settle()
    assert pair.host.channels[-1].name == "new"


# -- no name service ---------------------------------------------------------------------------------------------------


def test_without_name_service_nothing_goes_to_its_address() -> None:
    pair = bus_pair(features=0)
    listener = pair.host.create_endpoint(src=NS_ADDR)
    server = pair.remote.create_endpoint("svc", src=50)
    pair.remote.create_endpoint("other", announce=True).close()
    with pytest.raises(RpmsgError, match=r"F_NS.*give dst="):
        pair.host.create_endpoint("svc")
    client = pair.host.create_endpoint("svc", src=51, dst=50)
    client.send(b"hello")
    assert server.receive(timeout=1) == b"hello"
    server.send(b"world")
    assert client.receive(timeout=1) == b"world"
    server.close()
    client.close()
    pair.settle()
    for bus in (pair.host, pair.remote):
        assert bus.statistics().num_announcements_sent == 0
    with pytest.raises(TimeoutExpired):
        listener.receive(timeout=0)


def test_without_name_service_announcements_are_messages() -> None:
    pair, raw = raw_pair(features=False)
    announce(raw, b"svc", 0x500)
    pair.settle()
    assert pair.host.channels == ()
    assert pair.host.statistics().num_dropped == 1


def test_bus_is_a_context_manager() -> None:
    bus: Bus
    with bus_pair().host as bus:
        ept = bus.create_endpoint()
    assert ept.is_closed


def test_only_the_endpoints_of_a_destroyed_channel_hear_of_their_unbinding() -> None:
    pair, remote = raw_pair()
    told: list[Endpoint] = []
    ours = [pair.host.create_endpoint("svc", timeout=0, unbind_callback=told.append) for _ in range(3)]
    for addr in (50, 51):
        announce(remote, b"svc", addr)
    pair.host.poll()
    announce(remote, b"svc", 50, flags=1)
    pair.host.poll()
    assert told == [ours[0]]
    announce(remote, b"svc", 50)
    pair.host.poll()
    assert ours[0].is_bound
    announce(remote, b"svc", 50, flags=1)
    pair.host.poll()
    assert told == [ours[0]] * 2


def test_closed_endpoints_hear_of_no_unbinding_and_errors_lose_nothing() -> None:
    pair, remote = raw_pair()
    told: list[str] = []

    def fail(endpoint: Endpoint) -> None:
        told.append(endpoint.name)
        raise ValueError(endpoint.name)

    closed = pair.host.create_endpoint("c", timeout=0, unbind_callback=fail)
    for name in ("a", "b"):
        pair.host.create_endpoint(name, timeout=0, unbind_callback=fail)
    for at, wire_name in enumerate((b"a", b"b", b"c")):
        announce(remote, wire_name, 50 + at)
    pair.host.poll()
    closed.close()
    for at, wire_name in enumerate((b"a", b"b", b"c")):
        announce(remote, wire_name, 50 + at, flags=1)
    with pytest.raises(ValueError, match="a"):
        pair.host.poll()
    assert told == ["a", "b"]
