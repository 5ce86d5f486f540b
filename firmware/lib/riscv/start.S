/*
 * RISC-V: reset and traps.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
    .option arch, +zicsr

#if __riscv_xlen == 64
#define STORE sd
#define LOAD ld
#define WORD 8
#else
#define STORE sw
#define LOAD lw
#define WORD 4
#endif
#define FRAME (16 * WORD)
#define FAULT_STACK_SIZE 512

    .section .text.start, "ax"
    .globl reset_handler, cpu_restart
    .type reset_handler, @function
    .type cpu_restart, @function
reset_handler:
cpu_restart:
    csrci   mstatus, 8
    csrw    mie, zero
    la      t0, trap_entry
    csrw    mtvec, t0
    .option push
    .option norelax
    la      gp, __global_pointer$
    .option pop
    la      sp, stack_top
    csrr    t0, mhartid
    beqz    t0, 2f
1:  wfi     /* there is work for one hart only */
    j       1b
2:  tail    remote_boot

    .section .text.trap_entry, "ax"
    .type trap_entry, @function
    .balign 4
trap_entry:
    csrw    mscratch, t0
    csrr    t0, mcause
    bgez    t0, fault

    csrr    t0, mscratch
    addi    sp, sp, -FRAME
    STORE   ra, 0*WORD(sp)
    STORE   t0, 1*WORD(sp)
    STORE   t1, 2*WORD(sp)
    STORE   t2, 3*WORD(sp)
    STORE   t3, 4*WORD(sp)
    STORE   t4, 5*WORD(sp)
    STORE   t5, 6*WORD(sp)
    STORE   t6, 7*WORD(sp)
    STORE   a0, 8*WORD(sp)
    STORE   a1, 9*WORD(sp)
    STORE   a2, 10*WORD(sp)
    STORE   a3, 11*WORD(sp)
    STORE   a4, 12*WORD(sp)
    STORE   a5, 13*WORD(sp)
    STORE   a6, 14*WORD(sp)
    STORE   a7, 15*WORD(sp)
    csrr    a0, mcause
    call    trap_interrupt
    LOAD    ra, 0*WORD(sp)
    LOAD    t0, 1*WORD(sp)
    LOAD    t1, 2*WORD(sp)
    LOAD    t2, 3*WORD(sp)
    LOAD    t3, 4*WORD(sp)
    LOAD    t4, 5*WORD(sp)
    LOAD    t5, 6*WORD(sp)
    LOAD    t6, 7*WORD(sp)
    LOAD    a0, 8*WORD(sp)
    LOAD    a1, 9*WORD(sp)
    LOAD    a2, 10*WORD(sp)
    LOAD    a3, 11*WORD(sp)
    LOAD    a4, 12*WORD(sp)
    LOAD    a5, 13*WORD(sp)
    LOAD    a6, 14*WORD(sp)
    LOAD    a7, 15*WORD(sp)
    addi    sp, sp, FRAME
    mret

/* Exceptions are reported on a stack of their own: the usual one may be what is broken. */
fault:
    mv      a3, sp
    mv      a4, ra
    csrr    a0, mcause
    csrr    a1, mepc
    csrr    a2, mtval
    la      sp, fault_stack + FAULT_STACK_SIZE
    tail    trap_fault

/* The three instructions that a debugger or emulator knows; uncompressed and in one page. */
    .section .text.semihosting_call, "ax"
    .globl semihosting_call
    .type semihosting_call, @function
    .option push
    .option norvc
    .balign 16
semihosting_call:
    slli    zero, zero, 0x1f
    ebreak
    srai    zero, zero, 7
    .option pop
    ret

    .section .bss.fault_stack, "aw", @nobits
    .balign 16
fault_stack:
    .space FAULT_STACK_SIZE
