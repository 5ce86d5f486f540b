/*
 * The mailbox between the processors, as OpenAMP uses it: channel 0 signals vring 0, channel 1 vring 1, and channel 2
 * from the host asks for a shutdown.
 *
 * Call with interrupts masked, except from the mailbox's own interrupt handler.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <stdbool.h>

/* Forgets everything before, and lets the host's signals interrupt (or only wake) this processor. */
void mailbox_init(void);

/* Signals the host on a vring's channel. Never waits: while the host has not seen the last signal, it is kept. */
void mailbox_kick(unsigned vring);

/* Takes the host's signals from the hardware, and sends kept ones. */
void mailbox_poll(void);

/* Returns whether the host signalled since the last call. */
bool mailbox_take(void);

/* Returns whether the host asked for a shutdown on channel 2. */
bool mailbox_shutdown_requested(void);

/* Tells the host that the shutdown it asked for is done; then the mailbox is silent in both directions. */
void mailbox_end(void);

#endif
