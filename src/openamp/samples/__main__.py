"""The remote's side of a sample as a program, for the host that starts it: NAME and, where needed, OPTION=NUMBER."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # started by its path: the package may be anywhere
    sys.path[0] = str(Path(__file__).parents[2])

import openamp
from openamp.samples import SAMPLES

if __name__ == "__main__":
    options = {name: int(value) for name, _, value in (argument.partition("=") for argument in sys.argv[2:])}
    with openamp.serve("process") as bus:
        SAMPLES[sys.argv[1]].remote(bus, **options)
