"""The command line without a running remote: inspect, boards, versions, errors and exit codes."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from openamp.cli import memory_map
from openamp.cli.app import app
from openamp.cli.common import human_size, printable
from openamp.cli.echo_test import parse_sizes
from openamp.cli.histogram import histogram
from openamp.cli.memory_map import Span, find_areas, render
from openamp.platforms.emulated.board import list_boards
from openamp.resource_table import ADDR_ANY, Carveout, Opaque, Trace, Vdev, Vring, rpmsg_table
from openamp.testing.elf_builder import ElfSection, ElfSegment, ElfSymbol, build_elf

SRC = Path(__file__).parents[2] / "src"
VECTORS = struct.pack("<2I", 0x10040000, 0x10000001) + bytes(56)


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env=env, catch_exceptions=False)


def command(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SRC), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "openamp", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
        **options,
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An Arm image with vectors, code, a table with every kind of entry, and a duplicate notify id."""
    vrings = (Vring(0x10048000, 16, 16, 1), Vring(ADDR_ANY, 16, 16, 1))
    table = rpmsg_table(
        entries=(
            Carveout(0x10040000, ADDR_ANY, 0x4000, 0, 0, "vdev0buffer"),
            Trace(0x10030000, 0x1000, 0, "log\x1b[31m"),
            Opaque(128, b"\x04\0\0\0abcd"),
            Vdev(7, ADDR_ANY, 1, vrings=vrings),
        )
    )
    path = tmp_path / "all.elf"
    path.write_bytes(
        build_elf(
            [
                ElfSegment(0, VECTORS, flags=4),
                ElfSegment(0x10000000, bytes(range(256)) * 8, flags=5),
                ElfSegment(0x10020000, table.build(), size=0x2000, va=0x20020000, flags=6),
            ],
            sections=[ElfSection(".resource_table", 0x10020000, segment=2, size=table.size)],
            symbols=[ElfSymbol("Reset_Handler", 0x10000000, 64, 2, 1, 1)],
            entry=0x10000001,
        )
    )
    return path


class TestInspect:
    def test_text(self, image: Path) -> None:
        result = run("inspect", image, env={"COLUMNS": "120"})
        assert result.exit_code == 0, result.output
        for words in (
            "elf32, little-endian",
            "Arm (e_machine 40)",
            "(Reset_Handler)",
            "Segments (3)",
            "0x20020000",
            "vring 0 (remote to host): 16 descriptors at 0x10048000",
            "16 descriptors anywhere",
            "carve-out",
            "vendor",
            "duplicate-notifyid at table offset 0x",
            "Memory map on stm32mp157",
            "placed at start: vring 1 of entry 3",
            "no: runs 32-bit RISC-V",
        ):
            assert words in result.output
        assert "\x1b" not in result.output, "neither our colours nor the image's escapes go into a pipe"
        assert "log\\x1b[31m" in result.output

    @pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
    def test_lines_fit_the_terminal(self, image: Path, columns: int) -> None:
        result = run("inspect", image, env={"COLUMNS": str(columns)})
        assert max(len(line) for line in result.output.splitlines()) <= columns

    def test_json(self, image: Path) -> None:
        found = json.loads(run("inspect", image, "--json").stdout)
        assert found["machine"] == {"number": 40, "name": "Arm"}
        assert (found["entry"], found["entry_symbol"]) == (0x10000001, "Reset_Handler")
        assert [s["da"] for s in found["segments"]] == [0, 0x10000000, 0x10020000]
        assert found["segments"][2]["va"] == 0x20020000
        table = found["resource_table"]
        assert [e["kind"] for e in table["entries"]] == ["carveout", "trace", "opaque", "vdev", "vdev"]
        assert table["entries"][3]["vrings"][1]["da"] == ADDR_ANY
        assert table["entries"][2]["data"] == b"\x04\0\0\0abcd".hex()
        assert ("duplicate-notifyid", "resource_table") in [(w["code"], w["in"]) for w in found["warnings"]]
        fits = {b["name"]: b["problem"] for b in found["boards"]}
        assert fits["stm32mp157"] == ""
        assert set(fits) == set(list_boards())
        assert "RISC-V" in fits["virt-rv32"]

    def test_board_that_fits_and_one_that_does_not(self, image: Path) -> None:
        assert run("inspect", image, "--board", "virt-m4").exit_code == 0
        result = run("inspect", image, "--board", "virt-rv32")
        assert result.exit_code == 3
        assert "boards that run it: stm32mp157" in " ".join(result.output.split())

    def test_ring_that_no_host_can_set_up(self, tmp_path: Path) -> None:
        table = rpmsg_table(num=7).build()
        path = tmp_path / "ring.elf"
        path.write_bytes(build_elf([ElfSegment(0, VECTORS)], resource_table=table, table_address=0x10020000))
        warnings = json.loads(run("inspect", path, "--json").stdout)["warnings"]
        found = [w for w in warnings if w["code"] == "vring-geometry"]
        assert [(w["value"], w["offset"]) for w in found] == [(7, 48), (7, 68)]
        assert "power of two" in found[0]["message"]

    def test_raw_image(self, tmp_path: Path) -> None:
        path = tmp_path / "raw.bin"
        path.write_bytes(VECTORS)
        assert run("inspect", path).exit_code == 3
        found = json.loads(run("inspect", path, "--base", "0x1000_0000", "--json").stdout)
        assert found["segments"][0]["da"] == 0x10000000
        assert run("inspect", path, "--base", "ten").exit_code == 2

    def test_ascii_terminal(self, image: Path) -> None:
        done = command("inspect", image, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
        assert "# code" in done.stdout

    def test_image_without_table_and_segments(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.elf"
        path.write_bytes(build_elf([ElfSegment(0, b"", type=0)]))
        result = run("inspect", path)
        assert result.exit_code == 0
        assert "there is nothing to load" in result.output
        assert "no RPMsg" in result.output

    def test_reader_of_the_pipe_goes_away(self, image: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "openamp", "inspect", str(image)],
            stdout=writer,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SRC)},
            timeout=60,
            check=False,
        )
        os.close(writer)
        assert b"Traceback" not in done.stderr


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (("inspect", "nowhere.elf"), 3, "No such file"),
            (("inspect", "."), 3, "directory"),
            (("inspect", "text"), 3, "known format"),
            (("inspect", "text", "--format", "nonsense"), 3, "no firmware format"),
            (("inspect", "truncated.elf"), 3, "truncated.elf"),
            (("inspect", "broken-table.elf"), 3, "version"),
            (("boards", "virt-m5"), 3, "did you mean"),
            (("boards", "./broken.toml"), 3, "broken.toml"),
            (("echo-test", "--board", "virt-m5"), 3, "did you mean"),
            (("run", "echo", "--board", "virt-m5"), 3, "did you mean"),
            (("run", "ecko"), 3, "did you mean"),
            (("run", "ecko.elf"), 3, "No such file"),
            (("inspect", "/proc/self/mem"), 3, "/proc/self/mem"),
            (("run", "text"), 3, "known format"),
            (("run", "x86.elf"), 3, "fits no board"),
            (("echo-test", "--sizes", "5..1"), 2, "1..496"),
            (("echo-test", "--sizes", "0"), 2, "1..496"),
            (("echo-test", "--count", "0"), 2, "--count"),
            (("run",), 2, "IMAGE"),
            (("fly",), 2, "fly"),
            (("--json",), 2, "verb"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
    )
    def test_one_line_and_an_exit_status(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
    ) -> None:
        whole = build_elf([ElfSegment(0x10000000, bytes(64))], resource_table=struct.pack("<5I", 9, 0, 0, 0, 0))
        (tmp_path / "text").write_text("this is no image")
        (tmp_path / "truncated.elf").write_bytes(whole[:60])
        (tmp_path / "broken-table.elf").write_bytes(whole)
        (tmp_path / "x86.elf").write_bytes(build_elf([ElfSegment(0x1000, bytes(64))], machine=3))
        (tmp_path / "broken.toml").write_text("[core\n")
        monkeypatch.chdir(tmp_path)
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        if code == 3:
            assert result.stderr.startswith("error: ")

    def test_error_as_json(self) -> None:
        result = run("inspect", "nowhere.elf", "--json")
        error = json.loads(result.stdout)["error"]
        assert (error["type"], error["exit_code"]) == ("FileNotFoundError", 3)
        assert "nowhere.elf" in error["message"]

    def test_error_numbers_as_json(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.elf"
        path.write_bytes(build_elf([ElfSegment(0, bytes(64))], resource_table=struct.pack("<5I", 9, 0, 0, 0, 0)))
        error = json.loads(run("inspect", path, "--json").stdout)["error"]
        assert (error["type"], error["offset"], error["value"]) == ("ResourceTableError", 0, 9)

    def test_without_the_extra(self) -> None:
        code = "import sys; sys.modules['typer'] = None; from openamp.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SRC)},
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "pip install 'openamp[cli]'" in done.stderr
        assert "Traceback" not in done.stderr


class TestBoards:
    def test_table_fits_80_columns(self) -> None:
        result = run("boards", env={"COLUMNS": "80"})
        assert result.exit_code == 0
        for name in list_boards():
            assert f"{name} " in result.output
        assert "…" not in result.output

    def test_json(self) -> None:
        found = {board["name"]: board for board in json.loads(run("boards", "--json").stdout)}
        assert set(found) == set(list_boards())
        board = found["stm32mp157"]
        assert board["core"] == "cortex-m4"
        assert board["mailbox"]["base"] == 0x4C001000
        assert "echo" in board["firmware"]
        assert any(memory["pool"] for memory in board["memory"])

    def test_one_in_full(self) -> None:
        output = run("boards", "stm32mp157").output
        assert "interrupts 103 and 104" in output
        assert "also at 0x30000000" in output

    def test_board_file(self, tmp_path: Path) -> None:
        source = SRC / "openamp" / "platforms" / "emulated" / "boards" / "virt-m4.toml"
        path = tmp_path / "mine.toml"
        path.write_bytes(source.read_bytes())
        found = json.loads(run("boards", path, "--json").stdout)
        assert (found[0]["name"], found[0]["firmware"]) == ("mine", [])


class TestVersion:
    def test_text(self) -> None:
        result = run("--version")
        assert result.exit_code == 0
        assert result.output.startswith("openamp ")
        assert "queue: " in result.output

    def test_json(self) -> None:
        found = json.loads(run("--version", "--json").stdout)
        assert set(found) == {"openamp", "python", "queue", "unicorn"}
        assert found["queue"] in ("compiled", "plain")

    def test_help_names_verbs_and_exit_codes(self) -> None:
        output = run("--help", env={"COLUMNS": "200"}).output
        for words in ("inspect", "run", "echo-test", "boards", "Exit status: 0 success", "4 a time-out"):
            assert words in output


class TestMemoryMap:
    def lines(self, spans: list[Span], width: int = 60, **options: Any) -> list[str]:
        return [line.plain for line in render(find_areas(spans), width, **options)]

    def test_to_scale(self) -> None:
        code = Span(0x1000, 0x800, memory_map.CODE, "code")
        data = Span(0x1800, 0x800, memory_map.DATA, "data", filled=0x400)
        title, first, second, _ = self.lines([data, code], 60, ascii_only=True)
        assert title == "0x00001000..0x00002000  4 KiB"
        bar = first[first.index("|") + 1 : first.rindex("|")]
        other = second[second.index("|") + 1 : second.rindex("|")]
        cells = len(bar)
        assert bar == "#" * (cells // 2) + " " * (cells - cells // 2)
        assert other.strip() == "=" * (cells // 4) + "." * (cells - cells // 2 - cells // 4)

    def test_even_a_byte_is_seen(self) -> None:
        spans = [Span(0, 1 << 20, memory_map.CODE, "big"), Span((1 << 20) - 1, 1, memory_map.TRACE, "byte")]
        assert "~|" in self.lines(spans, ascii_only=True)[2]

    def test_far_addresses_are_areas_of_their_own(self) -> None:
        spans = [Span(0, 64, memory_map.CODE, "a"), Span(1 << 60, 64, memory_map.CODE, "b")]
        assert [area.start for area in find_areas(spans)] == [0, 1 << 60]

    def test_regions(self) -> None:
        spans = [Span(0x100, 16, memory_map.CODE, "in"), Span(0x9000, 16, memory_map.CODE, "out")]
        areas = find_areas(spans, [("ram", 0, 0x1000), ("unused", 0x2000, 0x3000)])
        assert [(a.name, a.start, a.end) for a in areas] == [("ram", 0, 0x1000), ("no memory here", 0x9000, 0x9010)]

    def test_thousands_of_segments(self) -> None:
        spans = [Span(i * 16, 8, memory_map.CODE, f"s{i}") for i in range(5000)]
        assert "4936 more" in "\n".join(self.lines(spans))


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (1 << 20, "1 MiB"), (5 << 40, "5 TiB")],
)
def test_human_size(size: int, text: str) -> None:
    assert human_size(size) == text


def test_printable() -> None:
    assert printable("plain") == "plain"
    assert printable("a\x1b[2J\tb\u202e", keep="\t") == "a\\x1b[2J\tb\\x202e"


def test_parse_sizes() -> None:
    assert parse_sizes("1..4,16") == (1, 2, 3, 4, 16)
    assert parse_sizes("1..9:4") == (1, 5, 9)


def test_histogram() -> None:
    assert histogram([]) == []
    assert histogram([1500, 1600, 2999, 40_000_000])[0] == (1.5, 2.0, 2)
    assert sum(count for _, _, count in histogram(range(0, 10**12, 10**9))) == 1000
