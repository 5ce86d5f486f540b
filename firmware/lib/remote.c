/* SPDX-License-Identifier: BSD-3-Clause */
#include "remote.h"

#include "barrier.h"
#include "mailbox.h"
#include "string.h"

/* Linker script. */
extern uint8_t resource_table_start[];
extern uint8_t data_start[], data_end[], data_load[], bss_start[], bss_end[];
extern char trace_start[];

struct rpmsg_device remote;

static bool stopping;

static const struct memory_window windows[] = {BOARD_MEMORY_WINDOWS, {0, 0, NULL}};
static const struct shared_memory memory = {windows};

volatile void *remote_resource(uint32_t type, unsigned nth)
{
    const struct rsc_header *header = (const struct rsc_header *)(void *)resource_table_start;
    const uint32_t *offset = (const uint32_t *)(header + 1);

    for (uint32_t i = 0; i < header->num; i++) {
        volatile uint32_t *entry = (volatile uint32_t *)(void *)(resource_table_start + offset[i]);

        if (*entry == type && nth-- == 0)
            return entry;
    }
    return NULL;
}

void *remote_memory(uint32_t da, uint32_t len)
{
    return shared_pointer(&memory, da, len);
}

/* Takes the mailbox's signals without an exception; for masked contexts in which only the mailbox interrupts. */
static void service_mailbox(void)
{
    unsigned irq = irq_claim();

    mailbox_poll();
    irq_complete(irq);
}

/*
 * Sleeps until the host signalled since the last call. No wake-up is lost: interrupts are masked from the check on,
 * and a masked interrupt that is pending ends or prevents the sleep.
 */
static void wait_for_host(void)
{
    bool masked = cpu_mask();

    if (!mailbox_take()) {
        cpu_sleep();
        if (masked)
            service_mailbox();
    }
    cpu_restore(masked); /* where interrupts are taken, the mailbox's is taken now */
    (void)mailbox_take(); /* the caller looks at the rings next, so whatever came until here is seen */
}

static bool driver_ok(const volatile struct rsc_vdev *vdev)
{
    return (vdev->status & VIRTIO_STATUS_DRIVER_OK) != 0;
}

static void port_kick(void *context, unsigned vring)
{
    bool masked = cpu_mask();

    (void)context;
    mailbox_kick(vring);
    cpu_restore(masked);
}

static bool port_wait(void *context)
{
    (void)context;
    wait_for_host();
    return driver_ok(remote.vdev) && !mailbox_shutdown_requested();
}

void remote_start(void)
{
    static const struct rpmsg_port port = {.kick = port_kick, .wait = port_wait};
    volatile struct rsc_vdev *vdev = remote_resource(RSC_VDEV, 0);
    bool masked = cpu_mask();

    mailbox_init();
    if (!driver_ok(vdev)) {
        trace("waiting for the host");
        tick_start(); /* not every host signals after it set the status */
        do {
            cpu_sleep();
            tick_acknowledge();
            service_mailbox();
        } while (!driver_ok(vdev));
        tick_stop();
    }
    barrier_load(); /* the load of the status before the loads of the ring addresses and features */
    cpu_restore(masked);
    if (!rpmsg_init(&remote, vdev, &memory, &port)) {
        trace("cannot use the RPMsg device: %s", remote.fault);
        return;
    }
    trace("host ready: %u buffers, rings at %x and %x%s", (unsigned)remote.r2h.num, (unsigned)vdev->vring[0].da,
          (unsigned)vdev->vring[1].da, remote.name_service ? ", name service" : "");
}

void remote_stop(void)
{
    stopping = true;
}

void remote_run(void)
{
    bool broken = remote.fault != NULL;

    while (!stopping) {
        int more = rpmsg_poll(&remote);

        if (remote.fault != NULL && !broken) {
            broken = true;
            trace("the host broke the RPMsg device: %s", remote.fault);
        }
        if (more != 1 && !stopping)
            wait_for_host();
        if (!driver_ok(remote.vdev)) /* the host reset the device */
            cpu_restart();
        if (mailbox_shutdown_requested()) {
            trace("the host asked for a shutdown");
            remote_stop();
        }
    }
}

bool remote_is_shutdown(const void *data, uint32_t len)
{
    uint32_t code;

    if (len != sizeof(code))
        return false;
    memcpy(&code, data, sizeof(code));
    return code == REMOTE_SHUTDOWN_MESSAGE;
}

void remote_boot(void)
{
    memcpy(data_start, data_load, (size_t)(data_end - data_start));
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    trace_init(trace_start, BOARD_TRACE_SIZE);
    (void)main();
    while (remote.endpoints != NULL)
        rpmsg_destroy(remote.endpoints);
    trace("ended: %u messages received, %u sent, %u dropped", (unsigned)remote.received, (unsigned)remote.sent,
          (unsigned)remote.dropped);
    (void)cpu_mask();
    mailbox_end();
    for (;;)
        cpu_sleep();
}
