"""A remote as a process of its own: an echo service in ten lines.

Start it with `openamp.open("process").boot("examples/remote_echo.py")`, or by itself, for a host that calls
`openamp.open("process").boot()`.
"""

import openamp

with openamp.serve("process") as bus:
    server = openamp.Server(bus)

    @server.service("rpmsg-openamp-demo-channel")
    def echo(message: bytes) -> bytes:
        return message

    server.serve_forever()
