/*
 * RISC-V: what start.S's trap entry calls.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "cpu.h"
#include "mailbox.h"
#include "trace.h"

#define CAUSE_EXTERNAL_INTERRUPT 11u

extern uint8_t stack_bottom[], stack_top[]; /* linker script */

void trap_interrupt(uintptr_t cause);
__attribute__((noreturn)) void trap_fault(uintptr_t cause, uintptr_t pc, uintptr_t value, uintptr_t sp, uintptr_t ra);

__attribute__((weak)) void exception_handler(uintptr_t cause)
{
    trace("interrupt cause %u has no handler", (unsigned)(cause & 0xFF));
    cpu_crash();
}

__attribute__((weak)) void irq_other(unsigned irq)
{
    trace("interrupt %u has no handler", irq);
    cpu_crash();
}

void trap_interrupt(uintptr_t cause)
{
    unsigned irq;

    if ((cause & 0xFF) != CAUSE_EXTERNAL_INTERRUPT) {
        exception_handler(cause);
        return;
    }
    irq = irq_claim();
    if (irq == BOARD_IPCC_RX_IRQ || irq == BOARD_IPCC_TX_IRQ)
        mailbox_poll();
    else if (irq != 0)
        irq_other(irq);
    irq_complete(irq);
}

void trap_fault(uintptr_t cause, uintptr_t pc, uintptr_t value, uintptr_t sp, uintptr_t ra)
{
    static const char *const names[] = {
        "instruction address misaligned",
        "instruction access fault",
        "illegal instruction",
        "breakpoint",
        "load address misaligned",
        "load access fault",
        "store address misaligned",
        "store access fault",
    };
    const char *name = cause < sizeof(names) / sizeof(names[0]) ? names[cause] : "unexpected exception";

    trace("fault: %s at pc %p, ra %p, sp %p", name, (void *)pc, (void *)ra, (void *)sp);
    if (sp < (uintptr_t)stack_bottom || sp > (uintptr_t)stack_top)
        trace("fault: the stack pointer is outside the stack");
    trace("fault: mcause %u mtval %p", (unsigned)cause, (void *)value);
    __asm__ volatile(CPU_CSR("csrw mie, zero"));
    for (;;)
        cpu_sleep(); /* nothing wakes it any more: there is no stop, and no lock-up as on Cortex-M */
}
