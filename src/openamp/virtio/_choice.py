"""Whether the compiled form of a module runs, or its plain source."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, SourceFileLoader

__all__ = ["choose"]

_SLACK = 2.0  # seconds; an installer writes a wheel's files one after the other, in any order


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _stale(folder: str, sources: Sequence[str]) -> str:
    """Returns the path of a compiled module that is older than what it was made from, or ""."""
    base = os.path.join(folder, sources[0].removesuffix(".py"))
    for suffix in EXTENSION_SUFFIXES:
        built = _modified(base + suffix)
        if built:
            newest = max(_modified(os.path.join(folder, source)) for source in sources)
            return base + suffix if newest > built + _SLACK else ""
    return ""


def choose(path: Sequence[str], modules: Sequence[Sequence[str]], *, plain: bool = False) -> None:
    """Makes the import system find the sources only, where the compiled form is not wanted or out of date.

    Args:
        path: the package's `__path__`.
        modules: for each module that may be compiled its source and the other files it is made from, relative to
            the package.
        plain: the compiled form cannot be used: what it is built upon runs plain.

    Warns:
        RuntimeWarning: when a compiled module is older than its source; the plain source runs.
    """
    plain = plain or os.environ.get("OPENAMP_PLAIN", "0") not in {"", "0"}
    if not plain:
        for stale in filter(None, (_stale(folder, sources) for folder in path for sources in modules)):
            plain = True
            warnings.warn(
                f"{stale} is older than its source, which runs instead, slower; "
                "build it again with `pip install -e .`, or set OPENAMP_PLAIN=1 to run the source on purpose",
                RuntimeWarning,
                stacklevel=3,
            )
    if plain:
        for folder in path:
            sys.path_importer_cache[folder] = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))
