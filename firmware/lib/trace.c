/* SPDX-License-Identifier: BSD-3-Clause */
#include "trace.h"

#include <stdarg.h>
#include <stdint.h>

#include "string.h"

static char *text;
static size_t last; /* the index of the buffer's last byte */
static size_t position;

void trace_init(char *buffer, size_t size)
{
    text = buffer;
    last = size - 1;
    position = 0;
    memset(buffer, 0, size);
}

static void put(char character)
{
    if (position == last)
        position = 0;
    text[position + 1] = '\0'; /* first, so that a reader never runs on into older text */
    text[position++] = character;
}

static void put_text(const char *string)
{
    while (*string != '\0')
        put(*string++);
}

static void put_decimal(unsigned value)
{
    char digits[10];
    unsigned count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count != 0)
        put(digits[--count]);
}

static void put_hex(uintptr_t value)
{
    unsigned shift = 0;

    put_text("0x");
    while (shift < 8 * sizeof(value) - 4 && (value >> shift) > 0xF)
        shift += 4;
    for (;; shift -= 4) {
        put("0123456789abcdef"[(value >> shift) & 0xF]);
        if (shift == 0)
            break;
    }
}

static void put_signed(int value)
{
    if (value < 0)
        put('-');
    put_decimal(value < 0 ? 0u - (unsigned)value : (unsigned)value);
}

void trace(const char *format, ...)
{
    va_list arguments;

    if (text == NULL)
        return;
    va_start(arguments, format);
    for (; *format != '\0'; format++) {
        if (*format != '%' || format[1] == '\0') {
            put(*format);
            continue;
        }
        switch (*++format) {
        case 's':
            put_text(va_arg(arguments, const char *));
            break;
        case 'd':
            put_signed(va_arg(arguments, int));
            break;
        case 'u':
            put_decimal(va_arg(arguments, unsigned));
            break;
        case 'x':
            put_hex(va_arg(arguments, unsigned));
            break;
        case 'p':
            put_hex((uintptr_t)va_arg(arguments, void *));
            break;
        default:
            put(*format);
            break;
        }
    }
    va_end(arguments);
    put('\n');
}
