/*
 * What the shared object adds to the library; made to be called through ctypes: pointers, integers and nothing else.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef NATIVE_H
#define NATIVE_H

#include "rpmsg.h"

#define NATIVE_MAX_SERVICES 16
#define NATIVE_SHUTDOWN_MESSAGE 0xEF56A55Au

struct native_memory {
    struct memory_window windows[2];
    struct shared_memory shared;
};

struct native_queue {
    struct native_memory memory;
    struct virtqueue queue;
};

/* Lets the host run; 0: there is nothing to wait for. */
typedef int native_wait(void);

/* A message for a service came. */
typedef void native_callback(const void *data, uint32_t len, uint32_t src);

struct native_service {
    struct rpmsg_endpoint endpoint;
    char name[RPMSG_NAME_SIZE + 1];
    native_callback *callback; /* NULL: echo */
    int result;                /* of the creation, then of the last echo */
    bool shut_down;
};

struct native_remote {
    struct native_memory memory;
    volatile struct rsc_vdev *vdev;
    struct rpmsg_device device;
    native_wait *wait;
    unsigned kicks[2];
    struct native_service *services[NATIVE_MAX_SERVICES];
};

/* A queue whose ring lies at device address `ring`, in memory at `base` that begins with device address `da`. */
struct native_queue *native_queue_new(void *base, uint64_t da, size_t size, uint64_t ring, unsigned num, size_t align);
void native_queue_free(struct native_queue *self);
const char *native_queue_fault(const struct native_queue *self); /* NULL: none */
int native_queue_pop(struct native_queue *self, struct vq_buffer *buffer);
void native_queue_push(struct native_queue *self, uint16_t head, uint32_t written);
int native_queue_kick_wanted(struct native_queue *self);
void native_queue_disable(struct native_queue *self);
int native_queue_enable(struct native_queue *self);

/* A remote whose vdev entry of the live resource table lies at device address `vdev`. `wait` may be NULL. */
struct native_remote *native_remote_new(void *base, uint64_t da, size_t size, uint64_t vdev, native_wait *wait);
int native_remote_start(struct native_remote *self); /* 0: no DRIVER_OK yet, 1: started, -1: see the fault */
void native_remote_free(struct native_remote *self);
int native_remote_poll(struct native_remote *self);
void native_remote_flush(struct native_remote *self);
unsigned native_remote_take_kicks(struct native_remote *self, unsigned vring); /* since the last call */
const char *native_remote_fault(const struct native_remote *self);
uint32_t native_remote_count(const struct native_remote *self, int what); /* 0 received, 1 sent, 2 dropped */

/* A service that echoes, or calls back; it takes note of the shutdown message. Lives as long as its remote. */
struct native_service *native_service_new(struct native_remote *remote, const char *name, uint32_t addr,
                                          native_callback *callback);
void native_service_destroy(struct native_service *self);
int native_service_send(struct native_service *self, uint32_t dst, const void *data, uint32_t len);
uint32_t native_service_addr(const struct native_service *self);
uint32_t native_service_dst(const struct native_service *self);
int native_service_result(const struct native_service *self);
int native_service_shut_down(const struct native_service *self);

#endif
