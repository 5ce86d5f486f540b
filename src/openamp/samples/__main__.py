"""The remote's side of a sample as a program, for the host that starts it: NAME and, where needed, OPTION=NUMBER."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # started by its path: the package may be anywhere
    sys.path[0] = str(Path(__file__).parents[2])

import openamp
from openamp.errors import HostShutdown
from openamp.samples import SAMPLES


def main(arguments: list[str]) -> None:
    """Runs the remote's side of the sample."""
    if not arguments or arguments[0] not in SAMPLES:
        sys.exit(f"usage: python -m openamp.samples NAME; NAME is one of {', '.join(SAMPLES)}")
    options = {name: int(value) for name, _, value in (argument.partition("=") for argument in arguments[1:])}
    try:
        with openamp.serve("process") as bus:
            SAMPLES[arguments[0]].remote(bus, **options)
    except HostShutdown:  # before it was there
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
