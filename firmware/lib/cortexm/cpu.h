/*
 * Cortex-M: processor, NVIC, SysTick, and where things are on STM32MP1 and the virt-m* boards.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef CPU_H
#define CPU_H

#include <stdbool.h>
#include <stdint.h>

#define BOARD_IPCC_BASE 0x4C001000u
#define BOARD_IPCC_RX_IRQ 103u
#define BOARD_IPCC_TX_IRQ 104u

#define BOARD_TRACE_BASE 0x1003F000u /* as in link.ld */
#define BOARD_TRACE_SIZE 0x1000u

/* What the host may use for rings and buffers, and the alias through which it may name the same bytes. */
#define BOARD_MEMORY_WINDOWS                                                                                           \
    {0x10000000u, 0x60000u, (uint8_t *)0x10000000u}, {0x30000000u, 0x60000u, (uint8_t *)0x30000000u}

#define CPU_REG(address) (*(volatile uint32_t *)(address))
#define SYST_CSR CPU_REG(0xE000E010u)
#define SYST_RVR CPU_REG(0xE000E014u)
#define SYST_CVR CPU_REG(0xE000E018u)
#define NVIC_ISER(n) CPU_REG(0xE000E100u + (n) / 32u * 4u)
#define NVIC_ICER(n) CPU_REG(0xE000E180u + (n) / 32u * 4u)
#define NVIC_ICPR(n) CPU_REG(0xE000E280u + (n) / 32u * 4u)
#define SCB_ICSR CPU_REG(0xE000ED04u)
#define SCB_CFSR CPU_REG(0xE000ED28u)
#define SCB_HFSR CPU_REG(0xE000ED2Cu)
#define SCB_MMFAR CPU_REG(0xE000ED34u)
#define SCB_BFAR CPU_REG(0xE000ED38u)
#define ICSR_PENDSTCLR (1u << 25)

/* Masks interrupts; returns whether they were masked already. */
static inline bool cpu_mask(void)
{
    uint32_t primask;

    __asm__ volatile("mrs %0, primask\n\tcpsid i" : "=r"(primask)::"memory");
    return (primask & 1) != 0;
}

static inline void cpu_restore(bool masked)
{
    if (!masked)
        __asm__ volatile("cpsie i\n\tisb" ::: "memory");
}

/* Sleeps until an enabled interrupt is pending, which also masked interrupts end. */
static inline void cpu_sleep(void)
{
    __asm__ volatile("dsb\n\twfi" ::: "memory");
}

/* Stops as a crash: a debugger sees a breakpoint, a processor without one locks up. */
__attribute__((noreturn)) static inline void cpu_crash(void)
{
    for (;;)
        __asm__ volatile("bkpt #0");
}

static inline void irq_enable(unsigned irq)
{
    NVIC_ISER(irq) = 1u << (irq % 32);
}

static inline void irq_disable(unsigned irq)
{
    NVIC_ICER(irq) = 1u << (irq % 32);
    NVIC_ICPR(irq) = 1u << (irq % 32);
}

/* Begins and ends the handling of the mailbox's interrupts without taking them as exceptions. */
static inline unsigned irq_claim(void)
{
    return 0;
}

static inline void irq_complete(unsigned irq)
{
    (void)irq;
    /* Both are in one register. A line that is high again stays pending. */
    NVIC_ICPR(BOARD_IPCC_RX_IRQ) = 1u << (BOARD_IPCC_RX_IRQ % 32) | 1u << (BOARD_IPCC_TX_IRQ % 32);
}

/* A slow tick that ends cpu_sleep(). */
static inline void tick_start(void)
{
    SYST_RVR = 0xFFFFu;
    SYST_CVR = 0;
    SYST_CSR = 7u; /* processor clock, interrupt, on */
}

static inline void tick_acknowledge(void)
{
    SCB_ICSR = ICSR_PENDSTCLR;
}

static inline void tick_stop(void)
{
    SYST_CSR = 0;
    SCB_ICSR = ICSR_PENDSTCLR;
}

/*
 * Handlers that an application may define, for system exceptions other than faults and for interrupts other than the
 * mailbox's; the library's own report a fault.
 */
void exception_handler(void);
void irq_other(unsigned irq);

/* Starts over as after reset, with interrupts masked. */
__attribute__((noreturn)) void cpu_restart(void);

#endif
