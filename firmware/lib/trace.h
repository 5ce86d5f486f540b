/*
 * The trace buffer: text that the host reads while this processor runs, and after it crashed.
 *
 * The buffer is a ring of characters. The newest character is always followed by a NUL, and the buffer's last byte is
 * always NUL, so that Linux, which shows the text up to the first NUL, shows what was written since the last wrap. A
 * reader that wants more finds the older text behind that NUL.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef TRACE_H
#define TRACE_H

#include <stddef.h>

/* Starts with an empty buffer of `size` bytes. */
void trace_init(char *buffer, size_t size);

/*
 * Writes a line; the newline is added. %s string, %d int, %u unsigned, %x unsigned in hexadecimal with 0x,
 * %p the same for a pointer, %% a percent sign.
 */
__attribute__((format(printf, 1, 2))) void trace(const char *format, ...);

#endif
