"""The `openamp` command.

Importing this package costs next to nothing: the command's libraries are imported by `main`, and the engine, the ELF
reader and the tables only by the verbs that use them.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

__all__ = ["main"]

_LIBRARIES = ("click", "rich", "shellingham", "typer")


def main() -> None:
    """Runs the command line; the entry point of the console script and of `python -m openamp`."""
    try:
        from openamp.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _LIBRARIES:
            raise
        print(
            f"error: the command line needs the library {error.name}, which is not installed; "
            f"install it with:  pip install 'openamp[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:  # while the libraries are imported; later the verbs handle it
        sys.exit(130)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name out of an image must not fail in an ASCII terminal
            stream.reconfigure(errors="backslashreplace")
    app()
