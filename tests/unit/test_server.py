"""Simple servers: the remote's side over a loopback, and step by step over a pair of buses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import openamp
from openamp.errors import AddressInUseError, NotBoundError, RemoteCrashed, RemoteExited, StateError, TimeoutExpired
from openamp.platforms.loopback import LoopbackRemote
from openamp.rpmsg import Bus, Channel
from openamp.server import SHUTDOWN_MESSAGE, Ended, Handler, Server
from openamp.testing.buses import bus_pair

SERVICE = "rpmsg-openamp-demo-channel"


def end_of(rproc: openamp.RemoteProc) -> None:
    while True:
        assert rproc.wait(timeout=5)


def test_ten_lines() -> None:
    ends: list[Ended] = []

    def firmware(link: LoopbackRemote) -> None:
        with openamp.serve(link) as bus:
            server = openamp.Server(bus)

            @server.service(SERVICE)
            def echo(message: bytes) -> bytes:
                return message

            @server.service("rpmsg-upper")
            def upper(message: bytes) -> bytes:
                return message.upper()

            ends.append(server.serve_forever())
            assert server.num_requests == 33

    with openamp.open("loopback", remote=firmware) as rproc:
        rproc.boot()
        endpoint, other = rproc.create_endpoint(SERVICE), rproc.create_endpoint("rpmsg-upper")
        for size in range(1, 497, 31):
            endpoint.send(bytes(size))
            other.send(b"a" * size)
            assert other.receive(timeout=5) == b"A" * size
            assert endpoint.receive(timeout=5) == bytes(size)
        other.send(b"")
        assert other.receive(timeout=5) == b""
        endpoint.send(SHUTDOWN_MESSAGE)
        with pytest.raises(NotBoundError, match="destroyed"):
            other.receive(timeout=5)
        with pytest.raises(RemoteExited):
            end_of(rproc)
    assert ends == [Ended.STOPPED]


def test_the_hosts_end_ends_it() -> None:
    ends: list[Ended] = []

    def firmware(link: LoopbackRemote) -> None:
        with openamp.serve(link) as bus:
            server = Server(bus)
            server.add_service(SERVICE, lambda message: message)
            ends.append(server.serve_forever())

    with openamp.open("loopback", remote=firmware) as rproc:
        rproc.boot()
        rproc.create_endpoint(SERVICE)
    assert ends == [Ended.HOST]


class Served:
    """A server's function, run by a host that waits on the other end of a pair of buses."""

    def __init__(self, handler: Handler, on_error: Callable[[Exception], object] | None = None) -> None:
        pair = bus_pair()
        self.server = Server(pair.remote, on_error=on_error)
        self.bus: Bus = pair.host
        self.pair = pair
        self.service = self.server.add_service(SERVICE, handler)
        self.endpoint = pair.host.create_endpoint(SERVICE)


def test_no_reply() -> None:
    seen: list[bytes] = []
    served = Served(seen.append)
    served.endpoint.send(b"one")
    served.endpoint.send(b"two")
    served.pair.step("remote")
    assert seen == [b"one", b"two"]
    assert served.server.run(until=lambda: len(seen) == 2) is Ended.STOPPED
    served.pair.settle()
    assert served.bus.channels == ()


def test_the_reply_goes_to_the_sender() -> None:
    served = Served(lambda message: message[::-1])
    first, second = (served.bus.create_endpoint(dst=served.service.src) for _ in range(2))
    first.send(b"ab")
    second.send(b"cd")
    assert second.receive(timeout=1) == b"dc"
    assert first.receive(timeout=1) == b"ba"


def test_messages_behind_the_shutdown_message_are_not_handled() -> None:
    served = Served(lambda message: message)
    served.endpoint.send_many([b"one", SHUTDOWN_MESSAGE + b"more", b"two"])
    assert served.server.serve_forever() is Ended.STOPPED
    assert served.server.num_requests == 1
    assert served.endpoint.receive(timeout=1) == b"one"
    with pytest.raises(NotBoundError):
        served.endpoint.receive(timeout=1)


def test_a_service_without_shutdown_message() -> None:
    pair = bus_pair()
    server = Server(pair.remote)
    server.service(SERVICE, shutdown=None)(lambda message: message)
    endpoint = pair.host.create_endpoint(SERVICE)
    endpoint.send(SHUTDOWN_MESSAGE)
    assert endpoint.receive(timeout=1) == SHUTDOWN_MESSAGE


def test_an_address_that_is_not_announced() -> None:
    pair = bus_pair()
    server = Server(pair.remote)
    server.service(src=100)(bytes.upper)
    assert pair.host.channels == ()
    endpoint = pair.host.create_endpoint(dst=100)
    endpoint.send(b"hello")
    assert endpoint.receive(timeout=1) == b"HELLO"
    with pytest.raises(AddressInUseError):
        server.add_service("", bytes.lower, src=100)


def test_a_time_out_leaves_the_services() -> None:
    served = Served(lambda message: message)
    with pytest.raises(TimeoutExpired, match=r"within 0\.01 s"):
        served.server.run(timeout=0.01)
    with pytest.raises(TimeoutExpired):
        served.server.run(timeout=0)
    served.endpoint.send(b"still there")
    assert served.endpoint.receive(timeout=1) == b"still there"


def test_a_busy_peer_does_not_put_the_time_out_off() -> None:
    served = Served(lambda message: None)

    def more() -> bool:
        served.endpoint.send(b"x")
        return False

    with pytest.raises(TimeoutExpired):
        served.server.run(until=more, timeout=0.05)


def failing(message: bytes) -> bytes:
    raise ValueError(f"cannot do {message!r}")


def test_an_error_ends_the_server() -> None:
    served = Served(failing)
    served.endpoint.send(b"this")
    with pytest.raises(ValueError, match="cannot do b'this'"):
        served.server.serve_forever()
    served.pair.settle()
    assert served.bus.channels == ()


def test_an_error_is_the_remotes_crash() -> None:
    def firmware(link: LoopbackRemote) -> None:
        with openamp.serve(link) as bus:
            server = Server(bus)
            server.add_service(SERVICE, failing)
            server.serve_forever()

    with openamp.open("loopback", remote=firmware) as rproc:
        rproc.boot()
        rproc.create_endpoint(SERVICE).send(b"that")
        with pytest.raises(RemoteCrashed, match="cannot do b'that'"):
            end_of(rproc)


def test_errors_may_be_handled() -> None:
    errors: list[Exception] = []
    served = Served(lambda message: message if message else failing(message), on_error=errors.append)
    for message in (b"", b"good", b""):
        served.endpoint.send(message)
    assert served.endpoint.receive(timeout=1) == b"good"
    assert [str(error) for error in errors] == ["cannot do b''"] * 2


def test_a_reply_that_is_too_long_is_an_error_of_the_service() -> None:
    errors: list[Exception] = []
    served = Served(lambda message: message * 100, on_error=errors.append)
    served.endpoint.send(bytes(10))
    served.pair.step("remote")
    assert "mtu" in str(errors[0])


def test_replies_wait_for_buffers() -> None:
    served = Served(lambda message: message)
    sent = [b"%d" % i for i in range(100)]
    served.endpoint.send_many(sent)
    received: list[bytes] = []
    while len(received) < len(sent):
        received += served.endpoint.receive_many(timeout=1)
    assert received == sent


def test_the_host_can_serve_too() -> None:
    pair = bus_pair()
    created: list[Channel] = []
    pair.remote.on_channel_created(created.append)
    with Server(pair.host) as server:
        server.add_service("rpmsg-time", lambda message: b"now")
        pair.settle()
        assert [channel.name for channel in created] == ["rpmsg-time"]
        endpoint = pair.remote.create_endpoint(dst=created[0].dst)
        endpoint.send(b"?")
        assert endpoint.receive(timeout=1) == b"now"
    pair.settle()
    assert pair.remote.channels == ()


def test_a_closed_server_takes_no_services() -> None:
    served = Served(lambda message: message)
    served.server.close()
    served.server.close()
    with pytest.raises(StateError, match="closed"):
        served.server.add_service("more", bytes.upper)
