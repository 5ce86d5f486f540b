/* What benchmarks/emulated_core.py runs, on the emulated core and under qemu-system-arm (mps2-an386).
 *
 * Word 7 of the vector table says which kernel, word 8 how many rounds; the benchmark writes them into the image.
 */
#include "kernels.h"

#define ISER (*(volatile uint32_t *)0xE000E100)

void reset(void);
void irq(void);
extern uint32_t stack_top[];

__attribute__((section(".vectors"), used)) static const volatile uint32_t vectors[16 + 8] = {
    [0] = (uint32_t)stack_top, [1] = (uint32_t)reset, [7] = 0, [8] = 1, [16] = (uint32_t)irq,
};

static volatile uint32_t interrupts;

void irq(void) { interrupts++; }

/* The benchmark raises interrupt 0 while the core sleeps. */
static uint32_t sleep(uint32_t rounds)
{
    ISER = 1;
    while (interrupts < rounds)
        __asm volatile("wfi");
    return interrupts;
}

static uint32_t semihost(uint32_t operation, uint32_t argument)
{
    register uint32_t r0 __asm("r0") = operation;
    register uint32_t r1 __asm("r1") = argument;
    __asm volatile("bkpt #0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void reset(void)
{
    static uint32_t (*const kernels[])(uint32_t) = {alu, stores, mix, sleep};
    interrupts = 0;
    words[0] = kernels[vectors[7]](vectors[8]);
    semihost(0x18, 0x20026);
    for (;;)
        ;
}
