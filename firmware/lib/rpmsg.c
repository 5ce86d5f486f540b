/* SPDX-License-Identifier: BSD-3-Clause */
#include "rpmsg.h"

#include "string.h"

_Static_assert(sizeof(struct rpmsg_header) == 16, "RPMsg header");
_Static_assert(sizeof(struct rpmsg_name_service) == 40, "name service message");

#define HEADER_SIZE ((uint32_t)sizeof(struct rpmsg_header))

/* Copies between two headers, one of which is in a buffer that the host need not have aligned. */
static void copy_header(void *to, const void *from)
{
    if ((((uintptr_t)to | (uintptr_t)from) & 3) == 0)
        memcpy(__builtin_assume_aligned(to, 4), __builtin_assume_aligned(from, 4), HEADER_SIZE);
    else
        (memcpy)(to, from, HEADER_SIZE);
}

static int fail(struct rpmsg_device *device, const char *why, uint8_t status)
{
    if (device->fault == NULL) {
        device->fault = why;
        device->vdev->status |= status;
    }
    return RPMSG_ERR_BROKEN;
}

static bool init_queue(struct rpmsg_device *device, struct virtqueue *queue, unsigned index,
                       const struct shared_memory *memory)
{
    volatile struct rsc_vring *vring = &device->vdev->vring[index];

    if (vring->da == RSC_ADDR_ANY)
        fail(device, "the host placed no ring", VIRTIO_STATUS_FAILED);
    else if (!vq_init(queue, memory, vring->da, vring->num, vring->align))
        fail(device, queue->fault, VIRTIO_STATUS_FAILED);
    return device->fault == NULL;
}

bool rpmsg_init(struct rpmsg_device *device, volatile struct rsc_vdev *vdev, const struct shared_memory *memory,
                const struct rpmsg_port *port)
{
    *device = (struct rpmsg_device){.vdev = vdev, .port = *port};
    if (!init_queue(device, &device->r2h, 0, memory) || !init_queue(device, &device->h2r, 1, memory))
        return false;
    device->name_service = (vdev->gfeatures & vdev->dfeatures & VIRTIO_RPMSG_F_NS) != 0;
    vq_disable_notifications(&device->r2h); /* returned buffers matter only to rpmsg_reserve() when it waits */
    return true;
}

void rpmsg_flush(struct rpmsg_device *device)
{
    if (vq_kick_wanted(&device->r2h))
        device->port.kick(device->port.context, 0);
    if (vq_kick_wanted(&device->h2r))
        device->port.kick(device->port.context, 1);
}

/* ---- sending ---- */

/* Waits once for the host to make a transmit buffer available; false when it is no use to try again. */
static bool wait_for_buffer(struct rpmsg_device *device)
{
    bool again = true;

    if (device->port.wait == NULL)
        return false;
    if (!vq_enable_notifications(&device->r2h)) {
        rpmsg_flush(device); /* the host cannot return what it was not told of */
        again = device->port.wait(device->port.context);
    }
    vq_disable_notifications(&device->r2h);
    return again;
}

void *rpmsg_reserve(struct rpmsg_device *device, uint32_t *capacity, bool wait)
{
    while (device->spare.data == NULL) {
        int result = device->fault != NULL ? -1 : vq_pop(&device->r2h, &device->spare);

        if (result == 0) {
            if (!wait || !wait_for_buffer(device))
                return NULL;
        } else if (result < 0) {
            device->spare.data = NULL;
            fail(device, device->r2h.fault, VIRTIO_STATUS_NEEDS_RESET);
            return NULL;
        } else if ((device->spare.flags & VRING_DESC_F_WRITE) == 0 || device->spare.len < HEADER_SIZE) {
            device->spare.data = NULL;
            fail(device, "a remote-to-host buffer is not writable or too small", VIRTIO_STATUS_NEEDS_RESET);
            return NULL;
        }
    }
    *capacity = device->spare.len - HEADER_SIZE;
    if (*capacity > UINT16_MAX) /* the header's length field has 16 bits */
        *capacity = UINT16_MAX;
    return device->spare.data + HEADER_SIZE;
}

static void commit(struct rpmsg_device *device, uint32_t src, uint32_t dst, uint32_t len)
{
    struct rpmsg_header header = {.src = src, .dst = dst, .reserved = 0, .len = (uint16_t)len, .flags = 0};

    copy_header(device->spare.data, &header);
    device->spare.data = NULL;
    device->sent++;
    /* The buffer's length, as on the other ring: a host of older OpenAMP posts the buffer again with this length. */
    vq_push(&device->r2h, device->spare.head, device->spare.len);
    if (!device->polling)
        rpmsg_flush(device);
}

static int send_message(struct rpmsg_device *device, uint32_t src, uint32_t dst, const void *data, uint32_t len)
{
    uint32_t capacity;
    void *payload = rpmsg_reserve(device, &capacity, true);

    if (payload == NULL)
        return device->fault != NULL ? RPMSG_ERR_BROKEN : RPMSG_ERR_NO_BUFFER;
    if (len > capacity)
        return RPMSG_ERR_TOO_LONG;
    memcpy(payload, data, len);
    commit(device, src, dst, len);
    return RPMSG_OK;
}

int rpmsg_commit(struct rpmsg_endpoint *endpoint, uint32_t dst, uint32_t len)
{
    struct rpmsg_device *device = endpoint->device;

    if (device->spare.data == NULL)
        return RPMSG_ERR_NO_BUFFER;
    if (dst == RPMSG_ADDR_ANY)
        return RPMSG_ERR_UNBOUND;
    if (len > device->spare.len - HEADER_SIZE || len > UINT16_MAX)
        return RPMSG_ERR_TOO_LONG;
    commit(device, endpoint->addr, dst, len);
    return RPMSG_OK;
}

int rpmsg_send_to(struct rpmsg_endpoint *endpoint, uint32_t dst, const void *data, uint32_t len)
{
    if (dst == RPMSG_ADDR_ANY)
        return RPMSG_ERR_UNBOUND;
    return send_message(endpoint->device, endpoint->addr, dst, data, len);
}

int rpmsg_send(struct rpmsg_endpoint *endpoint, const void *data, uint32_t len)
{
    return rpmsg_send_to(endpoint, endpoint->dst, data, len);
}

/* ---- endpoints ---- */

static struct rpmsg_endpoint *find(const struct rpmsg_device *device, uint32_t addr)
{
    struct rpmsg_endpoint *endpoint = device->endpoints;

    while (endpoint != NULL && endpoint->addr != addr)
        endpoint = endpoint->next;
    return endpoint;
}

static void bind(struct rpmsg_endpoint *endpoint, uint32_t dst)
{
    if (endpoint->dst == dst)
        return;
    endpoint->dst = dst;
    if (endpoint->on_bound != NULL)
        endpoint->on_bound(endpoint);
}

static int announce(struct rpmsg_endpoint *endpoint, uint32_t flags)
{
    struct rpmsg_name_service message = {.addr = endpoint->addr, .flags = flags};

    if (endpoint->name == NULL || !endpoint->device->name_service)
        return RPMSG_OK;
    for (unsigned i = 0; i < RPMSG_NAME_SIZE && endpoint->name[i] != '\0'; i++)
        message.name[i] = endpoint->name[i];
    return send_message(endpoint->device, endpoint->addr, RPMSG_NS_ADDR, &message, sizeof(message));
}

int rpmsg_create(struct rpmsg_device *device, struct rpmsg_endpoint *endpoint, const char *name, uint32_t addr,
                 rpmsg_callback *callback)
{
    if (device->fault != NULL)
        return RPMSG_ERR_BROKEN;
    if (addr == RPMSG_ADDR_ANY) {
        addr = RPMSG_FIRST_DYNAMIC_ADDR;
        while (find(device, addr) != NULL)
            addr++;
    } else if (find(device, addr) != NULL || addr == RPMSG_NS_ADDR) {
        return RPMSG_ERR_ADDR_IN_USE;
    }
    *endpoint = (struct rpmsg_endpoint){
        .device = device,
        .next = device->endpoints,
        .name = name,
        .addr = addr,
        .dst = RPMSG_ADDR_ANY,
        .callback = callback,
    };
    device->endpoints = endpoint;
    return announce(endpoint, 0);
}

void rpmsg_destroy(struct rpmsg_endpoint *endpoint)
{
    struct rpmsg_endpoint **link;

    if (endpoint->device == NULL)
        return;
    for (link = &endpoint->device->endpoints; *link != endpoint; link = &(*link)->next)
        ;
    *link = endpoint->next;
    announce(endpoint, RPMSG_NS_DESTROY);
    endpoint->device = NULL;
}

/* ---- receiving ---- */

static bool same_name(const char *ours, const char *theirs)
{
    for (unsigned i = 0; i < RPMSG_NAME_SIZE; i++) {
        if (ours[i] != theirs[i])
            return false;
        if (ours[i] == '\0')
            break;
    }
    return true;
}

/* The host's own announcements: its endpoint of a name that we serve came or went. */
static void handle_name_service(struct rpmsg_device *device, const uint8_t *data, uint32_t len)
{
    struct rpmsg_name_service message;
    struct rpmsg_endpoint *next;

    if (len < sizeof(message)) {
        device->dropped++;
        return;
    }
    memcpy(&message, data, sizeof(message)); /* once: the host could change it between a check and its use */
    for (struct rpmsg_endpoint *endpoint = device->endpoints; endpoint != NULL; endpoint = next) {
        next = endpoint->next; /* on_bound may destroy its endpoint */
        if (endpoint->name == NULL || !same_name(endpoint->name, message.name))
            continue;
        if ((message.flags & RPMSG_NS_DESTROY) == 0)
            bind(endpoint, message.addr);
        else if (endpoint->dst == message.addr)
            bind(endpoint, RPMSG_ADDR_ANY);
    }
}

static void dispatch(struct rpmsg_device *device, const struct vq_buffer *buffer)
{
    struct rpmsg_header header;
    struct rpmsg_endpoint *endpoint;
    const uint8_t *payload = buffer->data + HEADER_SIZE;

    if (buffer->len < HEADER_SIZE) {
        device->dropped++;
        return;
    }
    copy_header(&header, buffer->data); /* once: the host could change it between a check and its use */
    if (header.len > buffer->len - HEADER_SIZE) {
        device->dropped++;
        return;
    }
    if (header.dst == RPMSG_NS_ADDR && device->name_service) {
        handle_name_service(device, payload, header.len);
        return;
    }
    endpoint = find(device, header.dst);
    if (endpoint == NULL) {
        device->dropped++;
        return;
    }
    device->received++;
    if (endpoint->dst == RPMSG_ADDR_ANY) /* Linux sends no announcement: its first message binds */
        bind(endpoint, header.src);
    if (endpoint->device != NULL) /* on_bound may have destroyed it */
        endpoint->callback(endpoint, payload, header.len, header.src);
}

int rpmsg_poll(struct rpmsg_device *device)
{
    struct virtqueue *queue = &device->h2r;
    struct vq_buffer buffer;
    unsigned budget = queue->num; /* so that a host that never stops sending still gets its kicks */
    int result = 1;

    if (device->fault != NULL)
        return RPMSG_ERR_BROKEN;
    device->polling = true;
    vq_disable_notifications(queue);
    while (budget-- != 0) {
        int popped = vq_pop(queue, &buffer);

        if (popped > 0) {
            dispatch(device, &buffer);
            /* Nothing was written, but hosts of older OpenAMP take this for the size of the buffer they get back. */
            vq_push(queue, buffer.head, buffer.len);
        } else if (popped < 0) {
            result = fail(device, queue->fault, VIRTIO_STATUS_NEEDS_RESET);
            break;
        } else if (!vq_enable_notifications(queue)) {
            result = 0;
            break;
        } else {
            vq_disable_notifications(queue);
        }
    }
    device->polling = false;
    rpmsg_flush(device);
    return device->fault != NULL ? RPMSG_ERR_BROKEN : result;
}
