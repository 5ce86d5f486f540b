/*
 * Ends the program through semihosting. Only under an emulator or a debugger: elsewhere the call is a fault.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

#define SEMIHOSTING_EXIT_EXTENDED 0x20u
#define SEMIHOSTING_APPLICATION_EXIT 0x20026u

static inline void semihosting_exit(unsigned status)
{
    const uintptr_t block[] = {SEMIHOSTING_APPLICATION_EXIT, status};

#if defined(__arm__)
    register uintptr_t operation __asm__("r0") = SEMIHOSTING_EXIT_EXTENDED;
    register const uintptr_t *parameter __asm__("r1") = block;

    __asm__ volatile("bkpt #0xAB" : "+r"(operation) : "r"(parameter) : "memory");
#else
    uintptr_t semihosting_call(uintptr_t operation, const uintptr_t *parameter); /* start.S */

    (void)semihosting_call(SEMIHOSTING_EXIT_EXTENDED, block);
#endif
}

#endif
