"""Files and a console across RPMsg: the remote calls open, read, write and close, and the host carries them out.

The host's side is `RpcServer`, with a root folder that nothing leaves; the remote's side is `RpcClient`, with file
objects. Both speak OpenAMP's `rpmsg-rpc` protocol and the older one of its proxy, "retarget". See `wire`.
"""

from __future__ import annotations

from openamp.rpc.client import RpcClient, RpcFile
from openamp.rpc.flags import FlagValues
from openamp.rpc.sandbox import Sandbox
from openamp.rpc.server import RpcServer, RpcStatistics
from openamp.rpc.wire import RETARGET, RPC, Call, Dialect

__all__ = [
    "RETARGET",
    "RPC",
    "Call",
    "Dialect",
    "FlagValues",
    "RpcClient",
    "RpcFile",
    "RpcServer",
    "RpcStatistics",
    "Sandbox",
]
