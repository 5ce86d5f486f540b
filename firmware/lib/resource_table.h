/*
 * The resource table: what the firmware asks the host for, and where the host writes its answers.
 *
 * The structures are those that the Linux kernel and OpenAMP share. All fields are little-endian, which is the byte
 * order of every processor this library is built for.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef RESOURCE_TABLE_H
#define RESOURCE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define RSC_CARVEOUT 0u
#define RSC_DEVMEM 1u
#define RSC_TRACE 2u
#define RSC_VDEV 3u

#define RSC_ADDR_ANY 0xFFFFFFFFu   /* the host chooses the address and writes it back */
#define RSC_NOTIFY_ANY 0xFFFFFFFFu /* the host chooses the notification id and writes it back */

#define VIRTIO_ID_RPMSG 7u
#define VIRTIO_RPMSG_F_NS 0x1u /* the device announces its services */

#define VIRTIO_STATUS_DRIVER_OK 0x04u
#define VIRTIO_STATUS_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED 0x80u

struct rsc_header {
    uint32_t ver;
    uint32_t num;
    uint32_t reserved[2];
};

struct rsc_carveout {
    uint32_t type; /* RSC_CARVEOUT */
    uint32_t da;
    uint32_t pa;
    uint32_t len;
    uint32_t flags;
    uint32_t reserved;
    char name[32];
};

struct rsc_trace {
    uint32_t type; /* RSC_TRACE */
    uint32_t da;
    uint32_t len;
    uint32_t reserved;
    char name[32];
};

struct rsc_vring {
    uint32_t da;
    uint32_t align;
    uint32_t num;
    uint32_t notifyid;
    uint32_t pa;
};

struct rsc_vdev {
    uint32_t type; /* RSC_VDEV */
    uint32_t id;
    uint32_t notifyid;
    uint32_t dfeatures;
    uint32_t gfeatures;
    uint32_t config_len;
    uint8_t status;
    uint8_t num_of_vrings;
    uint8_t reserved[2];
    struct rsc_vring vring[2]; /* 0: remote to host, 1: host to remote */
};

_Static_assert(sizeof(struct rsc_header) == 16, "resource table header");
_Static_assert(sizeof(struct rsc_carveout) == 56, "carve-out entry");
_Static_assert(sizeof(struct rsc_trace) == 48, "trace entry");
_Static_assert(sizeof(struct rsc_vdev) == 28 + 2 * 20, "vdev entry");

/* Puts a table where the host finds it; the host changes it, so the compiler must assume nothing. */
#define RESOURCE_TABLE __attribute__((section(".resource_table"), used))

#define RSC_HEADER_INIT(entries) {.ver = 1, .num = (entries)}

#define RSC_CARVEOUT_INIT(address, length, text) {.type = RSC_CARVEOUT, .da = (address), .len = (length), .name = text}

#define RSC_TRACE_INIT(address, length, text) {.type = RSC_TRACE, .da = (address), .len = (length), .name = text}

/* One RPMsg device. Sixteen 512-byte buffers a direction fit the 16 KiB that real device trees usually reserve. */
#define RSC_RPMSG_INIT(buffers, alignment)                                                                             \
    {                                                                                                                  \
        .type = RSC_VDEV, .id = VIRTIO_ID_RPMSG, .dfeatures = VIRTIO_RPMSG_F_NS, .num_of_vrings = 2, .vring = {        \
            {.da = RSC_ADDR_ANY, .align = (alignment), .num = (buffers), .notifyid = 0},                               \
            {.da = RSC_ADDR_ANY, .align = (alignment), .num = (buffers), .notifyid = 1},                               \
        }                                                                                                              \
    }

#endif
