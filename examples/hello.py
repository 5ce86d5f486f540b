"""Ten lines: boot, say hello, shut down."""

import openamp
from openamp import images

with openamp.open("emulated", board="stm32mp157") as rproc:
    rproc.boot(images.path("echo", "stm32mp157"))
    with rproc.create_endpoint("rpmsg-openamp-demo-channel") as ept:
        ept.send(b"hello")
        print(ept.receive(timeout=1.0))
