"""`openamp --version`: the package and what it runs on."""

from __future__ import annotations

import platform

from openamp.cli.common import print_json

__all__ = ["version"]


def version(as_json: bool) -> None:
    """Prints the versions of the package, Python and the engine, and which queue runs."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    import openamp
    from openamp import virtio

    try:
        engine: str | None = installed("unicorn")
    except PackageNotFoundError:
        engine = None
    queue = virtio.implementation
    if as_json:
        print_json(
            {"openamp": openamp.__version__, "python": platform.python_version(), "queue": queue, "unicorn": engine}
        )
        return
    print(f"openamp {openamp.__version__}")
    print(f"Python {platform.python_version()} ({platform.python_implementation()}, {platform.machine()})")
    remedy = "" if queue == "compiled" else " Python (slower; install with a C compiler to have it compiled)"
    print(f"queue: {queue}{remedy}")
    print(f"engine: unicorn {engine}" if engine else "engine: none (pip install 'openamp[emulated]')")
