"""`openamp sample` in this process: every sample on the loopback, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from openamp import samples
from openamp.cli.app import app
from openamp.cli.sample import Name
from openamp.rpmsg import Bus
from openamp.samples import SAMPLES, Served
from openamp.server import Server


def run(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["sample", *map(str, arguments)], input=stdin, catch_exceptions=False)


def loopback(*arguments: str | Path, **options: Any) -> Result:
    return run(*arguments, "--platform", "loopback", **options)


def test_the_names_are_the_samples() -> None:
    assert [str(name) for name in Name] == list(SAMPLES)


@pytest.mark.parametrize(
    ("arguments", "messages", "size"),
    [
        (["echo"], 496, 246512),
        (["echo", "--sizes", "1,16..18", "--count", "2"], 8, 2 * 2 * 52),
        (["ping"], 100, 2392),
        (["ping", "--count", "3"], 3, 64),
        (["nocopy", "--sizes", "496"], 1, 992),
        (["matrix", "--count", "5"], 5, 5 * 3 * 148),
        (["flood", "--count", "1000", "--size", "32"], 1000, 64000),
        (["services", "--count", "2"], 10, None),
    ],
)
def test_samples(arguments: list[str], messages: int, size: int | None) -> None:
    result = loopback(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["sample"], found["side"], found["platform"]) == (arguments[0], "both", "loopback")
    assert (found["messages"], found["errors"], found["mismatches"]) == (messages, 0, [])
    assert size in (None, found["bytes"])
    assert 0 <= found["ended_after_s"] < 2
    assert found["seconds"] > 0


def test_text() -> None:
    result = loopback("ping")
    assert result.exit_code == 0
    for words in ("ping on loopback: 100 messages, 2392 bytes", "all were answered", "the remote ended"):
        assert words in result.stdout
    assert "ended" not in loopback("echo", "--sizes", "1", "--grace", "0").stdout


@pytest.mark.parametrize("name", ["rpc", "proxy"])
def test_remote_procedure_calls(tmp_path: Path, name: str) -> None:
    result = loopback(name, "--root", tmp_path, stdin="Ada\n36\n3.14\n")
    assert result.exit_code == 0
    assert "Remote> name 'Ada', age '36', pi '3.14'" in result.stdout
    assert (tmp_path / "remote.file").read_text().startswith("This is a test string")


def test_remote_procedure_calls_as_json() -> None:
    result = loopback("rpc", "--json")
    assert json.loads(result.stdout)["errors"] == 0
    assert "Remote> going down" in result.stderr


def test_a_folder_that_is_only_read(tmp_path: Path) -> None:
    result = loopback("rpc", "--root", tmp_path, "--read-only")
    assert result.exit_code == 1
    assert "open('remote.file') failed on the server" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def remote(bus: Bus) -> Served:
        server = Server(bus)
        server.add_service("rpmsg-openamp-demo-channel", lambda message: message + b"!")
        return Served(0, server.serve_forever())

    wrong = samples.Sample("echo", "", samples.echo.host, remote)
    monkeypatch.setitem(SAMPLES, "echo", wrong)
    result = loopback("echo", "--sizes", "1..20")
    assert result.exit_code == 1
    assert "20 answers were wrong" in result.stdout
    assert "message 0: 1 bytes were expected, 2 came back" in result.stdout
    found = json.loads(loopback("echo", "--sizes", "1..20", "--json").stdout)
    assert found["errors"] == len(found["mismatches"]) == 20


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ecko"], 2, "is not one of"),
        (["echo", "guest"], 2, "is not one of"),
        (["echo", "remote", "-p", "emulated"], 2, "the remote is the firmware"),
        (["echo", "remote", "-p", "loopback"], 2, "lives in the host's process"),
        (["echo", "host", "-p", "loopback"], 2, "run both"),
        (["echo", "--mode", "generic-linux"], 2, "name the side"),
        (["echo", "--name", "x"], 2, "name the side"),
        (["echo", "host", "-p", "emulated", "--socket", "x"], 2, "--socket is for two processes"),
        (["echo", "--board", "virt-m4"], 2, "goes with --platform emulated"),
        (["echo", "host", "--image", "x.elf"], 2, "goes with --platform emulated"),
        (["rpc", "-p", "emulated"], 2, "no firmware of ours"),
        (["ping", "--sizes", "3"], 2, "it takes --count, --grace"),
        (["ping", "--read-only"], 2, "has no --read-only"),
        (["echo", "remote", "--count", "3"], 2, "none of these"),
        (["echo", "-p", "loopback", "--sizes", "1..600"], 2, "the largest is 496"),
        (["flood", "-p", "loopback", "--size", "600"], 2, "the largest is 496"),
        (["echo", "--sizes", "nine"], 2, "'nine' is no size"),
        (["rpc", "-p", "loopback", "--root", "/missing"], 3, "name a folder that exists"),
        (["echo", "-p", "emulated", "--board", "pdp11"], 3, "pdp11"),
        (["echo", "-p", "emulated", "--image", "/missing.elf"], 3, "/missing.elf"),
        (["echo", "host", "--name", "x", "--shm", "y"], 3, "has no option 'shm'"),
        (["echo", "remote", "--timeout", "0.05", "--name", "nobody-there"], 4, "no host of a process link"),
        (["echo", "host", "--timeout", "0.05", "--name", "nobody-there"], 4, "no remote has come to the link"),
    ],
)
def test_what_it_refuses(arguments: list[str], code: int, words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
