/* What the parts of the test firmware share. */
#pragma once

typedef unsigned long ulong;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned char u8;

#define REG32(a) (*(volatile u32 *)(ulong)(a))
#define REG8(a) (*(volatile u8 *)(ulong)(a))
#define UART 0x10000000UL
#define CLINT 0x02000000UL
#define MSIP REG32(CLINT)
#define PLIC 0x0C000000UL
#define RTC 0x00101000UL
#define FINISHER 0x00100000UL
#define PRIORITY(n) REG32(PLIC + 4 * (n))
#define PENDING(n) REG32(PLIC + 0x1000 + 4 * (n))
#define ENABLE(n) REG32(PLIC + 0x2000 + 4 * (n))
#define THRESHOLD REG32(PLIC + 0x200000)
#define CLAIM REG32(PLIC + 0x200004)
#define SRC_UART 10
#define SRC_RTC 11
#define NOWHERE 0x90000000UL

#define STR2(x) #x
#define STR(x) STR2(x)
#define csrr(name) ({ ulong v_; __asm__ volatile("csrr %0, " STR(name) : "=r"(v_)); v_; })
#define csrw(name, v) __asm__ volatile("csrw " STR(name) ", %0" ::"rK"(v) : "memory")
#define csrs(name, v) __asm__ volatile("csrs " STR(name) ", %0" ::"rK"(v) : "memory")
#define csrc(name, v) __asm__ volatile("csrc " STR(name) ", %0" ::"rK"(v) : "memory")
#define INTERRUPT (1UL << (__riscv_xlen - 1))
enum { MSI = 3, MTI = 7, MEI = 11 };

void line(const char *text);
void end(void);
void field(const char *name, ulong v);
int quiet(void);            /* the number of traps since the last call */
void random_code(void);
