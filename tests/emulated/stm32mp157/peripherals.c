/*
 * What ST's start-up code and drivers do to the chip before an application runs, in the order and with the waiting
 * loops of real firmware: clocks, hardware semaphores, a timer as time base, the console UART by polling and by
 * interrupt. Every wait is bounded and reports its name, so that a failure names the register that was not ready.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))

#define RCC 0x50000000u
#define OCENSETR REG(RCC + 0x00C)
#define OCENCLRR REG(RCC + 0x010)
#define HSICFGR REG(RCC + 0x018)
#define MSSCKSELR REG(RCC + 0x048)
#define BDCR REG(RCC + 0x140)
#define RDLSICR REG(RCC + 0x144)
#define OCRDYR REG(RCC + 0x808)
#define RCK3SELR REG(RCC + 0x820)
#define MCUDIVR REG(RCC + 0x830)
#define APB1DIVR REG(RCC + 0x834)
#define PLL3CR REG(RCC + 0x880)
#define PLL3CFGR1 REG(RCC + 0x884)
#define PLL3CFGR2 REG(RCC + 0x888)
#define PLL3FRACR REG(RCC + 0x88C)
#define PLL4CR REG(RCC + 0x894)
#define MC_APB1ENSETR REG(RCC + 0xA80)
#define MC_APB1ENCLRR REG(RCC + 0xA84)
#define MC_AHB3ENSETR REG(RCC + 0xAA0)

#define HSEM 0x4C000000u
#define HSEM_R(n) REG(HSEM + 4u * (n))
#define HSEM_RLR(n) REG(HSEM + 0x80u + 4u * (n))

#define PWR_CR1 REG(0x50001000u)
#define GPIOB 0x50003000u
#define EXTI_C2IMR1 REG(0x5000D0C0u)
#define SYSCFG_BOOTR REG(0x50020000u)
#define DBGMCU_IDC REG(0x50081000u)

#define TIM2 0x40000000u
#define TIM2_IRQ 28u
#define USART3 0x4000F000u
#define USART3_IRQ 39u
#define CR1 REG(USART3 + 0x00)
#define BRR REG(USART3 + 0x0C)
#define ISR REG(USART3 + 0x1C)
#define ICR REG(USART3 + 0x20)
#define RDR REG(USART3 + 0x24)
#define TDR REG(USART3 + 0x28)

#define NVIC_ISER(n) REG(0xE000E100u + 4u * ((n) / 32u))

static volatile uint32_t ticks;
static char input[32];
static volatile uint32_t received;

static void put(char c)
{
    uint32_t left = 1000;

    while (!(ISR & (1u << 7)) && --left)
        ;
    TDR = (uint8_t)c;
}

static void print(const char *text)
{
    while (*text)
        put(*text++);
}

static void print_number(uint32_t value)
{
    char digits[10];
    unsigned n = 0;

    do
        digits[n++] = (char)('0' + value % 10u);
    while (value /= 10u);
    while (n)
        put(digits[--n]);
}

static void await(const char *name, volatile uint32_t *reg, uint32_t mask, uint32_t wanted)
{
    uint32_t left = 100000;

    while ((*reg & mask) != wanted && --left)
        ;
    if (!left) {
        print("timeout: ");
        print(name);
        print("\n");
    }
}

static void check(const char *name, uint32_t value, uint32_t wanted)
{
    if (value != wanted) {
        print("wrong: ");
        print(name);
        print(" ");
        print_number(value);
        print("\n");
    }
}

static uint32_t core_clock(void)
{
    uint32_t source = (RCK3SELR & 3u) == 1u ? 24000000u : 64000000u >> (HSICFGR & 3u);
    uint32_t divm = (PLL3CFGR1 >> 16 & 0x3Fu) + 1u;
    uint32_t n8192 = ((PLL3CFGR1 & 0x1FFu) + 1u) * 8192u;

    if (PLL3FRACR & 0x10000u)
        n8192 += PLL3FRACR >> 3 & 0x1FFFu;
    if ((MSSCKSELR & 3u) != 3u)
        return 64000000u >> (HSICFGR & 3u) >> (MCUDIVR & 15u);
    return (uint32_t)((uint64_t)(source / divm) * n8192 / 8192u / ((PLL3CFGR2 & 0x7Fu) + 1u)) >> (MCUDIVR & 15u);
}

static void uart_init(void)
{
    MC_APB1ENSETR = 1u << 15;
    CR1 = 0;
    BRR = 907;
    CR1 = 0x0D; /* UE, RE, TE */
    await("TEACK", &ISR, 1u << 21, 1u << 21);
    await("REACK", &ISR, 1u << 22, 1u << 22);
}

static void clocks(void)
{
    OCENSETR = 1u << 8;
    await("HSERDY", &OCRDYR, 1u << 8, 1u << 8);
    await("HSIDIVRDY", &OCRDYR, 1u << 2, 1u << 2);
    check("HSI survives", OCENSETR & 1u, 1u);
    PWR_CR1 |= 1u << 8;
    await("DBP", &PWR_CR1, 1u << 8, 1u << 8);
    BDCR |= 1u;
    await("LSERDY", &BDCR, 4u, 4u);
    RDLSICR |= 1u;
    await("LSIRDY", &RDLSICR, 2u, 2u);
    PLL4CR &= ~1u;
    await("PLL4 off", &PLL4CR, 2u, 0u);
    PLL4CR |= 1u;
    await("PLL4RDY", &PLL4CR, 2u, 2u);
    MSSCKSELR = 0;
    await("MCUSSRCRDY", &MSSCKSELR, 1u << 31, 1u << 31);
    check("HSI clock", core_clock(), 64000000u);
    MSSCKSELR = 3;
    await("MCUSSRCRDY again", &MSSCKSELR, 1u << 31, 1u << 31);
    MCUDIVR = 0;
    await("MCUDIVRDY", &MCUDIVR, 1u << 31, 1u << 31);
    MC_APB1ENSETR = 1u;
    check("enable bits are set one by one", MC_APB1ENSETR & 0x8001u, 0x8001u);
    MC_APB1ENCLRR = 2u;
    check("and cleared one by one", MC_APB1ENSETR & 0x8003u, 0x8001u);
}

static void semaphores(void)
{
    MC_AHB3ENSETR = 1u << 11;
    check("one step lock", HSEM_RLR(0), 0x80000200u);
    HSEM_R(0) = 0x200u;
    check("release", HSEM_R(0), 0u);
    HSEM_R(5) = 0x80000203u;
    check("two step lock", HSEM_R(5), 0x80000203u);
    HSEM_R(5) = 0x203u;
}

static void delay(uint32_t milliseconds)
{
    uint32_t start = ticks;

    while (ticks - start < milliseconds)
        __asm__ volatile("wfi");
}

static void time_base(void)
{
    REG(TIM2 + 0x28) = core_clock() / 1000000u - 1u; /* PSC: 1 MHz */
    REG(TIM2 + 0x2C) = 999;                          /* ARR: 1 ms */
    REG(TIM2 + 0x14) = 1;                            /* EGR.UG */
    REG(TIM2 + 0x10) = 0;
    REG(TIM2 + 0x0C) = 1;
    NVIC_ISER(TIM2_IRQ) = 1u << TIM2_IRQ % 32u;
    REG(TIM2) |= 1;
    delay(20);
    print("20 ticks\n");
}

int main(void)
{
    EXTI_C2IMR1 = 0;
    uart_init();
    check("engineering boot", SYSCFG_BOOTR & 7u, 0);
    check("device", DBGMCU_IDC & 0xFFFu, 0x500u);
    clocks();
    semaphores();
    REG(GPIOB) = 0xFFFFFFBFu;
    check("GPIO", REG(GPIOB), 0xFFFFFFBFu);
    print("core clock ");
    print_number(core_clock());
    print("\n");
    time_base();
    NVIC_ISER(USART3_IRQ) = 1u << USART3_IRQ % 32u;
    CR1 |= 1u << 5;
    print("ready\n");
    for (;;) {
        if (received && input[received - 1] == '\n') {
            print("you said ");
            for (uint32_t i = 0; i < received; i++)
                put(input[i]);
            received = 0;
        }
        __asm__ volatile("wfi");
    }
}

static void on_timer(void)
{
    if (REG(TIM2 + 0x10) & 1u) {
        REG(TIM2 + 0x10) = ~1u;
        ticks++;
    }
}

static void on_uart(void)
{
    while (ISR & (1u << 5)) {
        char c = (char)RDR;

        if (received < sizeof input)
            input[received++] = c;
    }
}

static void on_fault(void)
{
    for (;;)
        ;
}

extern uint32_t stack_top, bss_start, bss_end;

void reset(void)
{
    for (uint32_t *p = &bss_start; p < &bss_end; p++)
        *p = 0;
    main();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16 + 64] = {
    &stack_top,
    (void *)reset,
    (void *)on_fault,
    (void *)on_fault,
    [16 + TIM2_IRQ] = (void *)on_timer,
    [16 + USART3_IRQ] = (void *)on_uart,
};
