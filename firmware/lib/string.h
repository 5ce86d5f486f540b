/*
 * The few memory functions that the compiler may call and the library uses.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef STRING_H
#define STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int value, size_t len);
int memcmp(const void *left, const void *right, size_t len);

/* -ffreestanding forgets that small copies of known size need no call. */
#define memcpy(to, from, len) __builtin_memcpy(to, from, len)

#endif
