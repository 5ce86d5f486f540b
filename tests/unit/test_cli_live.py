"""`run` and `echo-test` against remotes that misbehave; the remote is a thread of this process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any, cast

import pytest
from typer.testing import CliRunner, Result

import openamp
from openamp.cli.app import app
from openamp.cli.live import ECHO_SERVICE, SHUTDOWN_MESSAGE, Reporter
from openamp.link import BuiltinFirmware
from openamp.platforms.loopback import LoopbackRemote

Program = Callable[[LoopbackRemote], object]


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Callable[[Program], None]:
    """Makes the emulated platform a loopback one whose remote runs the given program."""
    really_open = openamp.open

    def use(program: Program) -> None:
        def open_loopback(platform: str, *, board: object) -> openamp.RemoteProc:
            rproc = really_open("loopback", remote=program)
            boot, load, ours = rproc.boot, rproc.load, cast(BuiltinFirmware, rproc.platform)
            monkeypatch.setattr(rproc, "load", lambda firmware: load(ours.builtin_firmware()))
            monkeypatch.setattr(rproc, "boot", lambda firmware=None: boot())
            return rproc

        monkeypatch.setattr(openamp, "open", open_loopback)

    return use


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def events(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def answering(change: Callable[[bytes], bytes], *, ends: bool = True) -> Program:
    def program(link: LoopbackRemote) -> None:
        with openamp.serve(link) as bus:
            with bus.create_endpoint(ECHO_SERVICE) as endpoint:
                for message in endpoint:
                    if message == SHUTDOWN_MESSAGE and ends:
                        break
                    endpoint.send(change(message))
            while True:
                bus.create_endpoint("idle").receive()

    return program


echo = answering(lambda message: message)


class TestEchoTest:
    def test_success(self, remote: Callable[[Program], None]) -> None:
        remote(echo)
        result = run("echo-test", "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert (found["messages"], found["min_size"], found["max_size"], found["errors"]) == (496, 1, 496, 0)
        latency = found["latency_us"]
        assert 0 < latency["min"] <= latency["median"] <= latency["p99"] <= latency["max"]
        assert sum(row["count"] for row in found["histogram_us"]) == 496
        assert 0 < found["graceful_shutdown_s"] < 2

    def test_text(self, remote: Callable[[Program], None]) -> None:
        remote(echo)
        result = run("echo-test", "--sizes", "1..16", "--count", "3")
        assert result.exit_code == 0
        for words in ("48 messages of 1..16 bytes came back unchanged", "median", "p99", "ended gracefully"):
            assert words in result.stdout

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda m: m[:-1] + bytes([m[-1] ^ 1]) if len(m) == 9 else m, "at offset 8"),
            (lambda m: m[:-1] if len(m) == 9 else m, "9 bytes were expected, 8 came back"),
            (lambda m: m + b"!" if len(m) == 9 else m, "9 bytes were expected, 10 came back"),
        ],
        ids=["changed", "shorter", "longer"],
    )
    def test_integrity(self, remote: Callable[[Program], None], change: Callable[[bytes], bytes], words: str) -> None:
        remote(answering(change))
        result = run("echo-test", "--sizes", "1..16")
        assert result.exit_code == 1
        assert "1 of 16 messages of 1..16 bytes came back changed" in result.stdout
        assert words in result.stdout

    def test_firmware_that_does_not_end(self, remote: Callable[[Program], None]) -> None:
        remote(answering(lambda message: message, ends=False))
        result = run("echo-test", "--sizes", "1", "--timeout", "0.2", "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["graceful_shutdown_s"] is None

    def test_no_answer(self, remote: Callable[[Program], None]) -> None:
        def program(link: LoopbackRemote) -> None:
            bus = openamp.serve(link)
            bus.create_endpoint(ECHO_SERVICE)
            bus.create_endpoint("idle").receive()

        remote(program)
        result = run("echo-test", "--timeout", "0.1")
        assert result.exit_code == 4
        assert result.stderr.startswith("error: ")

    def test_no_channel(self, remote: Callable[[Program], None]) -> None:
        remote(echo)
        result = run("echo-test", "--service", "rpmsg-tty", "--timeout", "0.1")
        assert result.exit_code == 4
        assert "rpmsg-tty" in result.stderr

    def test_crash(self, remote: Callable[[Program], None]) -> None:
        def program(link: LoopbackRemote) -> None:
            openamp.serve(link).create_endpoint(ECHO_SERVICE).receive()
            raise RuntimeError("the remote's mistake")

        remote(program)
        result = run("echo-test")
        assert result.exit_code == 1
        assert "the remote's mistake" in result.stderr
        error = json.loads(run("echo-test", "--json").stdout)["error"]
        assert error["type"] == "RemoteCrashed"
        assert "the remote's mistake" in str(error["crash"])

    def test_sizes_beyond_the_mtu(self, remote: Callable[[Program], None]) -> None:
        remote(echo)
        result = run("echo-test", "--sizes", "1..500")
        assert result.exit_code == 2
        assert "the largest is 496" in result.stderr


class TestRun:
    def test_channels_and_exit(self, remote: Callable[[Program], None]) -> None:
        def program(link: LoopbackRemote) -> int:
            with openamp.serve(link) as bus:
                bus.create_endpoint("first").close()
                bus.create_endpoint("second")
            return 0

        remote(program)
        result = run("run", "echo", "--json")
        assert result.exit_code == 0, result.output
        names = [(event["event"], event.get("name")) for event in events(result)]
        assert names[0] == ("boot", None)
        assert names[1:4] == [
            ("channel-created", "first"),
            ("channel-destroyed", "first"),
            ("channel-created", "second"),
        ]
        assert [name for name, _ in names[-2:]] == ["exit", "end"]
        assert events(result)[-1]["exit_code"] == 0

    def test_exit_status_of_the_remote(self, remote: Callable[[Program], None]) -> None:
        remote(lambda link: 3)
        result = run("run", "echo")
        assert result.exit_code == 1
        assert "status 3" in result.stdout

    def test_crash(self, remote: Callable[[Program], None]) -> None:
        def program(link: LoopbackRemote) -> None:
            raise RuntimeError("the remote's mistake")

        remote(program)
        result = run("run", "echo", "--json")
        assert result.exit_code == 1
        crash = next(event for event in events(result) if event["event"] == "crash")
        assert "the remote's mistake" in crash["reason"] + crash["output_tail"]

    def test_time_out(self, remote: Callable[[Program], None]) -> None:
        remote(echo)
        result = run("run", "echo", "--timeout", "0.3", "--json")
        assert result.exit_code == 4
        found = events(result)
        assert [event["event"] for event in found[-2:]] == ["shutdown", "end"]
        assert "timeout" in [event["event"] for event in found]
        assert found[-2]["graceful"] is True

    @pytest.mark.parametrize(("times", "code"), [(1, 0), (2, 130)])
    def test_ctrl_c(
        self, remote: Callable[[Program], None], monkeypatch: pytest.MonkeyPatch, times: int, code: int
    ) -> None:
        """One Ctrl-C ends gracefully; a second one does not wait for a firmware that goes on."""

        def firmware(link: LoopbackRemote) -> None:
            bus = openamp.serve(link)
            with bus.create_endpoint(ECHO_SERVICE) as endpoint:
                assert endpoint.receive() == SHUTDOWN_MESSAGE
                if times == 2:
                    os.kill(os.getpid(), signal.SIGINT)
                    endpoint.receive()
            bus.create_endpoint("idle").receive()

        def event(reporter: Reporter, kind: str, text: str, **details: Any) -> None:
            report(reporter, kind, text, **details)
            if kind == "channel-created" and details["name"] == ECHO_SERVICE:
                os.kill(os.getpid(), signal.SIGINT)

        report = Reporter.event
        monkeypatch.setattr(Reporter, "event", event)
        remote(firmware)
        before = signal.getsignal(signal.SIGINT)
        result = run("run", "echo", "--grace", "50", "--json")
        assert result.exit_code == code, result.output
        found = events(result)
        shutdown = next(event for event in found if event["event"] == "shutdown")
        assert shutdown["graceful"] is (times == 1)
        assert found[-1]["time"] < 40
        assert signal.getsignal(signal.SIGINT) is before

    def test_hostile_output(self, capsys: pytest.CaptureFixture[str]) -> None:
        reporter = Reporter(as_json=False)
        reporter.output("uart\x1b[0m", b"clear \x1b[2J\x07 colour \x1b[31mred\x1b[0m \xff\r\nhalf ")
        reporter.output("uart\x1b[0m", b"a line" + b"x" * 10000)
        reporter.flush()
        text = capsys.readouterr().out
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "colour red" in text
        assert "half a line" in text
