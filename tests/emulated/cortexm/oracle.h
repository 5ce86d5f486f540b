/* Registers and helpers of the Cortex-M oracle. */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))
#define REG8(address) (*(volatile uint8_t *)(address))

#define SYST_CSR REG(0xE000E010)
#define SYST_RVR REG(0xE000E014)
#define SYST_CVR REG(0xE000E018)
#define ISER(n) REG(0xE000E100 + 4 * (n))
#define ICER(n) REG(0xE000E180 + 4 * (n))
#define ISPR(n) REG(0xE000E200 + 4 * (n))
#define ICPR(n) REG(0xE000E280 + 4 * (n))
#define IABR(n) REG(0xE000E300 + 4 * (n))
#define IPR(n) REG(0xE000E400 + 4 * (n))
#define ICSR REG(0xE000ED04)
#define VTOR REG(0xE000ED08)
#define AIRCR REG(0xE000ED0C)
#define CCR REG(0xE000ED14)
#define SHPR(n) REG(0xE000ED18 + 4 * (n))
#define SHCSR REG(0xE000ED24)
#define CFSR REG(0xE000ED28)
#define HFSR REG(0xE000ED2C)
#define BFAR REG(0xE000ED38)
#define STIR REG(0xE000EF00)
#define FPCCR REG(0xE000EF34)
#define FPCAR REG(0xE000EF38)

#define BARRIER() __asm volatile("dsb\n isb" ::: "memory")

#define MRS(name)                                                      \
    ({                                                                 \
        uint32_t value_;                                               \
        __asm volatile("mrs %0, " name : "=r"(value_)::"memory");      \
        value_;                                                        \
    })
#define MSR(name, value) __asm volatile("msr " name ", %0\n isb" ::"r"(value) : "memory")

/* A trace of short words; handlers append, the test prints. */
void trace(const char *word);
void trace_number(const char *word, uint32_t value);
void flush(const char *test);

/* What the assembly of handlers.S hands to the C handlers: stacked frame and EXC_RETURN. */
typedef struct {
    uint32_t r0, r1, r2, r3, r12, lr, pc, xpsr;
} Frame;

#endif
