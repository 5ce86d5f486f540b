"""Every sample, both sides, with the remote in a thread."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import openamp
from openamp.errors import HostShutdown, MessageTooLongError, NotBoundError, RemoteExited, TimeoutExpired
from openamp.platforms.loopback import LoopbackRemote
from openamp.rpmsg import Bus, Endpoint
from openamp.samples import SAMPLES, Result, Sample, Served, common, echo, flood, matrix, nocopy, ping, services
from openamp.samples.matrix import Matrix
from openamp.server import SHUTDOWN_MESSAGE, Ended, Server
from openamp.testing.buses import bus_pair

DEMO = "rpmsg-openamp-demo-channel"


@contextmanager
def running(remote: Callable[[Bus], object]) -> Iterator[tuple[Bus, list[object]]]:
    """A host's bus whose remote runs the function; what that returns is in the list after the block."""
    returned: list[object] = []

    def program(link: LoopbackRemote) -> None:
        with openamp.serve(link) as bus:
            returned.append(remote(bus))

    with openamp.open("loopback", remote=program) as rproc:
        rproc.boot()
        yield rproc.bus, returned


# -- both sides --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "options", "num_messages", "num_bytes"),
    [
        (echo, {}, 496, 2 * sum(range(497))),
        (echo, {"sizes": [1, 496], "count": 3}, 6, 2 * 3 * 497),
        (ping, {}, 100, 2 * (99 * 12 + 8)),
        (nocopy, {}, 496, 2 * sum(range(497))),
        (matrix, {"count": 20}, 20, 20 * 3 * 148),
        (flood, {"count": 3000}, 3000, 2 * 3000 * 64),
        (flood, {"count": 70, "size": 1}, 70, 140),
        (flood, {"count": 0}, 0, 0),
    ],
)
def test_host_and_remote(sample: object, options: dict[str, object], num_messages: int, num_bytes: int) -> None:
    with running(sample.remote) as (bus, returned):  # type: ignore[attr-defined]
        result: Result = sample.host(bus, **options)  # type: ignore[attr-defined]
    assert (result.num_messages, result.num_bytes, result.num_errors) == (num_messages, num_bytes, 0)
    assert result.seconds >= 0
    assert result.ended_after is not None
    assert returned == [Served(num_messages, Ended.STOPPED)]


def test_services() -> None:
    with running(services.remote) as (bus, returned):
        result = services.host(bus, count=10)
    assert (result.num_messages, result.num_errors) == (50, 0)
    assert returned == [Served(50, Ended.STOPPED)]


@pytest.mark.parametrize("sample", [SAMPLES["rpc"], SAMPLES["proxy"]], ids=["rpc", "proxy"])
def test_remote_procedure_calls(sample: Sample, tmp_path: Path) -> None:
    output: list[bytes] = []
    lines = [b"Ada\n", b"36\n", b"3.14\n"]
    with running(sample.remote) as (bus, returned):
        result = sample.host(bus, root=tmp_path, stdin=lambda: lines.pop(0), stdout=output.append)
    assert (tmp_path / "remote.file").read_text() == "This is a test string being written to file.."
    text = b"".join(output).decode()
    assert "remote.file has 45 bytes" in text
    assert "name 'Ada', age '36', pi '3.14'" in text
    assert result.num_errors == 0
    assert returned == [Served(result.num_messages - 1, Ended.STOPPED)]  # terminating has no answer


@pytest.mark.parametrize("name", SAMPLES)
def test_the_hosts_end_ends_every_remote(name: str) -> None:
    with running(SAMPLES[name].remote) as (bus, returned):
        bus.wait(timeout=5)
    assert len(returned) == 1
    assert isinstance(returned[0], Served)
    assert returned[0].ended is Ended.HOST


@pytest.mark.parametrize("sample", [nocopy, flood, echo])
def test_a_remote_serves_one_host_endpoint_after_the_other(sample: object) -> None:
    with running(sample.remote) as (bus, returned):  # type: ignore[attr-defined]
        for i in range(3):
            with bus.create_endpoint(DEMO) as endpoint:
                endpoint.send(b"%d" % i)
                assert endpoint.receive(timeout=5) == b"%d" % i
        with bus.create_endpoint(DEMO) as endpoint:
            endpoint.send(SHUTDOWN_MESSAGE * 8)  # as Linux's echo test sends it
            with pytest.raises(NotBoundError):
                endpoint.receive(timeout=5)
    assert returned == [Served(3, Ended.STOPPED)]


def test_an_agreed_number_of_greetings() -> None:
    with running(lambda bus: ping.remote(bus, count=3)) as (bus, returned):
        assert ping.host(bus, count=3).ended_after is not None
    assert returned == [Served(3, Ended.STOPPED)]


def test_a_remote_that_is_left_alone() -> None:
    with running(echo.remote) as (bus, returned):
        assert echo.host(bus, sizes=[1], grace=0).ended_after is None
    assert returned == [Served(1, Ended.HOST)]


# -- remotes that are wrong --------------------------------------------------------------------------------------------


def answering(change: Callable[[bytes], bytes | None]) -> Callable[[Bus], object]:
    def remote(bus: Bus) -> object:
        server = Server(bus)
        server.add_service(DEMO, change)
        return server.serve_forever()

    return remote


@pytest.mark.parametrize(
    ("sample", "options"),
    [(echo, {"sizes": range(1, 21)}), (nocopy, {"sizes": range(1, 21)}), (flood, {"count": 20, "size": 20})],
)
def test_wrong_answers_are_found(sample: object, options: dict[str, object]) -> None:
    def change(message: bytes) -> bytes:
        if len(message) % 5:
            return message
        return message[:-1] + bytes([message[-1] ^ 1])

    with running(answering(change)) as (bus, _):
        result: Result = sample.host(bus, **options)  # type: ignore[attr-defined]
    assert result.num_errors == (20 if sample is flood else 4)
    assert "was expected" in str(result.mismatches[0])


def test_a_flood_whose_answers_are_in_disorder() -> None:
    def disorder(bus: Bus) -> None:
        with bus.create_endpoint(DEMO) as endpoint:
            messages = [endpoint.receive() for _ in range(10)]
            messages[3], messages[4] = messages[4], messages[3]
            endpoint.send_many(messages)
            endpoint.receive()

    with running(disorder) as (bus, _):
        result = flood.host(bus, count=10)
    assert [mismatch.number for mismatch in result.mismatches] == [3, 4]


def test_a_wrong_product() -> None:
    with running(answering(lambda message: message[:148])) as (bus, _):
        assert matrix.host(bus, count=3, seed=1).num_errors == 3


def test_a_remote_that_does_not_answer() -> None:
    with running(answering(lambda message: None)) as (bus, _), pytest.raises(TimeoutExpired):
        echo.host(bus, timeout=0.05)


def test_a_remote_that_ends_in_the_middle() -> None:
    def remote(bus: Bus) -> None:
        bus.create_endpoint(DEMO).receive()

    with running(remote) as (bus, _), pytest.raises((RemoteExited, NotBoundError)):
        echo.host(bus)


def test_a_remote_that_does_not_end() -> None:
    def remote(bus: Bus) -> None:
        with bus.create_endpoint(DEMO) as endpoint:
            for message in endpoint:
                endpoint.send(message)

    with running(remote) as (bus, _):
        assert echo.host(bus, sizes=[1], grace=0.05).ended_after is None


def test_sizes_that_do_not_fit() -> None:
    for sample in (echo, nocopy):
        with running(echo.remote) as (bus, _), pytest.raises(MessageTooLongError, match="the largest is 496"):
            sample.host(bus, sizes=[1, 497])


def test_a_remote_without_known_services() -> None:
    def remote(bus: Bus) -> None:
        bus.create_endpoint("something-else").receive()

    with running(remote) as (bus, _), pytest.raises(TimeoutExpired, match="channels: something-else"):
        services.host(bus, timeout=0.2)


def test_services_as_in_openamps_program_for_zephyr() -> None:
    """It has two of the names, adds a byte of rubbish, and no service at address 100."""

    def remote(bus: Bus) -> None:
        def tty(endpoint: Endpoint, message: bytes, src: int) -> None:
            endpoint.send(b"TTY 0: " + message + b"\xee")

        def raw(endpoint: Endpoint, message: bytes, src: int) -> None:
            endpoint.send_to(b"from ept 0x%04x: " % endpoint.src + message + b"\x01", src)

        bus.create_endpoint("rpmsg-tty", callback=tty)
        bus.create_endpoint("rpmsg-raw", callback=raw)
        while True:
            bus.wait()

    with running(remote) as (bus, _):
        result = services.host(bus, count=5, static=False)
    assert (result.num_messages, result.num_errors, result.ended_after) == (10, 0, None)


# -- details -----------------------------------------------------------------------------------------------------------


def test_what_the_services_answer() -> None:
    pair = bus_pair()
    with pytest.raises(HostShutdown):
        _serve_step_by_step(pair.remote)
    expected = {
        DEMO: b"Hello",
        "rpmsg-client-sample": b"Hello",
        "rpmsg-tty": b"TTY 0: Hello\0",
        "rpmsg-raw": b"from ept 0x0403: Hello\0",
    }
    for name, answer in expected.items():
        endpoint = pair.host.create_endpoint(name)
        endpoint.send(b"Hello")
        assert endpoint.receive(timeout=1) == answer
    upper = pair.host.create_endpoint(dst=100)
    upper.send(b"Hello")
    assert upper.receive(timeout=1) == b"HELLO"


def _serve_step_by_step(bus: Bus) -> None:
    """Lets the remote set up its services, and leaves them there."""

    class Stop(Server):
        def serve_forever(self) -> Ended:
            raise HostShutdown("services are there")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "Server", Stop)
        services.remote(bus)


def test_matrices_that_are_none() -> None:
    zeros = Matrix(6, (0,) * 36).build()
    small, large = Matrix(3, (1,) * 36).build(), Matrix(7, (0,) * 36).build()
    with running(matrix.remote) as (bus, _), bus.create_endpoint(DEMO) as endpoint:
        for wrong in (b"", zeros, zeros + zeros[:-1], zeros * 3, large * 2, small + zeros):
            endpoint.send(wrong)
        endpoint.send(small * 2)
        product = Matrix.parse(endpoint.receive(timeout=5))
        assert product == Matrix(
            3, tuple(3 if row < 3 and column < 3 else 0 for row in range(6) for column in range(6))
        )


def test_products_are_modulo_two_to_the_32() -> None:
    large = Matrix(6, (0xFFFFFFFF,) * 36)
    assert large @ large == Matrix(6, (6,) * 36)
    one = Matrix.random(random.Random(1), 4)
    assert Matrix.parse(one.build()) == one
    assert one.build()[:4] == struct.pack("<I", 4)


def test_numbered_payloads() -> None:
    assert common.Numbered.message(7, 20) == struct.pack("<QQ", 7, 4) + b"\xa5" * 4
    assert common.Numbered.message(7, 5) == b"\x07\0\0\0\0"


@pytest.mark.parametrize(("record", "layout"), [(common.Numbered, common.PAYLOAD), (Matrix, matrix.MATRIX)])
def test_docstring_tables(record: type, layout: struct.Struct) -> None:
    rows = re.findall(r"^\s*\| (\d+) \| (\d+) \| (\w+) \|", record.__doc__ or "", re.MULTILINE)
    assert [name for _, _, name in rows] == list(record._fields)  # type: ignore[attr-defined]
    at = 0
    for (offset, size, _), code in zip(rows, re.findall(r"\d*[a-zA-Z]", layout.format), strict=True):
        assert (int(offset), int(size)) == (at, struct.calcsize("<" + code))
        at += int(size)
    assert at == layout.size


def test_mismatches_are_counted_and_the_first_ones_kept() -> None:
    wrong = common.Mismatches()
    for number in range(150):
        wrong.check(number, b"ab", b"ac" if number else b"a")
    assert (wrong.count, len(wrong.kept)) == (150, 100)
    assert str(wrong.kept[0]) == "message 0: 2 bytes were expected, 1 came back"
    assert str(wrong.kept[1]) == "message 1 of 2 bytes: at offset 1 0x62 was expected, 0x63 came back"


def test_the_samples_by_name() -> None:
    assert list(SAMPLES) == ["echo", "ping", "nocopy", "matrix", "flood", "services", "rpc", "proxy"]
    assert all(sample.name == name and sample.summary for name, sample in SAMPLES.items())
