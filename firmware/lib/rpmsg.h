/*
 * RPMsg, the remote's (virtio device's) side.
 *
 * The device and its endpoints are the caller's memory; there is no heap. Everything runs in the caller's context:
 * rpmsg_poll() hands each message to its endpoint's callback, which may send, create and destroy endpoints.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef RPMSG_H
#define RPMSG_H

#include <stdbool.h>
#include <stdint.h>

#include "resource_table.h"
#include "virtqueue.h"

#define RPMSG_ADDR_ANY 0xFFFFFFFFu
#define RPMSG_NS_ADDR 53u
#define RPMSG_FIRST_DYNAMIC_ADDR 1024u
#define RPMSG_NAME_SIZE 32u

enum rpmsg_error {
    RPMSG_OK = 0,
    RPMSG_ERR_NO_BUFFER = -1, /* the host holds all buffers and there is no way to wait */
    RPMSG_ERR_TOO_LONG = -2,  /* the message does not fit the host's buffer */
    RPMSG_ERR_UNBOUND = -3,   /* the endpoint has no destination yet */
    RPMSG_ERR_ADDR_IN_USE = -4,
    RPMSG_ERR_BROKEN = -5, /* the host broke a ring, or took the device away */
};

struct rpmsg_header {
    uint32_t src;
    uint32_t dst;
    uint32_t reserved;
    uint16_t len;
    uint16_t flags;
};

struct rpmsg_name_service {
    char name[RPMSG_NAME_SIZE]; /* ends at its first NUL, or fills all bytes */
    uint32_t addr;
    uint32_t flags; /* RPMSG_NS_DESTROY */
};

#define RPMSG_NS_DESTROY 0x1u

struct rpmsg_device;
struct rpmsg_endpoint;

/* A message came; `data` is the host's buffer and is given back on return. */
typedef void rpmsg_callback(struct rpmsg_endpoint *endpoint, const void *data, uint32_t len, uint32_t src);

struct rpmsg_endpoint {
    struct rpmsg_device *device;
    struct rpmsg_endpoint *next;
    const char *name; /* NULL: not announced */
    uint32_t addr;
    uint32_t dst; /* RPMSG_ADDR_ANY until bound */
    rpmsg_callback *callback;
    /* Called when dst changes, also back to RPMSG_ADDR_ANY; may be NULL. Set it after rpmsg_create(). May destroy its
       own endpoint, no other. */
    void (*on_bound)(struct rpmsg_endpoint *endpoint);
    void *context; /* the application's own */
};

/* What the device needs of the world around it. */
struct rpmsg_port {
    /* Signals the host: something was done on vring 0 or 1. */
    void (*kick)(void *context, unsigned vring);
    /* Waits until the host may have done something; false when there is nothing to wait for. NULL: never waits. */
    bool (*wait)(void *context);
    void *context;
};

struct rpmsg_device {
    volatile struct rsc_vdev *vdev; /* in the live resource table */
    struct rpmsg_port port;
    struct virtqueue r2h; /* vring 0 */
    struct virtqueue h2r; /* vring 1 */
    struct rpmsg_endpoint *endpoints;
    struct vq_buffer spare; /* a transmit buffer taken but not yet sent; data is NULL when there is none */
    bool name_service;
    bool polling;
    const char *fault; /* why the device is broken */
    uint32_t received;
    uint32_t sent;
    uint32_t dropped; /* messages that were malformed or had no endpoint */
};

/*
 * Sets up the device after the host said DRIVER_OK, over the rings that the live table names. False, with
 * device->fault set and FAILED in the status, when the rings cannot be used.
 */
bool rpmsg_init(struct rpmsg_device *device, volatile struct rsc_vdev *vdev, const struct shared_memory *memory,
                const struct rpmsg_port *port);

/*
 * Handles what the host sent. Returns 0 when nothing is left (the host will notify of what comes next), 1 when more
 * may be there, RPMSG_ERR_BROKEN when the device cannot go on (NEEDS_RESET is then in the status).
 */
int rpmsg_poll(struct rpmsg_device *device);

/*
 * Adds an endpoint. `addr` RPMSG_ADDR_ANY takes a free one. With a name, and the name service negotiated, the host is
 * told; this waits for a buffer.
 */
int rpmsg_create(struct rpmsg_device *device, struct rpmsg_endpoint *endpoint, const char *name, uint32_t addr,
                 rpmsg_callback *callback);

/* Removes an endpoint and tells the host if it was announced. Harmless when repeated. */
void rpmsg_destroy(struct rpmsg_endpoint *endpoint);

/* Sends to the endpoint's destination. Waits while the host holds all buffers; nothing is received meanwhile. */
int rpmsg_send(struct rpmsg_endpoint *endpoint, const void *data, uint32_t len);

/* Sends to any address, such as the `src` of a callback. */
int rpmsg_send_to(struct rpmsg_endpoint *endpoint, uint32_t dst, const void *data, uint32_t len);

/*
 * The no-copy form: takes a transmit buffer and returns where its payload goes, *capacity being its room; NULL when
 * there is none (without `wait`) or the device is broken. Only one is out at a time: asking again returns the same.
 */
void *rpmsg_reserve(struct rpmsg_device *device, uint32_t *capacity, bool wait);

/* Sends the first `len` bytes of the reserved buffer. */
int rpmsg_commit(struct rpmsg_endpoint *endpoint, uint32_t dst, uint32_t len);

/* Tells the host of everything done so far; sending outside a callback does it by itself. */
void rpmsg_flush(struct rpmsg_device *device);

#endif
