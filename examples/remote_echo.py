"""A remote as a process of its own: an echo service in ten lines.

Start it with `openamp.open("process").boot("examples/remote_echo.py")`, or by itself, for a host that calls
`openamp.open("process").boot()`.
"""

import openamp

with openamp.serve("process") as bus, bus.create_endpoint("rpmsg-openamp-demo-channel") as endpoint:
    for message in endpoint:
        endpoint.send(message)
