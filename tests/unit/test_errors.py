"""The error tree: its drawing, its texts, its way between processes."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from openamp import errors
from openamp.errors import CrashReport, OpenAMPError, RemoteCrashed

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, OpenAMPError)]
REPORT = CrashReport("fault", pc=0x1004, location="main+0x4", address=0xDEAD, registers={"r0": 1}, output_tail="bye")


def example(kind: type[OpenAMPError]) -> OpenAMPError:
    if kind is RemoteCrashed:
        return RemoteCrashed(REPORT)
    numbers = {}
    if inspect.isfunction(kind.__init__):
        parameters = inspect.signature(kind).parameters.values()
        numbers = {p.name: i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY}
    if kind is errors.StateError:
        return errors.StateError("the text", state="running", allowed=("stop",))
    return kind("the text", **numbers)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_a_trip_to_another_process(kind: type[OpenAMPError]) -> None:
    error = example(kind)
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.args, again.__dict__) == (str(error), error.args, error.__dict__)


def test_the_drawing_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").split("```")[1].strip().splitlines():
        match = re.match(r"([│├└─ ]*)(\w+)", line)
        assert match
        depth = len(match[1]) // 4
        above = [*above[:depth], match[2]]
        drawn[match[2]] = above[-2] if depth else ""
    tree = {kind.__name__: kind.__bases__[0].__name__ if kind is not OpenAMPError else "" for kind in KINDS}
    assert drawn == tree


def test_all_errors_are_public() -> None:
    assert {kind.__name__ for kind in KINDS} | {"CrashReport"} == set(errors.__all__)


def test_a_crash_is_a_report_for_people() -> None:
    text = str(RemoteCrashed(REPORT))
    assert text.splitlines() == [
        "the remote crashed: fault",
        "  at main+0x4 (pc 0x1004)",
        "  accessing 0xdead",
        "  r0=0x00000001",
        "  last output:",
        "    bye",
    ]
