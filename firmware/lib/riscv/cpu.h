/*
 * RISC-V in machine mode: processor, PLIC, CLINT, and where things are on the virt-rv* boards.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef CPU_H
#define CPU_H

#include <stdbool.h>
#include <stdint.h>

#define BOARD_IPCC_BASE 0x4C001000u
#define BOARD_IPCC_RX_IRQ 20u
#define BOARD_IPCC_TX_IRQ 21u

#define BOARD_TRACE_BASE 0x8007F000u /* as in link.ld */
#define BOARD_TRACE_SIZE 0x1000u

/* What the host may use for rings and buffers. */
#define BOARD_MEMORY_WINDOWS                                                                                           \
    {0x80000000u, 0x80000u, (uint8_t *)0x80000000u}, {0x80100000u, 0x20000u, (uint8_t *)0x80100000u}

#define CPU_REG(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define CLINT_MTIMECMP 0x02004000u
#define CLINT_MTIME 0x0200BFF8u
#define PLIC_PRIORITY(source) CPU_REG(0x0C000000u + 4u * (source))
#define PLIC_ENABLE(source) CPU_REG(0x0C002000u + (source) / 32u * 4u)
#define PLIC_THRESHOLD CPU_REG(0x0C200000u)
#define PLIC_CLAIM CPU_REG(0x0C200004u)

#define TICK_PERIOD 10000u /* of mtime */

#define MSTATUS_MIE 0x8u
#define MIE_MTIE 0x80u
#define MIE_MEIE 0x800u

/* The assembler is told of the CSR instructions here: in -march they would choose the wrong libraries. */
#define CPU_CSR(instruction) ".option push\n\t.option arch, +zicsr\n\t" instruction "\n\t.option pop"

/* Masks interrupts; returns whether they were masked already. */
static inline bool cpu_mask(void)
{
    uintptr_t status;

    __asm__ volatile(CPU_CSR("csrrci %0, mstatus, 8") : "=r"(status)::"memory");
    return (status & MSTATUS_MIE) == 0;
}

static inline void cpu_restore(bool masked)
{
    if (!masked)
        __asm__ volatile(CPU_CSR("csrsi mstatus, 8")::: "memory");
}

/* Sleeps until an enabled interrupt is pending, which also masked interrupts end. */
static inline void cpu_sleep(void)
{
    __asm__ volatile("fence\n\twfi" ::: "memory");
}

/* Crashes: the trap is reported like any other. */
__attribute__((noreturn)) static inline void cpu_crash(void)
{
    for (;;)
        __asm__ volatile("ebreak");
}

static inline void irq_enable(unsigned irq)
{
    PLIC_PRIORITY(irq) = 1;
    PLIC_ENABLE(irq) |= 1u << (irq % 32);
    PLIC_THRESHOLD = 0;
    __asm__ volatile(CPU_CSR("csrs mie, %0")::"r"(MIE_MEIE));
}

static inline void irq_disable(unsigned irq)
{
    PLIC_ENABLE(irq) &= ~(1u << (irq % 32));
}

/* Begins and ends the handling of an interrupt without taking it as a trap. */
static inline unsigned irq_claim(void)
{
    return PLIC_CLAIM;
}

static inline void irq_complete(unsigned irq)
{
    if (irq != 0)
        PLIC_CLAIM = irq;
}

/* A slow tick that ends cpu_sleep(). */
static inline void tick_acknowledge(void)
{
    uint32_t high = CPU_REG(CLINT_MTIME + 4);
    uint32_t low = CPU_REG(CLINT_MTIME);
    uint32_t next = low + TICK_PERIOD;

    CPU_REG(CLINT_MTIMECMP) = 0xFFFFFFFFu; /* no early match while the halves change */
    CPU_REG(CLINT_MTIMECMP + 4) = high + (next < low); /* high may be one behind: an early tick, no more */
    CPU_REG(CLINT_MTIMECMP) = next;
}

static inline void tick_start(void)
{
    tick_acknowledge();
    __asm__ volatile(CPU_CSR("csrs mie, %0")::"r"(MIE_MTIE));
}

static inline void tick_stop(void)
{
    __asm__ volatile(CPU_CSR("csrc mie, %0")::"r"(MIE_MTIE));
}

/*
 * Handlers that an application may define, for timer and software interrupts and for interrupts other than the
 * mailbox's; the library's own report a fault.
 */
void exception_handler(uintptr_t cause);
void irq_other(unsigned irq);

/* Starts over as after reset, with interrupts masked. */
__attribute__((noreturn)) void cpu_restart(void);

#endif
