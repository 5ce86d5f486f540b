/*
 * The device of tests/support/queue_peer.py in C, on the firmware's own virtqueue: answers each number that arrives on
 * h2r with its square on r2h, and sleeps on an eventfd when there is nothing to do.
 *
 * Run as virtqueue_peer MEMFD OWN_BELL OTHER_BELL NUM SEED.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virtqueue.h"

enum { ALIGN = 64, SLOT = 64, PAGE = 4096 };

static int own, other;
static uint32_t seed;

/* Returns true `percent` times in a hundred. */
static bool often(unsigned percent)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % 100 < percent;
}

static void flush(struct virtqueue *r2h, struct virtqueue *h2r)
{
    uint64_t one = 1;
    bool wanted = vq_kick_wanted(r2h);

    if (vq_kick_wanted(h2r) || wanted)
        if (write(other, &one, sizeof one) != sizeof one)
            exit(3);
}

static void take(struct virtqueue *queue, struct vq_buffer *buffer, struct virtqueue *r2h, struct virtqueue *h2r)
{
    uint64_t count;

    for (;;) {
        int taken = vq_pop(queue, buffer);

        if (taken == 1)
            return;
        if (taken < 0) {
            fprintf(stderr, "%s\n", queue->fault);
            exit(2);
        }
        flush(r2h, h2r);
        if (often(90) && vq_enable_notifications(queue))
            continue;
        if (!vq_enable_notifications(queue) && read(own, &count, sizeof count) != sizeof count)
            exit(3);
        if (often(80))
            vq_disable_notifications(queue);
    }
}

int main(int argc, char **argv)
{
    struct virtqueue r2h, h2r;
    struct vq_buffer request, answer;
    unsigned num;
    size_t ring, size;
    uint64_t number;

    if (argc != 6)
        return 1;
    own = atoi(argv[2]);
    other = atoi(argv[3]);
    num = (unsigned)atoi(argv[4]);
    seed = (uint32_t)atoi(argv[5]);
    ring = (vring_size(num, ALIGN) + PAGE - 1) / PAGE * PAGE;
    size = 2 * ring + 2 * num * SLOT;
    struct memory_window windows[] = {{0, size, NULL}, {0}};
    struct shared_memory memory = {windows};
    windows[0].base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
    if (windows[0].base == MAP_FAILED || !vq_init(&r2h, &memory, 0, num, ALIGN)
        || !vq_init(&h2r, &memory, ring, num, ALIGN))
        return 1;
    do {
        take(&h2r, &request, &r2h, &h2r);
        memcpy(&number, request.data, sizeof number);
        take(&r2h, &answer, &r2h, &h2r);
        memcpy(answer.data, &(uint64_t){number * number}, sizeof number);
        vq_push(&r2h, answer.head, sizeof number);
        vq_push(&h2r, request.head, request.len);
        if (often(30))
            flush(&r2h, &h2r);
    } while (number != UINT64_MAX);
    flush(&r2h, &h2r);
    return 0;
}
