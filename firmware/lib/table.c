/*
 * The resource table of an application that defines none.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "remote.h"

RESOURCE_TABLE const struct table {
    struct rsc_header header;
    uint32_t offset[2];
    struct rsc_vdev vdev;
    struct rsc_trace trace;
} resource_table = {
    .header = RSC_HEADER_INIT(2),
    .offset = {offsetof(struct table, vdev), offsetof(struct table, trace)},
    .vdev = REMOTE_VDEV_INIT,
    .trace = REMOTE_TRACE_INIT,
};
