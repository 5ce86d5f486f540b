/* Generates straight runs of random instructions, runs them and prints a hash of all registers after each run.
 *
 * A run may hold illegal instructions (the trap handler steps over them); jumps, CSR accesses and anything that
 * moves the stack or the buffer's address are left out. Single-precision operands come from f0..f15 and
 * double-precision ones from f16..f31, so that all singles are properly boxed. Of the singles only the value is
 * hashed: the emulated core does not fill the upper halves of results with ones. Minimum and maximum are left out:
 * with a signalling NaN it gives a NaN, as the architecture had it until version 2.2. */
#include "oracle.h"

#define RUNS 400
#define LENGTH 48

static u32 seed = 0x12345678;
static u32 code[LENGTH + 4];
static u64 buffer[64];
static struct { ulong x[32]; u64 f[32]; } state;

static u32 next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

/* Interesting values more often than chance would have them. */
static u64 value(void)
{
    static const u64 corners[] = {
        0, 1, 2, 0xFFFFFFFFFFFFFFFFULL, 0x80000000ULL, 0x7FFFFFFFULL, 0xFFFFFFFF80000000ULL, 0x8000000000000000ULL,
        0x7FFFFFFFFFFFFFFFULL, 0xFFFFFFFFULL, 0x100000000ULL, 31, 32, 63,
    };
    u32 choice = next();
    if (choice & 3) return (u64)next() << 32 | next();
    return corners[(choice >> 8) % (sizeof corners / sizeof corners[0])];
}
static u64 single(void)
{
    static const u32 corners[] = { 0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000,
                                   0x7F800001, 1, 0x00800000, 0x4F000000, 0xCF000000, 0x7F7FFFFF };
    u32 choice = next();
    u32 bits = choice & 1 ? next() : corners[(choice >> 8) % (sizeof corners / sizeof corners[0])];
    return 0xFFFFFFFF00000000ULL | bits;
}
static u64 twofold(void)
{
    static const u64 corners[] = {
        0, 0x8000000000000000ULL, 0x3FF0000000000000ULL, 0xBFF0000000000000ULL, 0x7FF0000000000000ULL,
        0x7FF8000000000000ULL, 0x7FF0000000000001ULL, 1, 0x41E0000000000000ULL, 0xC3E0000000000000ULL, 0x7FEFFFFFFFFFFFFFULL,
    };
    u32 choice = next();
    if (choice & 1) return (u64)next() << 32 | next();
    return corners[(choice >> 8) % (sizeof corners / sizeof corners[0])];
}

#define RD ((10 + next() % 22) << 7)
#define RS1 ((10 + next() % 22) << 15)
#define RS2 ((10 + next() % 22) << 20)
#define BASE (9u << 15)
#define F3 ((next() & 7) << 12)
#define CREG (2 + next() % 6)      /* x10..x15 */

static u32 float_operation(void)
{
    static const u8 arithmetic[] = { 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x2C };
    u32 twice = next() & 1, bank = twice << 4;
    u32 rd = bank | (next() & 15), rs1 = bank | (next() & 15), rs2 = bank | (next() & 15), rs3 = bank | (next() & 15);
    u32 rm = next() % 5, word;
    switch (next() % 7) {
    case 0: case 1: {
        u32 f7 = arithmetic[next() % sizeof arithmetic];
        if (f7 == 0x10) rm = next() % 3;            /* sign injection */
        if (f7 == 0x14) { f7 = 0x50; rm = next() % 3; rd = 10 + next() % 22; }
        if (f7 == 0x2C) rs2 = 0;                    /* square root */
        word = 0x53 | (f7 | twice) << 25;
        break;
    }
    case 2: word = 0x43 | (next() & 3) << 2 | rs3 << 27 | twice << 25; break;
    case 3: word = 0x53 | (0x60 | twice) << 25; rs2 = next() & 3; rd = 10 + next() % 22; break;     /* to integer */
    case 4: word = 0x53 | (0x68 | twice) << 25; rs2 = next() & 3; rs1 = 10 + next() % 22; break;    /* from integer */
    case 5: word = 0x53 | (0x70 | twice) << 25; rs2 = 0; rm = next() & 1; rd = 10 + next() % 22; break;
    default:                                        /* between the two precisions */
        word = 0x53 | (0x20 | twice) << 25;
        rs2 = !twice;
        rs1 = (bank ^ 16) | (next() & 15);
        break;
    }
    return word | rd << 7 | rm << 12 | rs1 << 15 | rs2 << 20;
}

static u32 compressed(void)
{
    u32 word = next() & 0x1FFC;                     /* immediates and the rest at random */
    switch (next() % 4) {
    case 0:                                         /* quadrant 1: addi, addiw (64), li, lui, arithmetic */
        switch (next() % 4) {
        case 0: return (word & 0x107C) | (10 + next() % 22) << 7 | 1;
        case 1: return (word & 0x107C) | (10 + next() % 22) << 7 | 2 << 13 | 1;
        case 2: return (word & 0x107C) | (10 + next() % 22) << 7 | 3 << 13 | 1;
        default: return (word & 0x1C60) | CREG << 7 | CREG << 2 | 4 << 13 | 1;
        }
    case 1: return (word & 0x107C) | (10 + next() % 22) << 7 | 2;                                   /* slli */
    case 2: return (word & 0x1000) | (10 + next() % 22) << 7 | (10 + next() % 22) << 2 | 4 << 13 | 2;   /* mv, add */
    default: {
        static const u8 kinds[] = { 2, 6, 2, 6, __riscv_xlen == 64 ? 3 : 2, __riscv_xlen == 64 ? 7 : 6 };
        return (word & 0x1C60) | 1 << 7 | CREG << 2 | kinds[next() % sizeof kinds] << 13;
    }
    }
}

static u32 instruction(void)
{
    static const u8 f7[] = { 0x00, 0x20, 0x01, 0x01 };
    static const u8 atomic[] = { 0, 1, 4, 8, 12, 16, 20, 24, 28, 2 };
    switch (next() % 14) {
    case 0: case 1: {
        u32 f3 = F3, top = next() & 3 ? 0 : 1u << 30;
        u32 shift = f3 >> 12 == 1 || f3 >> 12 == 5;
        u32 immediate = shift ? top | (next() % __riscv_xlen) << 20 : next() & 0xFFF00000;
        return 0x13 | f3 | RD | RS1 | immediate;
    }
    case 2: case 3: return 0x33 | F3 | RD | RS1 | RS2 | (u32)f7[next() & 3] << 25;
    case 4: return 0x1B | F3 | RD | RS1 | (next() & 31) << 20 | (next() & 1) << 30;
    case 5: return 0x3B | F3 | RD | RS1 | RS2 | (u32)f7[next() & 3] << 25;
    case 6: return (next() & 1 ? 0x37 : 0x17) | RD | (next() & 0xFFFFF000);
    case 7: return 0x03 | F3 | RD | BASE | (next() & 255) << 20;
    case 8: return 0x23 | F3 | BASE | RS2 | (next() & 31) << 7 | (next() & 7) << 25;
    case 9: return 0x2F | (2 + next() % (__riscv_xlen / 32)) << 12 | RD | BASE | RS2 | (u32)atomic[next() % sizeof atomic] << 27;
    case 10: {
        u32 twice = next() & 1, at = (next() & 31) << 3;
        u32 f = (twice << 4) | (next() & 15);
        if (next() & 1) return 0x27 | (2 + twice) << 12 | BASE | f << 20 | (at & 31) << 7 | (at >> 5) << 25;
        return 0x07 | (2 + twice) << 12 | BASE | f << 7 | at << 20;
    }
    case 11: case 12: return float_operation();
    default: return compressed();
    }
}

void run_state(void *code, void *state);

static u64 mix(u64 hash, u64 word) { return (hash ^ word) * 0x100000001B3ULL; }

void random_code(void)
{
    line("-- random code"); end();
    csrs(mstatus, 1UL << 13);
    for (u32 run = 0; run < RUNS; run++) {
        u64 hash = 0xCBF29CE484222325ULL;
        u8 *at = (u8 *)code;
        u32 before = seed;
        for (u32 n = 0; n < LENGTH; n++) {
            u32 word = instruction();
            *(volatile unsigned short *)at = (unsigned short)word;
            at += 2;
            if ((word & 3) == 3) { *(volatile unsigned short *)at = (unsigned short)(word >> 16); at += 2; }
        }
        *(volatile unsigned short *)at = 0x8282;    /* jr t0 */
        for (u32 n = 0; n < 32; n++) { state.x[n] = (ulong)value(); state.f[n] = n < 16 ? single() : twofold(); }
        state.x[9] = (ulong)buffer;
        for (u32 n = 0; n < 64; n++) buffer[n] = value();
        csrw(fcsr, (next() % 5) << 5);
        __asm__ volatile("fence.i" ::: "memory");
        quiet();
        run_state(code, &state);
        hash = mix(hash, csrr(fflags));
        for (u32 n = 9; n < 32; n++) hash = mix(hash, state.x[n]);
        for (u32 n = 0; n < 32; n++) hash = mix(hash, n < 16 ? (u32)state.f[n] : state.f[n]);
        for (u32 n = 0; n < 64; n++) hash = mix(hash, buffer[n]);
        line("run"); field("seed", before); field("hash", (u32)(hash ^ hash >> 32)); field("traps", quiet()); end();
    }
    csrc(mstatus, 3UL << 13);
}
