/*
 * The OpenAMP matrix multiplication sample: a message holds two matrices, the answer their product.
 *
 * The product is put together in a carve-out that the host places, and in memory of our own where the host placed none.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "remote.h"
#include "string.h"

#define MAX_SIZE 6

struct matrix {
    uint32_t size;
    uint32_t elements[MAX_SIZE][MAX_SIZE];
};

RESOURCE_TABLE const struct table {
    struct rsc_header header;
    uint32_t offset[3];
    struct rsc_carveout scratch;
    struct rsc_vdev vdev;
    struct rsc_trace trace;
} resource_table = {
    .header = RSC_HEADER_INIT(3),
    .offset = {offsetof(struct table, scratch), offsetof(struct table, vdev), offsetof(struct table, trace)},
    .scratch = RSC_CARVEOUT_INIT(RSC_ADDR_ANY, 0x400, "matrix-scratch"),
    .vdev = REMOTE_VDEV_INIT,
    .trace = REMOTE_TRACE_INIT,
};

static struct rpmsg_endpoint endpoint;
static struct matrix own_product;
static struct matrix *product;

static struct matrix *find_scratch(void)
{
    volatile struct rsc_carveout *carveout = remote_resource(RSC_CARVEOUT, 0);
    struct matrix *found = NULL;

    if (carveout->da != RSC_ADDR_ANY && carveout->da % 4 == 0 && carveout->len >= sizeof(*found))
        found = remote_memory(carveout->da, sizeof(*found));
    if (found == NULL)
        return &own_product;
    trace("matrix: carve-out at %x", (unsigned)carveout->da);
    return found;
}

static void multiply(const struct matrix *left, const struct matrix *right)
{
    memset(product, 0, sizeof(*product));
    product->size = left->size;
    for (uint32_t row = 0; row < left->size; row++) {
        for (uint32_t column = 0; column < left->size; column++) {
            uint32_t sum = 0;

            for (uint32_t i = 0; i < left->size; i++)
                sum += left->elements[row][i] * right->elements[i][column];
            product->elements[row][column] = sum;
        }
    }
}

static void on_message(struct rpmsg_endpoint *self, const void *data, uint32_t len, uint32_t src)
{
    static struct matrix factors[2]; /* a copy: the host may change its buffer while we use it */

    if (remote_is_shutdown(data, len)) {
        trace("matrix: shutdown message from address %u", (unsigned)src);
        remote_stop();
        return;
    }
    if (len != sizeof(factors)) {
        trace("matrix: a message of %u bytes is no pair of matrices", (unsigned)len);
        return;
    }
    memcpy(factors, data, sizeof(factors));
    if (factors[0].size > MAX_SIZE || factors[0].size != factors[1].size) {
        trace("matrix: cannot multiply sizes %u and %u", (unsigned)factors[0].size, (unsigned)factors[1].size);
        return;
    }
    multiply(&factors[0], &factors[1]);
    if (rpmsg_send_to(self, src, product, sizeof(*product)) != RPMSG_OK)
        trace("matrix: the answer for address %u was not sent", (unsigned)src);
}

int main(void)
{
    trace("matrix: started");
    remote_start();
    product = find_scratch();
    if (rpmsg_create(&remote, &endpoint, "rpmsg-openamp-demo-channel", RPMSG_ADDR_ANY, on_message) == RPMSG_OK)
        trace("matrix: announced rpmsg-openamp-demo-channel at address %u", (unsigned)endpoint.addr);
    remote_run();
    return 0;
}
