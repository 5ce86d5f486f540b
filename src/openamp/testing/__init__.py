"""Helpers for tests of firmware, platforms and programs: public, and used by this package's own tests."""

from __future__ import annotations

from openamp.testing.elf_builder import ElfSection, ElfSegment, ElfSymbol, build_elf

__all__ = ["ElfSection", "ElfSegment", "ElfSymbol", "build_elf"]
