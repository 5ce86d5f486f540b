/* The kernels of the emulated cores' benchmarks, for every architecture. */
#include <stdint.h>

static uint32_t words[64], table[256];
static uint8_t text[256], copy[256];

static uint32_t alu(uint32_t rounds)
{
    uint32_t a = 1, b = 2;
    while (rounds--) {
        a = (a << 3 | a >> 29) + b;
        b ^= a + 0x9E37;
        a -= b >> 2;
        __asm volatile("" : "+r"(a), "+r"(b));
    }
    return a ^ b;
}

static uint32_t stores(uint32_t rounds)
{
    volatile uint32_t *to = words;
    while (rounds--) {
        to[0] = rounds;
        to[1] = rounds;
        to[2] = to[0];
        to[3] = rounds;
    }
    return to[2];
}

static void sort(uint32_t *first, uint32_t *last)
{
    while (first < last) {
        uint32_t pivot = first[(last - first) / 2], *i = first - 1, *j = last + 1;
        for (;;) {
            do i++; while (*i < pivot);
            do j--; while (*j > pivot);
            if (i >= j)
                break;
            uint32_t swap = *i;
            *i = *j;
            *j = swap;
        }
        sort(first, j);
        first = j + 1;
    }
}

static unsigned decimal(uint8_t *to, uint32_t value)
{
    uint8_t digits[10];
    unsigned n = 0, i;
    do digits[n++] = '0' + value % 10; while (value /= 10);
    for (i = 0; i < n; i++)
        to[i] = digits[n - 1 - i];
    return n;
}

/* What firmware does all day: calls, branches, tables, strings, copies. */
static uint32_t mix(uint32_t rounds)
{
    uint32_t crc = 0, seed = 1, i;
    for (i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xEDB88320 : c >> 1;
        table[i] = c;
    }
    while (rounds--) {
        unsigned length = 0;
        for (i = 0; i < 64; i++)
            words[i] = seed = seed * 1103515245 + 12345;
        sort(words, words + 63);
        for (i = 0; i < 16; i++)
            length += decimal(text + length, words[i * 4]);
        for (i = 0; i < length; i++)
            copy[i] = text[i];
        for (i = 0; i < length; i++)
            crc = crc >> 8 ^ table[(crc ^ copy[i]) & 255];
    }
    return crc;
}
