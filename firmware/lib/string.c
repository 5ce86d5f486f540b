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

/* Small enough that the compiler copies it without a call, as many words at once as the processor can. */
struct block {
    word words[8];
} __attribute__((may_alias));

#define WORD_MASK (sizeof(word) - 1)

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    if ((((uintptr_t)out | (uintptr_t)in) & WORD_MASK) == 0) {
        for (; len >= sizeof(struct block); len -= sizeof(struct block)) {
            *(struct block *)(void *)out = *(const struct block *)(const void *)in;
            out += sizeof(struct block);
            in += sizeof(struct block);
        }
        for (; len >= sizeof(word); len -= sizeof(word)) {
            *(word *)(void *)out = *(const word *)(const void *)in;
            out += sizeof(word);
            in += sizeof(word);
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
