/*
 * The library as a shared object for the machine it is built on: a C remote, or just a C queue, inside a test's
 * process. The test is the host and owns the memory; kicks are counted instead of sent.
 *
 * Besides what is declared here, everything in virtqueue.h and rpmsg.h is exported.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <stdlib.h>

#include "native.h"
#include "string.h"

static struct shared_memory *share(struct native_memory *memory, void *base, uint64_t da, size_t size)
{
    memory->windows[0] = (struct memory_window){(uintptr_t)da, size, base};
    memory->windows[1] = (struct memory_window){0, 0, NULL};
    memory->shared.windows = memory->windows;
    return &memory->shared;
}

/* ---- a queue by itself ---- */

struct native_queue *native_queue_new(void *base, uint64_t da, size_t size, uint64_t ring, unsigned num, size_t align)
{
    struct native_queue *self = calloc(1, sizeof(*self));

    if (self != NULL)
        (void)vq_init(&self->queue, share(&self->memory, base, da, size), ring, num, align);
    return self;
}

void native_queue_free(struct native_queue *self)
{
    free(self);
}

const char *native_queue_fault(const struct native_queue *self)
{
    return self->queue.fault;
}

int native_queue_pop(struct native_queue *self, struct vq_buffer *buffer)
{
    return vq_pop(&self->queue, buffer);
}

void native_queue_push(struct native_queue *self, uint16_t head, uint32_t written)
{
    vq_push(&self->queue, head, written);
}

int native_queue_kick_wanted(struct native_queue *self)
{
    return vq_kick_wanted(&self->queue);
}

void native_queue_disable(struct native_queue *self)
{
    vq_disable_notifications(&self->queue);
}

int native_queue_enable(struct native_queue *self)
{
    return vq_enable_notifications(&self->queue);
}

/* ---- a whole remote ---- */

static void kick(void *context, unsigned vring)
{
    ((struct native_remote *)context)->kicks[vring]++;
}

static bool wait(void *context)
{
    const struct native_remote *self = context;

    return self->wait() != 0;
}

struct native_remote *native_remote_new(void *base, uint64_t da, size_t size, uint64_t vdev, native_wait *wait_for_host)
{
    struct native_remote *self = calloc(1, sizeof(*self));

    if (self != NULL) {
        (void)share(&self->memory, base, da, size);
        self->vdev = shared_pointer(&self->memory.shared, vdev, sizeof(struct rsc_vdev));
        self->wait = wait_for_host;
    }
    return self;
}

int native_remote_start(struct native_remote *self)
{
    const struct rpmsg_port port = {.kick = kick, .wait = self->wait != NULL ? wait : NULL, .context = self};

    if (self->vdev == NULL || (self->vdev->status & VIRTIO_STATUS_DRIVER_OK) == 0)
        return 0;
    return rpmsg_init(&self->device, self->vdev, &self->memory.shared, &port) ? 1 : -1;
}

void native_remote_free(struct native_remote *self)
{
    for (unsigned i = 0; i < NATIVE_MAX_SERVICES; i++)
        free(self->services[i]);
    free(self);
}

int native_remote_poll(struct native_remote *self)
{
    return rpmsg_poll(&self->device);
}

void native_remote_flush(struct native_remote *self)
{
    rpmsg_flush(&self->device);
}

unsigned native_remote_take_kicks(struct native_remote *self, unsigned vring)
{
    unsigned kicks = self->kicks[vring];

    self->kicks[vring] = 0;
    return kicks;
}

const char *native_remote_fault(const struct native_remote *self)
{
    return self->device.fault;
}

uint32_t native_remote_count(const struct native_remote *self, int what)
{
    return what == 0 ? self->device.received : what == 1 ? self->device.sent : self->device.dropped;
}

/* ---- services ---- */

static void on_message(struct rpmsg_endpoint *endpoint, const void *data, uint32_t len, uint32_t src)
{
    struct native_service *service = endpoint->context;
    uint32_t code = 0;

    if (len == sizeof(code))
        memcpy(&code, data, sizeof(code));
    if (code == NATIVE_SHUTDOWN_MESSAGE)
        service->shut_down = true;
    else if (service->callback != NULL)
        service->callback(data, len, src);
    else
        service->result = rpmsg_send_to(endpoint, src, data, len);
}

struct native_service *native_service_new(struct native_remote *remote, const char *name, uint32_t addr,
                                          native_callback *callback)
{
    struct native_service *self;
    unsigned slot = 0;

    while (slot < NATIVE_MAX_SERVICES && remote->services[slot] != NULL)
        slot++;
    self = slot < NATIVE_MAX_SERVICES ? calloc(1, sizeof(*self)) : NULL;
    if (self == NULL)
        return NULL;
    remote->services[slot] = self;
    for (unsigned i = 0; name != NULL && i < RPMSG_NAME_SIZE && name[i] != '\0'; i++)
        self->name[i] = name[i];
    self->callback = callback;
    self->result = rpmsg_create(&remote->device, &self->endpoint, name != NULL ? self->name : NULL, addr, on_message);
    self->endpoint.context = self;
    return self;
}

void native_service_destroy(struct native_service *self)
{
    rpmsg_destroy(&self->endpoint);
}

int native_service_send(struct native_service *self, uint32_t dst, const void *data, uint32_t len)
{
    if (self->endpoint.device == NULL)
        return RPMSG_ERR_UNBOUND;
    return dst == RPMSG_ADDR_ANY ? rpmsg_send(&self->endpoint, data, len)
                                 : rpmsg_send_to(&self->endpoint, dst, data, len);
}

uint32_t native_service_addr(const struct native_service *self)
{
    return self->endpoint.addr;
}

uint32_t native_service_dst(const struct native_service *self)
{
    return self->endpoint.dst;
}

int native_service_result(const struct native_service *self)
{
    return self->result;
}

int native_service_shut_down(const struct native_service *self)
{
    return self->shut_down;
}
