/*
 * Several services on one device, with interrupts taken:
 *
 * - rpmsg-openamp-demo-channel answers with what it got, and ends all on the shutdown message;
 * - rpmsg-client-sample is what Linux's sample driver of this name talks to: each message is answered;
 * - address 100, which is not announced, answers with the text in upper case.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "remote.h"

#define UPPER_ADDR 100u

static struct rpmsg_endpoint echo, client, upper;
static unsigned greetings;

static void on_echo(struct rpmsg_endpoint *self, const void *data, uint32_t len, uint32_t src)
{
    if (remote_is_shutdown(data, len)) {
        trace("services: shutdown message from address %u", (unsigned)src);
        remote_stop();
    } else {
        (void)rpmsg_send_to(self, src, data, len);
    }
}

static void on_client(struct rpmsg_endpoint *self, const void *data, uint32_t len, uint32_t src)
{
    if (++greetings == 1)
        trace("services: first message on rpmsg-client-sample, from address %u", (unsigned)src);
    (void)rpmsg_send_to(self, src, data, len);
}

static void on_upper(struct rpmsg_endpoint *self, const void *data, uint32_t len, uint32_t src)
{
    uint32_t capacity;
    const char *text = data;
    char *answer = rpmsg_reserve(self->device, &capacity, true);

    if (answer == NULL)
        return;
    if (len > capacity)
        len = capacity;
    for (uint32_t i = 0; i < len; i++)
        answer[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' + 'A' : text[i]);
    (void)rpmsg_commit(self, src, len);
}

static void create(struct rpmsg_endpoint *endpoint, const char *name, uint32_t addr, rpmsg_callback *callback)
{
    if (rpmsg_create(&remote, endpoint, name, addr, callback) == RPMSG_OK)
        trace("services: %s at address %u", name != NULL ? name : "not announced", (unsigned)endpoint->addr);
}

int main(void)
{
    cpu_restore(false); /* this application takes interrupts, the others only wake up by them */
    trace("services: started");
    remote_start();
    create(&echo, "rpmsg-openamp-demo-channel", RPMSG_ADDR_ANY, on_echo);
    create(&client, "rpmsg-client-sample", RPMSG_ADDR_ANY, on_client);
    create(&upper, NULL, UPPER_ADDR, on_upper);
    remote_run();
    return 0;
}
