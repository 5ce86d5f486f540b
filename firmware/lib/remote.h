/*
 * The whole of a remote context: start-up, the wait for the host, the message loop, the end.
 *
 *     int main(void)
 *     {
 *         static struct rpmsg_endpoint endpoint;
 *
 *         remote_start();
 *         rpmsg_create(&remote, &endpoint, "my-service", RPMSG_ADDR_ANY, on_message);
 *         remote_run();
 *         return 0;
 *     }
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef REMOTE_H
#define REMOTE_H

#include "cpu.h"
#include "resource_table.h"
#include "rpmsg.h"
#include "trace.h"

/*
 * An application that wants more than one RPMsg device and the trace buffer in its resource table defines its own,
 * named resource_table; the library's (table.c) is linked only when there is none.
 */
#define REMOTE_NUM_BUFFERS 16
#define REMOTE_RING_ALIGN 16
#define REMOTE_VDEV_INIT RSC_RPMSG_INIT(REMOTE_NUM_BUFFERS, REMOTE_RING_ALIGN)
#define REMOTE_TRACE_INIT RSC_TRACE_INIT(BOARD_TRACE_BASE, BOARD_TRACE_SIZE, "trace")

/* The 32-bit message with which the host of OpenAMP's sample applications ends them. */
#define REMOTE_SHUTDOWN_MESSAGE 0xEF56A55Au

/* The device; ready after remote_start(). */
extern struct rpmsg_device remote;

/* Waits for the host to say DRIVER_OK and sets up the device. */
void remote_start(void);

/* Handles messages until remote_stop(), or until the host asks for a shutdown through the mailbox. */
void remote_run(void);

/* Makes remote_run() return when the present callback has; for callbacks. */
void remote_stop(void);

/* Returns whether a message is the sample applications' shutdown message. */
bool remote_is_shutdown(const void *data, uint32_t len);

/* Returns the nth entry of a type in the live resource table, or NULL. */
volatile void *remote_resource(uint32_t type, unsigned nth);

/* Returns where `len` bytes at a device address are, or NULL when the host may not name them. */
void *remote_memory(uint32_t da, uint32_t len);

/* Called by the start-up code. Main's return destroys the endpoints that are left, tells the host and sleeps. */
__attribute__((noreturn)) void remote_boot(void);

int main(void);

#endif
