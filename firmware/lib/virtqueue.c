/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtqueue.h"

#include "barrier.h"

void *shared_pointer(const struct shared_memory *memory, uint64_t da, size_t len)
{
    if (da > UINTPTR_MAX)
        return NULL;
    for (const struct memory_window *window = memory->windows; window->size != 0; window++) {
        uintptr_t offset = (uintptr_t)da - window->da; /* huge when da lies below the window */

        if (offset < window->size && len <= window->size - offset)
            return window->base + offset;
    }
    return NULL;
}

static size_t used_offset(unsigned num, size_t align)
{
    size_t end = sizeof(struct vring_desc) * num + sizeof(uint16_t) * (3 + num);

    return (end + align - 1) & ~(align - 1);
}

size_t vring_size(unsigned num, size_t align)
{
    return used_offset(num, align) + sizeof(uint16_t) * 3 + sizeof(struct vring_used_elem) * num;
}

static bool broken(struct virtqueue *queue, const char *why)
{
    queue->fault = why;
    return false;
}

bool vq_init(struct virtqueue *queue, const struct shared_memory *memory, uint64_t da, unsigned num, size_t align)
{
    uint8_t *ring;

    *queue = (struct virtqueue){.memory = memory};
    if (num == 0 || num > 32768 || (num & (num - 1)) != 0)
        return broken(queue, "the number of buffers is no power of two from 1 to 32768");
    if (align < 4 || align > 65536 || (align & (align - 1)) != 0)
        return broken(queue, "the ring's alignment is no power of two from 4 to 65536");
    ring = shared_pointer(memory, da, vring_size(num, align));
    if (ring == NULL)
        return broken(queue, "the ring lies outside the shared memory");
    if (((uintptr_t)ring & 15) != 0)
        return broken(queue, "the ring's address is no multiple of 16");
    queue->desc = (const volatile struct vring_desc *)(void *)ring;
    queue->avail = (const volatile struct vring_avail *)(void *)(ring + sizeof(struct vring_desc) * num);
    queue->used = (volatile struct vring_used *)(void *)(ring + used_offset(num, align));
    queue->num = (uint16_t)num;
    return true;
}

int vq_pop(struct virtqueue *queue, struct vq_buffer *buffer)
{
    uint16_t ahead, head;
    const volatile struct vring_desc *desc;

    if (queue->fault != NULL)
        return -1;
    ahead = (uint16_t)(queue->avail->idx - queue->next_avail);
    if (ahead == 0)
        return 0;
    if (ahead > queue->num) {
        queue->fault = "the available index jumped";
        return -1;
    }
    barrier_load(); /* the load of avail.idx before the loads of avail.ring[], of the descriptor and of the buffer */
    head = queue->avail->ring[queue->next_avail & (queue->num - 1)];
    if (head >= queue->num) {
        queue->fault = "a head in the available ring is out of range";
        return -1;
    }
    desc = &queue->desc[head];
    buffer->head = head;
    buffer->len = desc->len;
    buffer->flags = desc->flags;
    if ((buffer->flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)) != 0) {
        queue->fault = "a descriptor is chained or indirect";
        return -1;
    }
    buffer->data = shared_pointer(queue->memory, desc->addr, buffer->len);
    if (buffer->data == NULL) {
        queue->fault = "a buffer lies outside the shared memory";
        return -1;
    }
    queue->next_avail++;
    return 1;
}

void vq_push(struct virtqueue *queue, uint16_t head, uint32_t written)
{
    volatile struct vring_used_elem *element = &queue->used->ring[queue->next_used & (queue->num - 1)];

    element->id = head;
    element->len = written;
    barrier_store(); /* the stores to the buffer and to used.ring[] before the store of used.idx */
    queue->used->idx = ++queue->next_used;
    queue->unsignalled = true;
}

bool vq_kick_wanted(struct virtqueue *queue)
{
    if (!queue->unsignalled)
        return false;
    queue->unsignalled = false;
    barrier_full(); /* the store of used.idx before the load of avail.flags; the host does the mirror image of this */
    return (queue->avail->flags & VRING_AVAIL_F_NO_INTERRUPT) == 0;
}

void vq_disable_notifications(struct virtqueue *queue)
{
    queue->used->flags = VRING_USED_F_NO_NOTIFY;
}

bool vq_enable_notifications(struct virtqueue *queue)
{
    queue->used->flags = 0;
    barrier_full(); /* the store of used.flags before the load of avail.idx; the host does the mirror image of this */
    return queue->avail->idx != queue->next_avail;
}
