/* Exercises machine mode, CLINT and PLIC and prints a log over the 16550 UART that does not depend on timing.
 *
 * The same image runs on qemu-system-riscv32/64 -machine virt and on the emulated core; the logs must agree line
 * for line (see build.sh, which makes the images and the golden logs). */
#include "oracle.h"

struct frame { ulong x[32], epc, cause, tval, status, vector; };

extern char trap_entry[], vectors[];
ulong site;                 /* where the test expects the trap */
static struct frame last;   /* a copy of the latest frame */
static int traps, irqs, chatty = 1, nest, rearm;
static ulong resume;        /* an exception goes on here instead of behind its instruction */

/* ---- output ---- */
static void put(char c) { while (!(REG8(UART + 5) & 0x20)) { } REG8(UART) = c; }
static void puts_(const char *s) { while (*s) put(*s++); }
static void hex(ulong v)
{
    int shift = __riscv_xlen - 4;
    while (shift && !(v >> shift)) shift -= 4;
    for (; shift >= 0; shift -= 4) put("0123456789abcdef"[(v >> shift) & 15]);
}
void field(const char *name, ulong v) { put(' '); puts_(name); put('='); hex(v); }
void line(const char *name) { puts_(name); }
void end(void) { put('\n'); }
static void say(const char *name, ulong v) { line(name); field("value", v); end(); }

/* ---- time ---- */
static u64 mtime(void)
{
    u32 high, low;
    do { high = REG32(CLINT + 0xBFFC); low = REG32(CLINT + 0xBFF8); } while (high != REG32(CLINT + 0xBFFC));
    return (u64)high << 32 | low;
}
static void mtimecmp(u64 t)
{
    REG32(CLINT + 0x4004) = 0xFFFFFFFF;
    REG32(CLINT + 0x4000) = (u32)t;
    REG32(CLINT + 0x4004) = (u32)(t >> 32);
}

/* ---- traps ---- */
static void status(ulong s)
{
    field("mpp", s >> 11 & 3);
    field("mpie", s >> 7 & 1);
    field("mie", s >> 3 & 1);
}
static void external(void)
{
    u32 source = CLAIM;
    line("   claim"); field("source", source); field("next", CLAIM); end();
    if (source == SRC_RTC) { REG32(RTC + 0x1C) = 1; }
    if (source == SRC_UART) { REG8(UART + 1) = 0; }
    CLAIM = source;
}
static void interrupt(struct frame *f, ulong code)
{
    irqs++;
    if (chatty) {
        line("   irq"); field("code", code); field("vector", f->vector); status(f->status); field("mip", csrr(mip) & 0x888);
        field("tval", f->tval); end();
    }
    if (code == MSI) MSIP = 0;
    if (code == MTI) { if (rearm-- > 0) mtimecmp(mtime() + 1000); else mtimecmp(-1ULL); }
    if (code == MEI) external();
    if (nest) {
        nest = 0;
        MSIP = 1;
        while (!(csrr(mip) & 1 << MSI)) { }
        line("   nest"); end();
        csrs(mstatus, 8);
        __asm__ volatile("nop");
        csrc(mstatus, 8);
        line("   nested"); end();
    }
}
void trap(struct frame *f)
{
    ulong epc = f->epc, bits;
    last = *f;
    traps++;
    if (f->cause & INTERRUPT) { interrupt(f, f->cause & ~INTERRUPT); return; }
    if (resume) { f->epc = resume; resume = 0; }
    else { bits = *(volatile unsigned short *)epc; f->epc = epc + ((bits & 3) == 3 ? 4 : 2); }
    if (f->cause == 8 && f->x[17] == 77) f->status |= 3 << 11;   /* user mode asks to come back */
}
static void report(const char *name)
{
    line(name);
    field("traps", traps); field("cause", last.cause); field("epc-site", last.epc - site); field("tval", last.tval);
    field("vector", last.vector); status(last.status);
    end();
    traps = 0;
}
#define AT(code) "la %0, 1f\n .balign 4\n" code
#define TRY(name, code, ...) do { traps = 0; __asm__ volatile("la t6, 1f\n" code : : __VA_ARGS__ : "t6", "t5", "t4", "t3", "a0", "a1", "memory"); \
    report(name); } while (0)
#define SITE "la t5, site\n la t6, 1f\n" STORE " t6, 0(t5)\n"
#if __riscv_xlen == 64
#define STORE "sd"
#else
#define STORE "sw"
#endif

int quiet(void) { int n = traps; traps = 0; return n; }

static void exceptions(void)
{
    ulong kept = 0;
    line("-- exceptions"); end();
    TRY("ecall", SITE "1: ecall\n", "r"(0));
    TRY("ebreak", SITE ".option push\n.option norvc\n1: ebreak\n.option pop\n", "r"(0));
    TRY("c.ebreak", SITE "1: c.ebreak\n", "r"(0));
    TRY("illegal word", SITE ".balign 4\n1: .word 0xfffff07f\n", "r"(0));
    TRY("illegal word at 2", SITE ".balign 4\nc.nop\n1: .word 0xfffff07f\n", "r"(0));
    TRY("illegal half", SITE "1: .half 0\n", "r"(0));
    TRY("illegal half reserved", SITE "1: .half 0x8002\n", "r"(0));          /* c.jr x0 */
    TRY("custom-0", SITE "1: .word 0x0000000b\n", "r"(0));
    TRY("unknown csr", SITE "1: csrr a0, 0x7c0\n", "r"(0));
    TRY("write to read-only csr", SITE "1: csrw mhartid, zero\n", "r"(0));
    TRY("supervisor csr", SITE "1: csrr a0, satp\n", "r"(0));
    TRY("sret", SITE "1: sret\n", "r"(0));
    TRY("fp with FS off", SITE ".option push\n.option arch,+f\n1: fadd.s ft0, ft0, ft0\n.option pop\n", "r"(0));
    TRY("fcsr with FS off", SITE "1: csrr a0, fcsr\n", "r"(0));
    TRY("lb", SITE "1: lb a0, 0(%0)\n", "r"(NOWHERE));
    TRY("lw", SITE "1: lw a0, 2044(%0)\n", "r"(NOWHERE));
    TRY("lw negative", SITE "1: lw a0, -2048(%0)\n", "r"(NOWHERE));
    TRY("c.lw", SITE "mv a1, %0\n1: c.lw a0, 4(a1)\n", "r"(NOWHERE));
    TRY("sb", SITE "1: sb a0, 1(%0)\n", "r"(NOWHERE));
    TRY("sh", SITE "1: sh a0, 2(%0)\n", "r"(NOWHERE));
    TRY("c.sw", SITE "mv a1, %0\n1: c.sw a0, 8(a1)\n", "r"(NOWHERE));
    TRY("lr", SITE "1: lr.w a0, (%0)\n", "r"(NOWHERE));
    TRY("lr misaligned", SITE "1: lr.w a0, (%0)\n", "r"((ulong)&site + 2));
#if __riscv_xlen == 64
    TRY("ld", SITE "1: ld a0, 16(%0)\n", "r"(NOWHERE));
    TRY("c.ld", SITE "mv a1, %0\n1: c.ld a0, 8(a1)\n", "r"(NOWHERE));
    TRY("c.sd", SITE "mv a1, %0\n1: c.sd a0, 16(a1)\n", "r"(NOWHERE));
    TRY("lwu", SITE "1: lwu a0, 4(%0)\n", "r"(NOWHERE));
    TRY("high address", SITE "1: lw a0, 0(%0)\n", "r"(0xFFFFFFFF00000000UL));
#endif
    traps = 0;
    __asm__ volatile("la t5, site\n la t6, 1f\n" STORE " t6, 0(t5)\n la t5, resume\n la t6, 2f\n" STORE " t6, 0(t5)\n"
                     "1: jr %0\n2:\n" ::"r"(NOWHERE) : "t5", "t6", "memory");
    site = NOWHERE;
    report("fetch");
    __asm__ volatile(SITE "li %0, 5\n li t3, 0x90000000\n addi %0, %0, 1\n1: lw %0, 0(t3)\n addi %0, %0, 1\n"
                     : "=&r"(kept)::"t3", "t5", "t6", "memory");
    line("destination kept"); field("value", kept); end();
    traps = 0;
}

static void registers(void)
{
    ulong misa = csrr(misa);
    line("-- registers"); end();
    say("mhartid", csrr(mhartid));
    say("misa imac", misa & 0x1105);
    say("misa mxl", misa >> (__riscv_xlen - 2));
    (void)csrr(mvendorid); (void)csrr(marchid); (void)csrr(mimpid);
    csrw(mscratch, -1UL); say("mscratch", csrr(mscratch));
    csrw(mscratch, 0x12345678UL); say("mscratch", csrr(mscratch));
    csrw(mepc, 0x80000122UL); say("mepc", csrr(mepc));
    csrw(mcause, INTERRUPT | 7); say("mcause", csrr(mcause));
    csrw(mcause, 2); say("mcause", csrr(mcause));
    csrw(mtval, -2UL); say("mtval", csrr(mtval));
    csrw(mtvec, (ulong)vectors | 1); say("mtvec vectored", csrr(mtvec) == ((ulong)vectors | 1));
    csrw(mtvec, (ulong)trap_entry); say("mtvec direct", csrr(mtvec) == (ulong)trap_entry);
    csrw(mie, -1UL); say("mie", csrr(mie) & 0x888);
    csrw(mie, 0); say("mie", csrr(mie));
    say("csrrw", ({ ulong o; csrw(mscratch, 0xF0); __asm__ volatile("csrrw %0, mscratch, %1" : "=r"(o) : "r"(0xFFUL)); o; }));
    say("csrrs", ({ ulong o; __asm__ volatile("csrrs %0, mscratch, %1" : "=r"(o) : "r"(0x100UL)); o; }));
    say("csrrc", ({ ulong o; __asm__ volatile("csrrc %0, mscratch, %1" : "=r"(o) : "r"(0x0FUL)); o; }));
    say("csrrwi", ({ ulong o; __asm__ volatile("csrrwi %0, mscratch, 21" : "=r"(o)); o; }));
    say("csrrsi", ({ ulong o; __asm__ volatile("csrrsi %0, mscratch, 8" : "=r"(o)); o; }));
    say("csrrci", ({ ulong o; __asm__ volatile("csrrci %0, mscratch, 1" : "=r"(o)); o; }));
    say("same register", ({ ulong o = 0x55; __asm__ volatile("csrrw %0, mscratch, %0" : "+r"(o)); o; }));
    say("left", csrr(mscratch));
    csrw(mstatus, 0x1888); say("mstatus", csrr(mstatus) & 0x1888);
    csrw(mstatus, 0x80); say("mstatus", csrr(mstatus) & 0x1888);
    csrw(mstatus, 0x1800); say("mstatus", csrr(mstatus) & 0x1888);
    csrw(mip, -1UL); say("mip machine bits read-only", csrr(mip) & 0x888);
    csrw(mcounteren, 5); say("mcounteren", csrr(mcounteren));
    csrw(mcounteren, 0);
    say("mhpmcounter3", csrr(mhpmcounter3));
    csrw(mcountinhibit, 0);
    say("cycle runs", ({ ulong a = csrr(mcycle); ulong b = csrr(mcycle); b != a; }));
    say("instret runs", ({ ulong a = csrr(minstret); ulong b = csrr(minstret); b != a; }));
    say("time runs", ({ ulong a = csrr(time), n = 0; while (csrr(time) == a && n < 100000000) n++; n < 100000000; }));
    csrw(pmpaddr0, -1UL); csrw(pmpcfg0, 0x1F); say("pmpcfg0", csrr(pmpcfg0) & 0xFF);
    csrw(pmpaddr1, 0x1234); say("pmpaddr1", csrr(pmpaddr1));
    say("traps", traps);
}

static void floating(void)
{
    ulong value;
    line("-- floating point"); end();
    csrs(mstatus, 1UL << 13); say("FS", csrr(mstatus) >> 13 & 3);
    __asm__ volatile(".option push\n.option arch,+f\nfmv.w.x ft0, %1\nfmv.w.x ft1, %2\nfadd.s ft2, ft0, ft1\nfmv.x.w %0, ft2\n.option pop\n"
                     : "=r"(value) : "r"(0x3F800000UL), "r"(0x40000000UL));
    say("1+2", value);
    say("FS", csrr(mstatus) >> 13 & 3);
    say("SD", csrr(mstatus) >> (__riscv_xlen - 1));
    __asm__ volatile(".option push\n.option arch,+f\nfmv.w.x ft3, zero\nfdiv.s ft2, ft0, ft3\n.option pop\n");
    say("fflags 1/0", csrr(fflags));
    csrw(fcsr, 0x61); say("frm", csrr(frm)); say("fflags", csrr(fflags));
    csrc(mstatus, 3UL << 13); say("FS", csrr(mstatus) >> 13 & 3);
    TRY("fsw with FS off", SITE ".option push\n.option arch,+f\n1: fsw ft0, 0(%0)\n.option pop\n", "r"(&value));
    csrs(mstatus, 1UL << 13);
    TRY("flw", SITE ".option push\n.option arch,+f\n1: flw ft0, 8(%0)\n.option pop\n", "r"(NOWHERE));
    TRY("fsd", SITE ".option push\n.option arch,+f,+d\n1: fsd ft0, 16(%0)\n.option pop\n", "r"(NOWHERE));
    csrc(mstatus, 3UL << 13);
}

static void code_changes(void)
{
    static u32 code[4];
    ulong (*run)(void) = (ulong (*)(void))code;
    line("-- code changes"); end();
    for (int i = 1; i < 4; i++) {
        code[0] = 0x00000513 | i << 20;     /* li a0, i */
        code[1] = 0x00008067;               /* ret */
        __asm__ volatile("fence.i" ::: "memory");
        say("generated", run());
    }
}

static void atomics(void)
{
    static u32 word = 5;
    u32 old, fail;
    line("-- atomics"); end();
    __asm__ volatile("amoadd.w %0, %2, (%1)" : "=&r"(old) : "r"(&word), "r"(3) : "memory"); say("amoadd", old); say("word", word);
    __asm__ volatile("amoswap.w %0, %2, (%1)" : "=&r"(old) : "r"(&word), "r"(-1) : "memory"); say("amoswap", old); say("word", word);
    __asm__ volatile("lr.w %0, (%2)\nsc.w %1, %3, (%2)" : "=&r"(old), "=&r"(fail) : "r"(&word), "r"(9) : "memory");
    say("sc", fail); say("word", word);
    __asm__ volatile("sc.w %0, %2, (%1)" : "=&r"(fail) : "r"(&word), "r"(10) : "memory"); say("sc alone", fail); say("word", word);
    __asm__ volatile("fence\nfence rw, w\n.word 0x0100000f\n");    /* the last is pause */
}

#define PROMPT(name, code, ...) do { traps = 0; MSIP = 1; while (!(csrr(mip) & 1 << MSI)) { } \
    __asm__ volatile(SITE code : : __VA_ARGS__ : "t3", "t4", "t5", "t6", "memory"); csrc(mstatus, 8); report(name); } while (0)

static void unmasking(void)
{
    line("-- unmasking"); end();
    csrw(mie, 1 << MSI);
    csrc(mstatus, 8);
    MSIP = 1;
    while (!(csrr(mip) & 1 << MSI)) { }
    say("mip.msip", csrr(mip) >> MSI & 1);
    MSIP = 0xFFFFFFFE;
    say("mip.msip", csrr(mip) >> MSI & 1);
    say("msip", MSIP);
    PROMPT("csrsi mstatus", "csrsi mstatus, 8\n1: addi t3, t3, 1\n", "r"(0));
    PROMPT("csrs mstatus", "csrs mstatus, %0\n1: addi t3, t3, 1\n", "r"(8));
    PROMPT("csrw mstatus", "csrw mstatus, %0\n1: addi t3, t3, 1\n", "r"(0x1808));
    csrw(mie, 0); csrs(mstatus, 8);
    PROMPT("csrw mie", "csrw mie, %0\n1: addi t3, t3, 1\n", "r"(8));
    csrw(mie, 0); csrs(mstatus, 8);
    PROMPT("csrsi mie", "csrsi mie, 8\n1: c.nop\n", "r"(0));
    csrw(mie, 8); csrw(mstatus, 0x1880);
    PROMPT("mret", "la t3, 1f\ncsrw mepc, t3\nmret\nnop\n1: c.nop\n", "r"(0));
    csrw(mstatus, 0x1800); csrw(mie, 8);
    PROMPT("mret with mpie 0", "la t3, 2f\ncsrw mepc, t3\nmret\nnop\n2: nop\nnop\ncsrsi mstatus, 8\n1: nop\n", "r"(0));
    say("mpp after mret", csrr(mstatus) >> 11 & 3);
    say("mpie after mret", csrr(mstatus) >> 7 & 1);
    /* a write to mstatus with interrupts on and nothing pending disturbs nothing */
    csrw(mstatus, 0x1808); csrc(mstatus, 8);
    csrw(mie, 0);
}

static void priorities(void)
{
    line("-- priorities"); end();
    csrc(mstatus, 8);
    csrw(mie, 0x088);
    MSIP = 1;
    mtimecmp(0);
    THRESHOLD = 0; ENABLE(0) = 1 << SRC_RTC; PRIORITY(SRC_RTC) = 3;
    REG32(RTC + 0x10) = 1; REG32(RTC + 0x0C) = 0; REG32(RTC + 0x08) = 1;
    while ((csrr(mip) & 0x888) != 0x888) { }
    say("mip", csrr(mip) & 0x888);
    csrs(mstatus, 8);
    __asm__ volatile("nop\nnop\nnop\nnop\n");
    say("mip", csrr(mip) & 0x888);
    csrs(mie, 0x800);
    __asm__ volatile("nop\nnop\nnop\nnop\n");
    csrc(mstatus, 8);
    say("mip", csrr(mip) & 0x888);
    line("-- vectored"); end();
    csrw(mtvec, (ulong)vectors | 1);
    csrw(mie, 0x088);
    MSIP = 1;
    mtimecmp(0);
    REG32(RTC + 0x0C) = 0; REG32(RTC + 0x08) = 1;
    while ((csrr(mip) & 0x888) != 0x888) { }
    csrs(mstatus, 8);
    __asm__ volatile("nop\nnop\nnop\nnop\n");
    csrw(mie, 0x800);
    __asm__ volatile("nop\nnop\nnop\nnop\n");
    csrc(mstatus, 8);
    TRY("exception in vectored mode", SITE "1: .half 0\n", "r"(0));
    csrw(mtvec, (ulong)trap_entry);
    csrw(mie, 0x088);
    line("-- nesting"); end();
    nest = 1;
    mtimecmp(0);
    while (!(csrr(mip) & 1 << MTI)) { }
    csrs(mstatus, 8);
    __asm__ volatile("nop");
    csrc(mstatus, 8);
    csrw(mie, 0);
}

static void timer(void)
{
    u64 start;
    ulong sum = 0, plain = 0;
    line("-- timer"); end();
    traps = 0;
    mtimecmp(-1ULL);
    say("mip", csrr(mip) & 0x888);
    csrc(mstatus, 8);
    csrw(mie, 1 << MTI);
    start = mtime();
    mtimecmp(start + 20000);
    while (!(csrr(mip) & 1 << MTI)) __asm__ volatile("wfi");
    say("woke without trap", traps);
    say("in time", mtime() >= start + 20000);
    __asm__ volatile("wfi");
    say("wfi with one pending falls through", csrr(mip) & 0x888);
    csrs(mstatus, 8);
    __asm__ volatile("nop");
    say("irqs", irqs != 0);
    irqs = 0; rearm = 4; chatty = 0;
    mtimecmp(mtime() + 1000);
    while (irqs < 5) __asm__ volatile("wfi");
    chatty = 1;
    say("ticks", irqs);
    for (int pass = 0; pass < 2; pass++) {
        ulong a = 1, b = 2;
        irqs = 0; rearm = 7; chatty = 0;
        if (pass) mtimecmp(mtime() + 1000);
        for (u32 i = 0; i < 200000 || (pass && irqs < 8); i++) {
            if (i < 200000) { a = a * 1103515245 + b; b ^= a >> 7; }
        }
        if (pass) sum = a ^ b; else plain = a ^ b;
    }
    chatty = 1;
    say("ticks under load", irqs);
    say("state kept", sum == plain);
    csrc(mstatus, 8);
    start = mtime();
    while (mtime() < start + 5000) { }
    line("busy wait over"); end();
    mtimecmp(mtime() + 3000);
    __asm__ volatile("1: csrr t3, mip\n andi t3, t3, 0x80\n beqz t3, 1b\n" ::: "t3");
    line("polled mip"); end();
    mtimecmp(-1ULL);
    csrw(mie, 0);
}

static void plic(void)
{
    line("-- plic"); end();
    csrc(mstatus, 8);
    csrw(mie, 1 << MEI);
    PRIORITY(SRC_UART) = 2; PRIORITY(SRC_RTC) = 1; THRESHOLD = 7; ENABLE(0) = 0;
    say("priority", PRIORITY(SRC_UART));
    say("threshold", THRESHOLD);
    ENABLE(0) = 1 << SRC_UART | 1 << SRC_RTC;
    say("enable", ENABLE(0));
    REG32(RTC + 0x10) = 1; REG32(RTC + 0x0C) = 0; REG32(RTC + 0x08) = 1;
    say("pending", PENDING(0));
    say("mip behind threshold", csrr(mip) >> MEI & 1);
    THRESHOLD = 1;
    say("mip at threshold", csrr(mip) >> MEI & 1);
    PRIORITY(SRC_RTC) = 0;
    THRESHOLD = 0;
    say("mip with priority 0", csrr(mip) >> MEI & 1);
    ENABLE(0) = 1 << SRC_UART;
    PRIORITY(SRC_RTC) = 1;
    say("mip when disabled", csrr(mip) >> MEI & 1);
    say("claim of nothing", CLAIM);
    ENABLE(0) = 1 << SRC_UART | 1 << SRC_RTC;
    PRIORITY(SRC_RTC) = 1;      /* QEMU 7.2 looks at the enable bits only when something else is written */
    say("mip", csrr(mip) >> MEI & 1);
    csrs(mstatus, 8);
    __asm__ volatile("nop\nnop\n");
    csrc(mstatus, 8);
    say("pending", PENDING(0) & 1 << SRC_RTC);
    say("mip", csrr(mip) >> MEI & 1);
    line("two sources"); end();
    while (!(REG8(UART + 5) & 0x40)) { }
    REG8(UART + 1) = 2;
    REG32(RTC + 0x0C) = 0; REG32(RTC + 0x08) = 1;
    {
        u32 first = CLAIM, second;
        ulong mip = csrr(mip) >> MEI & 1;
        second = CLAIM;
        REG8(UART + 1) = 0; REG32(RTC + 0x1C) = 1;
        CLAIM = first; CLAIM = second;
        say("first", first); say("second", second); say("mip between", mip);
        say("none left", CLAIM);
    }
    say("mip", csrr(mip) >> MEI & 1);
    ENABLE(0) = 0;
    csrw(mie, 0);
}

static void user(void)
{
    line("-- user mode"); end();
    csrw(mstatus, 0);
    traps = 0;
#define USER(name, code) do { traps = 0; __asm__ volatile(SITE "la t3, 8f\ncsrw mepc, t3\nmret\n8:\n" code "li a7, 77\n9: ecall\n" ::: "t3", "t5", "t6", "a0", "a7", "memory"); \
    line(name); field("traps", traps); field("cause", last.cause); status(last.status); end(); csrw(mstatus, 0); } while (0)
    USER("ecall", "1:\n");
    USER("csr", "1: csrr a0, mstatus\n");
    USER("csr trap count 2", "1: csrw mscratch, zero\n");
    USER("mret", "1: mret\n");
    USER("cycle without counteren", "1: csrr a0, cycle\n");
    csrw(mcounteren, 7);
    USER("cycle with counteren", "1: csrr a0, cycle\n csrr a0, time\n csrr a0, instret\n");
    csrw(mcounteren, 0);
    USER("wfi with tw 0 and one pending", "1: nop\n");
    csrs(mstatus, 1 << 21);
    USER("wfi with tw 1", "1: wfi\n");
    csrw(mstatus, 0);
    /* an enabled interrupt is taken in user mode although MIE is 0, at once */
    csrw(mie, 8);
    MSIP = 1;
    while (!(csrr(mip) & 8)) { }
    USER("interrupt", "1:\n");
    csrw(mie, 0);
    csrw(mstatus, 0x1800);
}

int main(void)
{
    line("start"); field("xlen", __riscv_xlen); end();
    MSIP = 0;
    mtimecmp(-1ULL);
    registers();
    exceptions();
    floating();
    code_changes();
    atomics();
    unmasking();
    priorities();
    timer();
    plic();
    user();
    random_code();
    line("done"); end();
    while (!(REG8(UART + 5) & 0x40)) { }
    REG32(FINISHER) = 0x5555;
    return 0;
}
