/* What benchmarks/emulated_riscv.py runs, on the emulated core and under qemu-system-riscv32/64 (virt).
 *
 * The words `kernel` and `rounds` at the start of the image say what to do; the benchmark writes them. The last kernels
 * take interrupts: one from outside (the benchmark's), and one's own software interrupt. */
#include "../emulated_core/kernels.h"

#define MSIP (*(volatile uint32_t *)0x02000000)
#define PLIC 0x0C000000UL
#define CLAIM (*(volatile uint32_t *)(PLIC + 0x200004))
#define FINISHER (*(volatile uint32_t *)0x00100000)
#define SOURCE 20

static volatile uint32_t interrupts;

__asm__(".section .start, \"ax\"\n"
        ".globl _start, kernel, rounds\n"
        "_start: j 1f\n .balign 4\n"
        "kernel: .word 0\n"
        "rounds: .word 1\n"
        "1: la sp, stack_top\n la t0, trap\n csrw mtvec, t0\n j run\n");
extern volatile uint32_t kernel, rounds;

__attribute__((interrupt, aligned(4))) void trap(void)
{
    unsigned long cause;
    __asm__ volatile("csrr %0, mcause" : "=r"(cause));
    if ((cause & 0xFF) == 3)
        MSIP = 0;
    else
        CLAIM = CLAIM;
    interrupts++;
}

/* The benchmark raises a line while the core sleeps. */
static uint32_t sleep(uint32_t number)
{
    *(volatile uint32_t *)(PLIC + 4 * SOURCE) = 1;
    *(volatile uint32_t *)(PLIC + 0x2000) = 1 << SOURCE;
    __asm__ volatile("csrs mie, %0\n csrsi mstatus, 8" ::"r"(0x800));
    while (interrupts < number)
        __asm__ volatile("wfi");
    return interrupts;
}

static uint32_t software(uint32_t number)
{
    __asm__ volatile("csrs mie, %0\n csrsi mstatus, 8" ::"r"(8));
    while (interrupts < number)
        MSIP = 1;
    return interrupts;
}

/* Critical sections: two accesses to mstatus each. */
static uint32_t locks(uint32_t number)
{
    while (number--) {
        unsigned long key;
        __asm__ volatile("csrrci %0, mstatus, 8" : "=r"(key)::"memory");
        words[0]++;
        __asm__ volatile("csrs mstatus, %0" ::"r"(key & 8) : "memory");
    }
    return words[0];
}

void run(void)
{
    static uint32_t (*const kernels[])(uint32_t) = {alu, stores, mix, sleep, software, locks};
    words[1] = kernels[kernel](rounds);
    FINISHER = 0x5555;
    for (;;)
        ;
}
