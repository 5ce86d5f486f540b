/*
 * The device side of a split virtqueue (virtio 1.2, clause 2.7, legacy layout).
 *
 * The host is the driver: it owns the descriptor table and the available ring, this side owns the used ring. What the
 * host wrote is not trusted: indices, heads, flags and addresses are read once and checked before they are used.
 * This side's own bookkeeping is in struct virtqueue, never in shared memory.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VRING_DESC_F_NEXT 1u
#define VRING_DESC_F_WRITE 2u
#define VRING_DESC_F_INDIRECT 4u
#define VRING_AVAIL_F_NO_INTERRUPT 1u
#define VRING_USED_F_NO_NOTIFY 1u

struct vring_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

struct vring_avail {
    uint16_t flags;
    uint16_t idx;
    uint16_t ring[];
};

struct vring_used_elem {
    uint32_t id;
    uint32_t len;
};

struct vring_used {
    uint16_t flags;
    uint16_t idx;
    struct vring_used_elem ring[];
};

/* A range of device addresses that both sides see, and where this side sees it. */
struct memory_window {
    uintptr_t da;
    uintptr_t size;
    uint8_t *base;
};

/* The windows in which rings and buffers may lie; ends with a window of size 0. */
struct shared_memory {
    const struct memory_window *windows;
};

/* One buffer that the host made available. */
struct vq_buffer {
    uint8_t *data;  /* inside a window for all of len */
    uint32_t len;   /* of the buffer, not of what is in it */
    uint16_t head;  /* to be given back with vq_push */
    uint16_t flags; /* VRING_DESC_F_WRITE: this side may write it */
};

struct virtqueue {
    const volatile struct vring_desc *desc;
    const volatile struct vring_avail *avail;
    volatile struct vring_used *used;
    const struct shared_memory *memory;
    uint16_t num;
    uint16_t next_avail; /* runs freely */
    uint16_t next_used;  /* runs freely */
    bool unsignalled;    /* something was pushed since the last vq_kick_wanted */
    const char *fault;   /* why the queue is broken; it stays broken until vq_init */
};

/* Returns where this side sees `len` bytes at device address `da`, or NULL when they are not wholly in one window. */
void *shared_pointer(const struct shared_memory *memory, uint64_t da, size_t len);

/* Returns the bytes a ring takes. */
size_t vring_size(unsigned num, size_t align);

/* Sets up a fresh queue over a ring at `da`; false, with queue->fault set, when the ring cannot be used. */
bool vq_init(struct virtqueue *queue, const struct shared_memory *memory, uint64_t da, unsigned num, size_t align);

/* Takes the next available buffer: 1 with *buffer filled, 0 when there is none, -1 when the queue is broken. */
int vq_pop(struct virtqueue *queue, struct vq_buffer *buffer);

/* Gives a buffer back, of which `written` bytes were filled. The host sees it at once, but is not told. */
void vq_push(struct virtqueue *queue, uint16_t head, uint32_t written);

/* Returns whether the host wants to be told of what was pushed since the last call. */
bool vq_kick_wanted(struct virtqueue *queue);

/* Asks the host not to notify this side of new buffers; a hint only. */
void vq_disable_notifications(struct virtqueue *queue);

/* Asks for notifications again; returns true when buffers came meanwhile, which nobody will notify of. */
bool vq_enable_notifications(struct virtqueue *queue);

#endif
