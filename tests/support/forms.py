"""The plain form of a module that runs compiled, beside it in one process."""

from __future__ import annotations

from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def plain(name: str) -> ModuleType:
    """Returns a module made from its source, whatever the import system would choose; itself when it is that."""
    running = import_module(name)
    if not running.COMPILED:
        return running
    package, _, stem = name.rpartition(".")
    paths = import_module(package).__path__
    path = str(next(file for folder in paths if (file := Path(folder, f"{stem}.py")).exists()))
    spec = spec_from_file_location(f"{name}_from_source", path, loader=SourceFileLoader(f"{name}_from_source", path))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.COMPILED
    return module
