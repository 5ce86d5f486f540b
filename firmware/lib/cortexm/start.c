/*
 * Cortex-M: vector table, reset and faults.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include "cpu.h"
#include "mailbox.h"
#include "remote.h"
#include "trace.h"

#define NUM_IRQS 160
#define FAULT_STACK_SIZE 512

extern uint32_t stack_bottom[], stack_top[]; /* linker script */

/* Faults are reported on a stack of their own: the usual one may be what is broken. */
static uint64_t fault_stack[FAULT_STACK_SIZE / 8] __attribute__((used));

void reset_handler(void);
void fault_handler(void);
void irq_handler(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*exception[15])(void);
    void (*irq[NUM_IRQS])(void);
} vectors = {
    .stack = stack_top,
    .exception =
        {
            reset_handler,     /* 1 reset */
            fault_handler,     /* 2 NMI */
            fault_handler,     /* 3 HardFault */
            fault_handler,     /* 4 MemManage */
            fault_handler,     /* 5 BusFault */
            fault_handler,     /* 6 UsageFault */
            fault_handler,     /* 7 SecureFault */
            0, 0, 0,           /* 8..10 reserved */
            exception_handler, /* 11 SVCall */
            exception_handler, /* 12 DebugMonitor */
            0,                 /* 13 reserved */
            exception_handler, /* 14 PendSV */
            exception_handler, /* 15 SysTick */
        },
    .irq = {[0 ... NUM_IRQS - 1] = irq_handler},
};

__attribute__((naked, noreturn)) void reset_handler(void)
{
    __asm__ volatile("cpsid i\n\t"
                     "ldr r0, =stack_top\n\t"
                     "mov sp, r0\n\t"
                     "bl remote_boot\n\t");
}

void cpu_restart(void)
{
    reset_handler();
}

static unsigned exception_number(void)
{
    uint32_t ipsr;

    __asm__ volatile("mrs %0, ipsr" : "=r"(ipsr));
    return ipsr & 0x1FF;
}

__attribute__((weak)) void exception_handler(void)
{
    fault_handler();
}

__attribute__((weak)) void irq_other(unsigned irq)
{
    trace("interrupt %u has no handler", irq);
    cpu_crash();
}

void irq_handler(void)
{
    unsigned irq = exception_number() - 16;

    if (irq == BOARD_IPCC_RX_IRQ || irq == BOARD_IPCC_TX_IRQ)
        mailbox_poll();
    else
        irq_other(irq);
}

static const char *exception_name(unsigned number)
{
    static const char *const names[] = {"NMI", "HardFault", "MemManage", "BusFault", "UsageFault", "SecureFault"};

    return number >= 2 && number <= 7 ? names[number - 2] : "unexpected exception";
}

#if __ARM_ARCH >= 7
/* Says why, after the fault status register; ARMv6-M has none. */
static void report_status(void)
{
    static const struct {
        uint32_t bit;
        const char *text;
    } reasons[] = {
        {1u << 0, "instruction fetch violation"},   {1u << 1, "data access violation"},
        {1u << 4, "stacking violation"},            {1u << 8, "instruction bus error"},
        {1u << 9, "data bus error"},                {1u << 10, "imprecise data bus error"},
        {1u << 12, "stacking bus error"},           {1u << 16, "undefined instruction"},
        {1u << 17, "invalid state"},                {1u << 18, "invalid exception return"},
        {1u << 19, "no coprocessor"},               {1u << 20, "stack overflow"},
        {1u << 24, "unaligned access"},             {1u << 25, "division by zero"},
    };
    uint32_t cfsr = SCB_CFSR;

    for (unsigned i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if ((cfsr & reasons[i].bit) != 0)
            trace("fault: %s", reasons[i].text);
    }
    if ((cfsr & (1u << 15)) != 0)
        trace("fault: address %x", (unsigned)SCB_BFAR);
    else if ((cfsr & (1u << 7)) != 0)
        trace("fault: address %x", (unsigned)SCB_MMFAR);
    trace("fault: CFSR %x HFSR %x", (unsigned)cfsr, (unsigned)SCB_HFSR);
}
#else
static void report_status(void)
{
}
#endif

__attribute__((noreturn, used)) static void report_fault(const uint32_t *frame)
{
    const char *name = exception_name(exception_number());

    if (frame < stack_bottom || frame + 8 > stack_top)
        trace("fault: %s, stack pointer %p is outside the stack", name, frame);
    else
        trace("fault: %s at pc %x, lr %x, sp %p", name, (unsigned)frame[6], (unsigned)frame[5], frame + 8);
    report_status();
    cpu_crash();
}

__attribute__((naked)) void fault_handler(void)
{
    __asm__ volatile("mov r0, lr\n\t"
                     "movs r1, #4\n\t"
                     "tst r0, r1\n\t" /* EXC_RETURN bit 2: which stack holds the frame */
                     "bne 1f\n\t"
                     "mov r0, sp\n\t"
                     "b 2f\n"
                     "1:\n\t"
                     "mrs r0, psp\n"
                     "2:\n\t"
                     "ldr r1, =fault_stack + %c0\n\t"
                     "mov sp, r1\n\t"
                     "ldr r1, =report_fault\n\t"
                     "bx r1\n\t" ::"i"(FAULT_STACK_SIZE));
}
