/*
 * The OpenAMP echo sample: every message goes back to whoever sent it, until the shutdown message.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "remote.h"

static struct rpmsg_endpoint endpoint;

static void on_bound(struct rpmsg_endpoint *self)
{
    if (self->dst != RPMSG_ADDR_ANY)
        trace("echo: bound to address %u", (unsigned)self->dst);
    else
        trace("echo: the host's endpoint is gone");
}

static void on_message(struct rpmsg_endpoint *self, const void *data, uint32_t len, uint32_t src)
{
    if (remote_is_shutdown(data, len)) {
        trace("echo: shutdown message from address %u", (unsigned)src);
        remote_stop();
    } else if (rpmsg_send_to(self, src, data, len) != RPMSG_OK) {
        trace("echo: %u bytes for address %u not sent", (unsigned)len, (unsigned)src);
    }
}

int main(void)
{
    trace("echo: started");
    remote_start();
    if (rpmsg_create(&remote, &endpoint, "rpmsg-openamp-demo-channel", RPMSG_ADDR_ANY, on_message) == RPMSG_OK) {
        endpoint.on_bound = on_bound;
        trace("echo: announced rpmsg-openamp-demo-channel at address %u", (unsigned)endpoint.addr);
    }
    remote_run();
    return 0;
}
