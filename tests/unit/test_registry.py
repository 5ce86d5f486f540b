"""Platforms by name, by object, and what is neither."""

from __future__ import annotations

from typing import Any

import pytest

import openamp
from openamp.errors import PlatformError
from openamp.platforms.loopback import LoopbackPlatform


@pytest.mark.parametrize("platform", [None, 42, object(), ["loopback"]])
def test_what_is_no_platform(platform: Any) -> None:
    with pytest.raises(PlatformError, match=rf"{type(platform).__name__} is no platform.*openamp.link.HostPlatform"):
        openamp.open(platform)
    with pytest.raises(PlatformError, match=r"openamp\.link\.RemotePlatform"):
        openamp.serve(platform)


def test_a_class_is_no_platform_yet() -> None:
    kind: Any = LoopbackPlatform
    with pytest.raises(PlatformError, match=r"make an object of it: LoopbackPlatform\(\.\.\.\)"):
        openamp.open(kind)


def test_options_for_a_platform_object() -> None:
    with pytest.raises(PlatformError, match="option 'size' is for platforms opened by name"):
        openamp.open(LoopbackPlatform(), size=0x10000)
    assert openamp.open(LoopbackPlatform(), acknowledge=False).state is openamp.State.OFFLINE
