/*
 * The IPCC (inter-processor communication controller) of STM32MP1; the host is its processor 1, this is processor 2.
 *
 * Each direction has a flag for each of six channels. The sender sets its flag (occupied), the receiver clears it
 * (free); RXO interrupts the receiver while a flag is set, TXF interrupts the sender while a flag is clear.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "mailbox.h"

#include "cpu.h"

struct ipcc {
    volatile uint32_t c1cr, c1mr, c1scr, c1toc2sr; /* the host's control, mask, set/clear; its flags */
    volatile uint32_t c2cr, c2mr, c2scr, c2toc1sr; /* ours */
};

#define IPCC ((struct ipcc *)BOARD_IPCC_BASE)

#define CR_RXOIE 0x00000001u
#define CR_TXFIE 0x00010000u
#define MR_ALL 0x003F003Fu
#define TRANSMIT(channels) ((channels) << 16) /* the same channel in the upper half of MR and SCR */

#define VRING_CHANNELS 0x3u
#define SHUTDOWN_CHANNEL 0x4u

static volatile uint32_t received; /* vring channels signalled and not yet taken */
static volatile bool shutdown;     /* its flag stays set until mailbox_end() */
static uint32_t kept;              /* vring channels to be signalled when the host has freed them */

static void set_masks(void)
{
    uint32_t receive = shutdown ? VRING_CHANNELS : VRING_CHANNELS | SHUTDOWN_CHANNEL;

    IPCC->c2mr = MR_ALL & ~receive & ~TRANSMIT(kept);
}

void mailbox_init(void)
{
    received = 0;
    shutdown = false;
    kept = 0;
    IPCC->c2cr = 0;
    /* Signals to whoever ran here before: the rings are looked at anyway, and the shutdown was its own. */
    IPCC->c2scr = VRING_CHANNELS | SHUTDOWN_CHANNEL;
    set_masks();
    IPCC->c2cr = CR_RXOIE | CR_TXFIE; /* TXF is masked channel by channel */
    irq_enable(BOARD_IPCC_RX_IRQ);
    irq_enable(BOARD_IPCC_TX_IRQ);
}

void mailbox_kick(unsigned vring)
{
    uint32_t channel = 1u << vring;

    /*
     * A host that clears the flag only after it looked at the ring would miss a signal given while the flag is still
     * set; so this one is given when the flag is clear.
     */
    if ((IPCC->c2toc1sr & channel) != 0) {
        kept |= channel;
        set_masks();
    } else {
        IPCC->c2scr = TRANSMIT(channel);
    }
}

void mailbox_poll(void)
{
    uint32_t flags = IPCC->c1toc2sr;

    if ((flags & VRING_CHANNELS) != 0) {
        IPCC->c2scr = flags & VRING_CHANNELS;
        received |= flags & VRING_CHANNELS;
    }
    if ((flags & SHUTDOWN_CHANNEL) != 0 && !shutdown) {
        shutdown = true;
        set_masks();
    }
    if (kept != 0) {
        uint32_t channels = kept & ~IPCC->c2toc1sr;

        if (channels != 0) {
            IPCC->c2scr = TRANSMIT(channels);
            kept &= ~channels;
            set_masks();
        }
    }
}

bool mailbox_take(void)
{
    bool any = received != 0;

    received = 0;
    return any;
}

bool mailbox_shutdown_requested(void)
{
    return shutdown;
}

void mailbox_end(void)
{
    irq_disable(BOARD_IPCC_RX_IRQ);
    irq_disable(BOARD_IPCC_TX_IRQ);
    IPCC->c2cr = 0;
    IPCC->c2mr = MR_ALL;
    IPCC->c2scr = VRING_CHANNELS | SHUTDOWN_CHANNEL;
}
