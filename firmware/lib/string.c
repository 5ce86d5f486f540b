/*
 * Compiled with -O2 and without the pattern matching that would turn these loops into calls of themselves.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "string.h"

#include <stdint.h>

#undef memcpy

/* Words may alias whatever they copy. */
typedef uintptr_t __attribute__((may_alias)) word;

#define WORD_MASK (sizeof(word) - 1)

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    if ((((uintptr_t)out | (uintptr_t)in) & WORD_MASK) == 0) {
        while (len >= 4 * sizeof(word)) {
            const word *source = (const word *)(const void *)in;
            word *target = (word *)(void *)out;
            word a = source[0], b = source[1], c = source[2], d = source[3];

            target[0] = a;
            target[1] = b;
            target[2] = c;
            target[3] = d;
            in += 4 * sizeof(word);
            out += 4 * sizeof(word);
            len -= 4 * sizeof(word);
        }
        while (len >= sizeof(word)) {
            *(word *)(void *)out = *(const word *)(const void *)in;
            in += sizeof(word);
            out += sizeof(word);
            len -= sizeof(word);
        }
    }
    while (len-- != 0)
        *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t len)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    if (out <= in || out >= in + len) {
        while (len-- != 0)
            *out++ = *in++;
    } else {
        while (len-- != 0)
            out[len] = in[len];
    }
    return to;
}

void *memset(void *to, int value, size_t len)
{
    uint8_t *out = to;

    if (((uintptr_t)out & WORD_MASK) == 0) {
        word pattern = ((word)-1 / 0xFF) * (uint8_t)value;

        while (len >= sizeof(word)) {
            *(word *)(void *)out = pattern;
            out += sizeof(word);
            len -= sizeof(word);
        }
    }
    while (len-- != 0)
        *out++ = (uint8_t)value;
    return to;
}

int memcmp(const void *left, const void *right, size_t len)
{
    const uint8_t *a = left, *b = right;

    for (; len != 0; len--, a++, b++) {
        if (*a != *b)
            return *a < *b ? -1 : 1;
    }
    return 0;
}
