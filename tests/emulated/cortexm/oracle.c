/* Exercises the exceptions of a Cortex-M and prints what happened, over semihosting.
 *
 * The same image runs under qemu-system-arm and on the emulated core; the two logs must agree line for line. So nothing
 * that is printed depends on speed, on the number of priority bits, or on what only one of the two implements.
 */
#include "oracle.h"

extern uint32_t semihost(uint32_t operation, const void *argument);
extern uint32_t call_on_psp(uint32_t psp, uint32_t (*function)(void));
extern void misaligned_svc(void);
extern void do_undefined(void), do_breakpoint(void), do_branch(uint32_t);
extern uint32_t do_load(uint32_t), do_store(uint32_t);
extern uint32_t vectors[], ram_vectors[];
void svc_entry(void);
void irq_entry(void);

uint32_t switching;

static char line[1024];
static unsigned length;
static uint32_t irq_action[8];
static uint32_t svc_action, pendsv_action;
static volatile uint32_t ticks;
static uint32_t psp_stack[2][128] __attribute__((aligned(8)));

/* ---- printing ---------------------------------------------------------------------------------------------- */

static void put(const char *text)
{
    while (*text && length < sizeof line - 2)
        line[length++] = *text++;
}

void trace(const char *word)
{
    put(" ");
    put(word);
}

static void put_hex(uint32_t value)
{
    int shift = 28;
    char digit[2] = {0, 0};
    while (shift && !(value >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4) {
        digit[0] = "0123456789abcdef"[value >> shift & 15];
        put(digit);
    }
}

void trace_number(const char *word, uint32_t value)
{
    trace(word);
    put("=");
    put_hex(value);
}

void flush(const char *test)
{
    line[length] = '\n';
    line[length + 1] = 0;
    semihost(4, test);
    semihost(4, ":");
    semihost(4, line);
    length = 0;
}

/* ---- handlers ---------------------------------------------------------------------------------------------- */

static void pend(unsigned irq)
{
    ISPR(0) = 1u << irq;
    BARRIER();
}

static void set_priority(unsigned irq, uint32_t priority)
{
    uint32_t shift = 8 * (irq & 3);
    IPR(irq / 4) = (IPR(irq / 4) & ~(0xFFu << shift)) | priority << shift;
}

static uint32_t in_order(const char *word, uint32_t number)
{
    static char text[8];
    unsigned at = 0;
    while (*word)
        text[at++] = *word++;
    text[at++] = '0' + number;
    text[at] = 0;
    trace(text);
    return 0;
}

/* Random operations, in the main program and in the handlers; the order of all that happens goes into a checksum. */

static uint32_t seed, sum, depth, left, is_random;

static uint32_t random(uint32_t limit)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 16) % limit;
}

static void note(uint32_t what)
{
    sum = (sum << 5 | sum >> 27) ^ what;
}

static void random_operation(void)
{
    uint32_t irq = random(8);
    if (left == 0)
        return;
    left--;
    note(ISPR(0) << 8 | (MRS("ipsr") & 0xFF));
    switch (random(16)) {
    case 0:
        set_priority(irq, random(4) << 6);
        BARRIER();
        break;
    case 1:
        __asm volatile("cpsid i");
        break;
    case 2:
        __asm volatile("cpsie i");
        break;
    case 3:
        ICER(0) = 1u << irq;
        BARRIER();
        break;
    case 4:
        ISER(0) = 0xFF;
        BARRIER();
        break;
    case 5:
        ICPR(0) = 1u << irq;
        break;
    case 6:
        ICSR = 1u << 28;
        BARRIER();
        break;
#ifndef V6
    case 7:
        MSR("basepri", random(4) << 6);
        break;
    case 8:
        AIRCR = 0x05FA0000 | (5 + random(3)) << 8;
        BARRIER();
        break;
    case 9:
        MSR("faultmask", random(2));
        break;
#endif
    case 10:
        ICSR = 1u << 26;
        BARRIER();
        break;
    case 11:
        SHPR(random(2) + 1) = random(4) << 30 | random(4) << 22;
        BARRIER();
        break;
    case 12:
        ICSR = 1u << 31;
        BARRIER();
        break;
    case 13: /* in NMI or HardFault it would be a lock-up */
#ifndef V6
        MSR("faultmask", 0);
#endif
        if ((MRS("ipsr") & 0x1FE) != 2)
            __asm volatile("svc #2" ::: "r0");
        break;
    case 14:
        note(ICSR);
        break;
    default:
        pend(irq);
        break;
    }
    note(MRS("primask"));
}

static void random_handler(uint32_t what)
{
    uint32_t n;
    note(what | depth << 16);
    depth++;
#ifdef FPU
    uint32_t value = random(1000), kept;
    if (value & 1)
        __asm volatile("vmov s0, %0\n vmov s14, %0" ::"r"(value) : "s0", "s14");
#endif
    for (n = random(4); n; n--)
        random_operation();
#ifdef FPU
    if (value & 1) {
        __asm volatile("vmov %0, s14" : "=r"(kept));
        note(kept);
        note(FPCCR & 1);
    }
#endif
    depth--;
    note(what ^ 0x5A5A);
}

enum { NONE, PEND_HIGHER, SET_FAULTMASK, SHOW, USE_FP, RAISE_SVC, PEND_PENDSV, UNMASK_INSIDE, FAULT_INSIDE, REPEND };

uint32_t irq(Frame *frame, uint32_t link)
{
    unsigned number = (MRS("ipsr") & 0x1FF) - 16;
    (void)frame;
    if (is_random) {
        random_handler(number | link << 24);
        return link;
    }
    in_order("irq", number);
    switch (irq_action[number & 7]) {
    case PEND_HIGHER:
        pend(0);
        pend(3);
        trace("back");
        break;
    case SHOW:
        trace_number("link", link);
        trace_number("vectactive", ICSR & 0x1FF);
        trace_number("rettobase", ICSR >> 11 & 1);
        trace_number("active", IABR(0));
        trace_number("pending", ISPR(0));
        trace_number("control", MRS("control") & 3);
        break;
#ifndef V6
    case SET_FAULTMASK:
        MSR("faultmask", 1);
        pend(0);
        trace_number("faultmask", MRS("faultmask"));
        break;
    case FAULT_INSIDE:
        do_undefined();
        trace("recovered");
        break;
#endif
#ifdef FPU
    case USE_FP:
        trace_number("link", link);
        trace_number("lspact", FPCCR & 1);
        trace_number("fpca", MRS("control") >> 2 & 1);
        trace_number("fpcar-in-frame", FPCAR - (uint32_t)frame);
        __asm volatile("vmov s0, %0\n vmov s1, %0\n vmov s15, %0" ::"r"(0xDEAD) : "s0", "s1", "s15");
        trace_number("lspact", FPCCR & 1);
        trace_number("fpca", MRS("control") >> 2 & 1);
        break;
#endif
    case RAISE_SVC:
        __asm volatile("svc #9");
        trace("back");
        break;
    case PEND_PENDSV:
        ICSR = 1u << 28;
        BARRIER();
        trace_number("pendsvset", ICSR >> 28 & 1);
        break;
    case UNMASK_INSIDE:
        __asm volatile("cpsid i");
        pend(0);
        trace("masked");
        __asm volatile("cpsie i");
        trace("unmasked");
        break;
    case REPEND:
        irq_action[number] = NONE;
        pend(number);
        trace_number("pending", ISPR(0));
        break;
    default:
        break;
    }
    in_order("end", number);
    return link;
}

uint32_t nmi(Frame *frame, uint32_t link)
{
    (void)frame;
    if (is_random) {
        random_handler(2 | link << 24);
        return link;
    }
    trace_number("nmi", MRS("ipsr") & 0x1FF);
    return link;
}

uint32_t svc(Frame *frame, uint32_t link)
{
    uint32_t number = ((uint8_t *)frame->pc)[-2];
    if (is_random) {
        random_handler(11 | link << 24);
        return link;
    }
    trace_number("svc", number);
    if (svc_action == SHOW) {
        trace_number("link", link);
        trace_number("aligned", frame->xpsr >> 9 & 1);
        trace_number("frame", (uint32_t)frame & 7);
        trace_number("r0", frame->r0);
#ifndef V6
        trace_number("shcsr", SHCSR & 0xFFFF);
#endif
    }
    if (number == 8) /* back to privileged */
        MSR("control", MRS("control") & ~1u);
    frame->r0 += 1;
    return link;
}

uint32_t pendsv(Frame *frame, uint32_t link)
{
    (void)frame;
    if (is_random) {
        random_handler(14 | link << 24);
        return link;
    }
    trace("pendsv");
    if (pendsv_action == PEND_HIGHER) {
        pend(0);
        trace("end-pendsv");
    }
    return link;
}

uint32_t systick(Frame *frame, uint32_t link)
{
    (void)frame;
    if (is_random) {
        random_handler(15 | link << 24);
        return link;
    }
    if (++ticks == 3)
        SYST_CSR = 0;
    return link;
}

/* A fault handler prints what it sees, clears the status and goes on behind the faulting instruction. */
static uint32_t fault(const char *name, Frame *frame, uint32_t link)
{
    if (is_random) { /* an SVC that could not be taken */
        random_handler(3 | link << 24);
#ifndef V6
        note(HFSR);
        HFSR = HFSR;
#endif
        return link;
    }
    trace(name);
    trace_number("ipsr", MRS("ipsr") & 0x1FF);
#ifndef V6
    trace_number("cfsr", CFSR);
    trace_number("escalated", HFSR != 0); /* QEMU says FORCED where the architecture says DEBUGEVT */
    if (CFSR & 0x8000)
        trace_number("bfar", BFAR);
    if (CFSR & 0x20101) /* a branch to nowhere: go back to where it came from */
        frame->pc = frame->lr & ~1u;
    else if (CFSR || ((uint8_t *)frame->pc)[-1] != 0xDF) /* an SVC is passed already */
        frame->pc += 2;
    frame->xpsr |= 1u << 24;
    CFSR = CFSR;
    HFSR = HFSR;
#else
    if ((frame->pc & ~0xFFFFFu) != ((uint32_t)vectors & ~0xFFFFFu) || !(frame->xpsr >> 24 & 1))
        frame->pc = frame->lr & ~1u;
    else
        frame->pc += 2;
    frame->xpsr |= 1u << 24;
#endif
    return link;
}

uint32_t hard_fault(Frame *frame, uint32_t link) { return fault("hardfault", frame, link); }
uint32_t mem_manage(Frame *frame, uint32_t link) { return fault("memmanage", frame, link); }
uint32_t bus_fault(Frame *frame, uint32_t link) { return fault("busfault", frame, link); }
uint32_t usage_fault(Frame *frame, uint32_t link) { return fault("usagefault", frame, link); }
uint32_t debug_monitor(Frame *frame, uint32_t link) { return fault("debugmonitor", frame, link); }

/* ---- tests ------------------------------------------------------------------------------------------------- */

static void start(void)
{
    unsigned n;
    for (n = 0; n < 8; n++) {
        irq_action[n] = NONE;
        set_priority(n, 0x80);
    }
    svc_action = pendsv_action = NONE;
    ICER(0) = 0xFFFFFFFF;
    ICPR(0) = 0xFFFFFFFF;
    ISER(0) = 0xFF;
    SHPR(1) = 0;
    SHPR(2) = 0;
#ifndef V6
    SHCSR = 0;
#endif
}

static void test_state(void)
{
    trace_number("control", MRS("control") & 3);
    trace_number("ipsr", MRS("ipsr"));
    trace_number("primask", MRS("primask"));
    trace_number("iser", ISER(0) & 0xFF);
    trace_number("icsr", ICSR);
    trace_number("aircr", AIRCR >> 16);
    flush("state");
    ICER(0) = 0x0F;
    ISPR(0) = 0x05;
    trace_number("iser", ISER(0) & 0xFF);
    trace_number("icer", ICER(0) & 0xFF);
    trace_number("ispr", ISPR(0) & 0xFF);
    trace_number("icpr", ICPR(0) & 0xFF);
    trace_number("isrpending", ICSR >> 22 & 1);
    trace_number("vectpending", ICSR >> 12 & 0x1FF);
    ICPR(0) = 0x01;
    trace_number("ispr", ISPR(0) & 0xFF);
    ISER(0) = 0x04;
    BARRIER();
    trace_number("ispr", ISPR(0) & 0xFF);
    flush("registers");
#ifndef V6
    REG8(0xE000E402) = 0xC0;
    trace_number("ipr0", IPR(0));
    REG8(0xE000ED1F) = 0x40;
    trace_number("shpr2", SHPR(1));
    SHCSR = 7u << 16;
    trace_number("shcsr", SHCSR);
    AIRCR = 0x05FA0000 | 3 << 8;
    trace_number("prigroup", AIRCR >> 8 & 7);
    AIRCR = 0x12340000 | 5 << 8;
    trace_number("prigroup", AIRCR >> 8 & 7);
    AIRCR = 0x05FA0000;
    trace_number("stkalign", CCR >> 9 & 1);
    trace_number("vtor", VTOR == (uint32_t)vectors);
    flush("bytes");
#endif
}

static void test_nesting(void)
{
    set_priority(5, 0xC0);
    set_priority(3, 0xC0);
    set_priority(0, 0x40);
    irq_action[5] = PEND_HIGHER;
    pend(5);
    flush("nesting and tail-chaining");

    start();
    irq_action[5] = irq_action[2] = SHOW;
    pend(5);
    flush("active");

    start();
    set_priority(4, 0x40);
    __asm volatile("cpsid i");
    pend(6);
    pend(1);
    pend(4);
    trace_number("pending", ISPR(0));
    __asm volatile("cpsie i");
    flush("order of equal priorities");

    start();
    irq_action[2] = REPEND;
    pend(2);
    flush("pended while active");

    start();
    set_priority(0, 0x40);
    irq_action[5] = UNMASK_INSIDE;
    pend(5);
    flush("unmasked in a handler");

    ICSR = 1u << 31;
    BARRIER();
    flush("nmi");
}

static void test_masks(void)
{
    __asm volatile("cpsid i");
    pend(1);
    trace_number("primask", MRS("primask"));
    trace("masked");
    __asm volatile("cpsie i");
    trace("unmasked");
    __asm volatile("cpsid i");
    pend(1);
    MSR("primask", 0);
    trace("msr");
    flush("primask");

#ifndef V6
    start();
    set_priority(1, 0x40);
    MSR("basepri", 0x80);
    pend(2);
    trace("masked");
    pend(1);
    trace_number("basepri", MRS("basepri"));
    MSR("basepri_max", 0xC0);
    trace_number("basepri", MRS("basepri"));
    MSR("basepri_max", 0x40);
    trace_number("basepri", MRS("basepri"));
    pend(1);
    MSR("basepri", 0xC0);
    trace("raised");
    MSR("basepri", 0);
    trace("unmasked");
    flush("basepri");

    start();
    __asm volatile("cpsid f");
    pend(1);
    trace_number("faultmask", MRS("faultmask"));
    __asm volatile("cpsie f");
    trace("unmasked");
    set_priority(0, 0x40);
    irq_action[1] = SET_FAULTMASK;
    pend(1);
    trace_number("faultmask", MRS("faultmask"));
    flush("faultmask");

    start();
    AIRCR = 0x05FA0000 | 6 << 8; /* bit 7 decides about preemption, the rest only about order */
    set_priority(5, 0xC0);
    set_priority(3, 0xE0);
    set_priority(0, 0x80);
    irq_action[5] = PEND_HIGHER;
    pend(5);
    flush("groups");
    AIRCR = 0x05FA0000;
#endif
}

static void test_system(void)
{
    uint32_t result;
    svc_action = SHOW;
    __asm volatile("movs r0, #41\n svc #5\n mov %0, r0" : "=r"(result)::"r0", "memory");
    trace_number("result", result);
    flush("svc");
    misaligned_svc();
    flush("svc on a misaligned stack");

    start();
    SHPR(1) = 0x40000000;
    irq_action[5] = RAISE_SVC;
    pend(5);
    flush("svc in a handler");

    SHPR(2) = 0x00C00000;
    irq_action[5] = PEND_PENDSV;
    pend(5);
    flush("pendsv");
    set_priority(0, 0x40);
    pendsv_action = PEND_HIGHER;
    ICSR = 1u << 28;
    BARRIER();
    flush("preempted pendsv");
    pendsv_action = NONE;
    __asm volatile("cpsid i");
    ICSR = 1u << 28;
    ICSR = 1u << 27;
    trace_number("pending", ICSR >> 28 & 1);
    ICSR = 1u << 26;
    trace_number("systick", ICSR >> 26 & 1);
    ICSR = 1u << 25;
    trace_number("systick", ICSR >> 26 & 1);
    __asm volatile("cpsie i");
    flush("pendsv cleared");
#ifndef V6
    start();
    STIR = 6;
    BARRIER();
    flush("stir");
#endif
}

static void test_sleep(void)
{
    ticks = 0;
    SYST_RVR = 20000;
    SYST_CVR = 0;
    SYST_CSR = 7;
    while (ticks < 3)
        __asm volatile("wfi");
    trace_number("ticks", ticks);
    trace_number("enabled", SYST_CSR & 1);
    flush("systick and wfi");

    SYST_RVR = 5000;
    SYST_CVR = 0;
    SYST_CSR = 5;
    trace_number("value", SYST_CVR <= 5000);
    while (!(SYST_CSR >> 16 & 1))
        ;
    SYST_CSR = 4;
    SYST_CVR = 0;
    trace_number("countflag", SYST_CSR >> 16 & 1);
    trace_number("cvr", SYST_CVR);
    flush("systick polled");

    __asm volatile("cpsid i");
    pend(1);
    __asm volatile("wfi");
    trace("awake");
    __asm volatile("cpsie i");
    trace("unmasked");
    __asm volatile("sev\n wfe");
    trace("event");
    flush("wfi with primask");
}

static uint32_t on_psp(void)
{
    trace_number("control", MRS("control") & 3);
    trace_number("on-psp", MRS("psp") > (uint32_t)psp_stack && MRS("psp") <= (uint32_t)(psp_stack + 1));
    svc_action = SHOW;
    __asm volatile("svc #6" ::: "r0");
    svc_action = NONE;
    irq_action[2] = SHOW;
    pend(2);
    return 0x55;
}

#ifndef V6
static uint32_t unprivileged(void)
{
    MSR("control", 3);
    trace_number("control", MRS("control") & 3);
    MSR("primask", 1);
    __asm volatile("cpsid i");
    trace_number("primask", MRS("primask"));
    trace_number("msp", MRS("msp"));
    __asm volatile("svc #8" ::: "r0");
    trace_number("control", MRS("control") & 3);
    trace_number("primask", MRS("primask"));
    return 0xAA;
}
#endif

static void test_stacks(void)
{
    trace_number("returned", call_on_psp((uint32_t)(psp_stack + 1), on_psp));
    trace_number("control", MRS("control") & 3);
    flush("process stack");
#ifndef V6
    trace_number("returned", call_on_psp((uint32_t)(psp_stack + 1), unprivileged));
    trace_number("control", MRS("control") & 3);
    flush("unprivileged");
#endif
    for (unsigned n = 0; n < 48; n++)
        ram_vectors[n] = vectors[n];
#ifndef V6
    VTOR = (uint32_t)ram_vectors;
    ram_vectors[16 + 2] = (uint32_t)svc_entry;
    BARRIER();
    __asm volatile(".inst.n 0xbf00\n" ::: "memory");
    pend(1);
    trace_number("vtor", VTOR == (uint32_t)ram_vectors);
    VTOR = (uint32_t)vectors;
    flush("vtor");
#endif
}

/* Two threads that yield to each other by PendSV; thread 1 uses floating point where there is any. */

static uint32_t *saved[2];
static uint32_t running, rounds;

uint32_t *switch_threads(uint32_t *stack)
{
    saved[running] = stack;
    running ^= 1;
    in_order("to", running);
    return saved[running];
}

static void yield(void)
{
    ICSR = 1u << 28;
    BARRIER();
}

static void second_thread(void)
{
#ifdef FPU
    register float x __asm("s16") = 1.5f;
    register float y __asm("s3") = 2.25f;
    __asm volatile("" : "+t"(x), "+t"(y));
#endif
    for (;;) {
        rounds++;
        yield();
#ifdef FPU
        __asm volatile("vadd.f32 %0, %0, %1" : "+t"(x) : "t"(y));
        trace_number("quarters", (uint32_t)(x * 4));
#endif
    }
}

static uint32_t first_thread(void)
{
    unsigned n;
    for (n = 0; n < 3; n++) {
        in_order("round", n);
        yield();
    }
    return rounds;
}

static void test_switch(void)
{
    uint32_t *stack = psp_stack[1] + 128;
    SHPR(2) = 0x00FF0000;
    *--stack = 1u << 24;
    *--stack = (uint32_t)second_thread & ~1u;
    stack -= 6;
    *--stack = 0xFFFFFFFD;
    stack -= 8;
    saved[1] = stack;
    switching = 1;
    trace_number("rounds", call_on_psp((uint32_t)(psp_stack + 1), first_thread));
    switching = 0;
    flush("threads");
}

#ifdef FPU
static void test_fp(void)
{
    uint32_t low, high, control;
    MSR("control", 0);
    trace_number("fpca", MRS("control") >> 2 & 1);
    irq_action[1] = SHOW;
    pend(1);
    flush("no fp context");
    irq_action[1] = USE_FP;
    __asm volatile("vmov s0, %0\n vmov s15, %1" ::"r"(0x1234), "r"(0x5678) : "s0", "s15");
    trace_number("fpca", MRS("control") >> 2 & 1);
    pend(1);
    __asm volatile("vmov %0, s0\n vmov %1, s15" : "=r"(low), "=r"(high));
    control = MRS("control");
    trace_number("s0", low);
    trace_number("s15", high);
    trace_number("fpca", control >> 2 & 1);
    flush("fp context");

    irq_action[1] = PEND_HIGHER;
    irq_action[0] = USE_FP;
    irq_action[3] = USE_FP;
    set_priority(0, 0x40);
    set_priority(3, 0xC0);
    __asm volatile("vmov s0, %0\n vmov s1, %1" ::"r"(0xABC), "r"(0xDEF) : "s0", "s1");
    pend(1);
    __asm volatile("vmov %0, s0\n vmov %1, s1" : "=r"(low), "=r"(high));
    trace_number("s0", low);
    trace_number("s1", high);
    flush("fp context in nested handlers");

    FPCCR &= ~(1u << 30);
    start();
    irq_action[1] = USE_FP;
    __asm volatile("vmov s0, %0" ::"r"(0x77) : "s0");
    pend(1);
    __asm volatile("vmov %0, s0" : "=r"(low));
    trace_number("s0", low);
    FPCCR |= 1u << 30;
    flush("fp context without lazy stacking");
}
#endif

static void test_faults(void)
{
    do_undefined();
    flush("undefined instruction");
    do_branch((uint32_t)do_undefined & ~1u);
    flush("branch to an even address");
    do_breakpoint();
    flush("breakpoint");
#ifdef V6
    do_load((uint32_t)psp_stack + 2);
    flush("unaligned load");
#else
    SHCSR = 7u << 16;
    do_undefined();
    flush("undefined instruction, enabled");
    do_branch((uint32_t)do_undefined & ~1u);
    flush("branch to an even address, enabled");
    irq_action[1] = FAULT_INSIDE;
    pend(1);
    flush("fault in a handler");
    SHPR(0) = 0x00800000;
    pend(1);
    flush("escalated in a handler");
    SHPR(0) = 0;
    __asm volatile("cpsid i");
    do_undefined();
    flush("escalated by primask");
    __asm volatile("svc #1" ::: "r0");
    flush("svc with primask");
    __asm volatile("cpsie i");
    trace_number("unaligned", do_load((uint32_t)psp_stack + 2) == 0xFFFFFFFF);
    flush("unaligned load");
    SHCSR = 0;
#endif
    start();
    do_load(NOTHING);
    flush("load from nowhere");
    do_store(NOTHING);
    flush("store to nowhere");
    do_branch(NOTHING | 1);
    flush("branch to nowhere");
#ifndef V6
    SHCSR = 7u << 16;
    do_load(NOTHING);
    flush("load from nowhere, enabled");
    do_branch(NOTHING | 1);
    flush("branch to nowhere, enabled");
    SHCSR = 0;
#endif
}

static void test_random(void)
{
    unsigned round;
    for (round = 1; round <= 40; round++) {
        start();
        seed = round * 7919;
        sum = 0;
        left = 60;
        is_random = 1;
#ifdef FPU
        uint32_t kept;
        MSR("control", round & 1 ? 4 : 0);
        __asm volatile("vmov s14, %0" ::"r"(round) : "s14");
#endif
        while (left)
            random_operation();
#ifdef FPU
        __asm volatile("vmov %0, s14" : "=r"(kept));
        note(kept);
#endif
        ICER(0) = 0xFFFFFFFF;
        ISER(0) = 0xFF;
#ifndef V6
        MSR("basepri", 0);
        MSR("faultmask", 0);
        AIRCR = 0x05FA0000;
#endif
        __asm volatile("cpsie i");
        BARRIER();
        note(ISPR(0));
        is_random = 0;
        trace_number("", sum);
        if (round % 8 == 0)
            flush("random");
    }
}

int main(void)
{
    start();
    test_state();
    start();
    test_nesting();
    start();
    test_masks();
    start();
    test_system();
    start();
    test_sleep();
    start();
    test_stacks();
    start();
    test_switch();
#ifdef FPU
    start();
    test_fp();
#endif
    test_random();
    start();
    test_faults();
    trace("done");
    flush("end");
    semihost(0x18, (const void *)0x20026);
    for (;;)
        ;
}
