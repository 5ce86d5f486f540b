/* Small programs for the tests of the RISC-V core; each starts at its own label, in machine mode, with no stack. */
        .file   "scenarios.S"

#if __riscv_xlen == 64
#define SX sd
#define LX ld
#define W 8
#else
#define SX sw
#define LX lw
#define W 4
#endif
#define NOWHERE 0x90000000
#define CLINT 0x02000000
#define PLIC 0x0C000000

        .macro  PROGRAM name
        .balign 16
        .globl  \name
        .type   \name, @function
\name:
        .endm
        .macro  AT name                 /* names the instruction that faults */
        .globl  \name\()_at
\name\()_at:
        .endm
        .macro  HANDLER name
        la      t0, \name
        csrw    mtvec, t0
        .endm
        .macro  STOP            /* the test's device at 0x00100000 stops the run; a0 is the result */
        li      t0, 0x00100000
        sw      a0, 0(t0)
9:      j       9b
        .endm

        .section .text.start, "ax"
        .globl _start
_start:
        j       stop

        .text
PROGRAM stop
        STOP

/* -- crashes without a handler -- */
PROGRAM bare_load
        li      a1, NOWHERE
        AT      bare_load
        lw      a0, 8(a1)
PROGRAM bare_store
        li      a1, NOWHERE
        AT      bare_store
        c.sw    a0, 4(a1)
PROGRAM bare_atomic
        li      a1, NOWHERE
        AT      bare_atomic
        amoadd.w a0, a0, (a1)
PROGRAM bare_fetch
        li      a1, NOWHERE
        jr      a1
PROGRAM bare_zero
        la      a1, zeros
        jr      a1
PROGRAM bare_ecall
        ecall
PROGRAM bare_ebreak
        ebreak
PROGRAM bare_custom
        .word   0x0000000b
PROGRAM bare_csr
        csrr    a0, 0x7c0
PROGRAM bare_readonly
        csrw    mhartid, a0
PROGRAM bare_supervisor
        csrr    a0, satp
PROGRAM bare_float
        .option push
        .option arch, +f
        fadd.s  ft0, ft0, ft0
        .option pop
PROGRAM bare_compressed_float
        .half   0x2000              /* c.fld f8, 0(x8) */
        nop
        STOP
PROGRAM bare_zcb
        .half   0x8000              /* c.lbu x8, 0(x8) of Zcb */
        nop
        STOP
PROGRAM bare_vector
        .word   0x0d0073d7          /* vsetvli x7, x0, e32 */
PROGRAM bare_bitmanip
        .word   0x60051513          /* clz a0, a0 */
PROGRAM bare_interrupt
        li      t0, CLINT
        li      t1, 1
        sw      t1, 0(t0)
        csrwi   mie, 8
        csrsi   mstatus, 8
1:      j       1b
PROGRAM handler_nowhere
        li      t0, 0x1000
        csrw    mtvec, t0
        ecall

/* -- crashes with a handler that is stuck -- */
        .macro  BAD_LOAD name
        li      a1, NOWHERE
        AT      \name
        lw      a0, 12(a1)
        .endm
PROGRAM handler_faults
        HANDLER 1f
        BAD_LOAD handler_faults
        .balign 4
1:      li      a2, NOWHERE + 0x1000
        sw      a0, 0(a2)
        mret
PROGRAM handler_returns
        HANDLER 1f
        BAD_LOAD handler_returns
        .balign 4
1:      mret
PROGRAM handler_returns_zcb
        HANDLER 1f
        .half   0x8000
        nop
        .balign 4
1:      mret
PROGRAM handler_spins
        HANDLER 1f
        BAD_LOAD handler_spins
        .balign 4
1:      csrr    a3, mcause
2:      j       2b
PROGRAM handler_spins_wide
        HANDLER 1f
        BAD_LOAD handler_spins_wide
        .balign 4
        .option push
        .option norvc
1:      j       1b
        .option pop
PROGRAM handler_loops
        HANDLER 1f
        BAD_LOAD handler_loops
        .balign 4
1:      csrr    a3, mcause
2:      nop
        nop
        j       2b
PROGRAM handler_works_then_spins
        HANDLER 1f
        BAD_LOAD handler_works_then_spins
        .balign 4
1:      li      a3, 300000
2:      addi    a3, a3, -1
        bnez    a3, 2b
3:      j       3b
PROGRAM handler_works_for_ever
        HANDLER 1f
        BAD_LOAD handler_works_for_ever
        .balign 4
1:      addi    a3, a3, 1
        j       1b
PROGRAM default_handler
        HANDLER 1f
        li      t0, CLINT
        li      t1, 1
        sw      t1, 0(t0)
        csrwi   mie, 8
        csrsi   mstatus, 8
2:      j       2b
        .balign 4
        AT      default_handler
1:      j       1b
PROGRAM long_interrupt
        HANDLER 1f
        li      t0, CLINT
        li      t1, 1
        sw      t1, 0(t0)
        csrwi   mie, 8
        csrsi   mstatus, 8
        STOP
        .balign 4
1:      li      a4, 2000000
2:      addi    a4, a4, -1
        bnez    a4, 2b
        sw      zero, 0(t0)
        mret
PROGRAM handler_waits
        HANDLER 1f
        BAD_LOAD handler_waits
        .balign 4
1:      wfi
        j       1b
PROGRAM stack_overflow
        HANDLER 1f
        la      sp, zeros
        li      sp, 0x80000010
2:      addi    sp, sp, -16
        SX      ra, 0(sp)
        j       2b
        .balign 4
1:      addi    sp, sp, -16*W
        SX      t0, 0(sp)
        mret

/* -- firmware that lives with its traps -- */
PROGRAM handler_skips
        HANDLER 1f
        li      a0, 0
        li      a1, NOWHERE
        li      a4, 1000
2:      .option push
        .option norvc
        lw      a5, 0(a1)
        .option pop
        addi    a4, a4, -1
        bnez    a4, 2b
        STOP
        .balign 4
1:      csrr    t0, mepc
        addi    t0, t0, 4
        csrw    mepc, t0
        addi    a0, a0, 1
        mret
PROGRAM handler_turns_float_on
        HANDLER 1f
        li      a0, 0
        la      a1, word
        li      a4, 50
2:      .option push
        .option arch, +f, +d
        c.fld   fa0, 0(a1)
        fadd.d  fa0, fa0, fa0
        li      t1, 3 << 13
        csrc    mstatus, t1
        .option pop
        addi    a4, a4, -1
        bnez    a4, 2b
        STOP
        .balign 4
1:      li      t0, 1 << 13
        csrs    mstatus, t0
        addi    a0, a0, 1
        mret
PROGRAM handler_goes_on
        HANDLER 1f
        li      a0, 0
2:      li      a1, NOWHERE
        lw      a5, 0(a1)
        .balign 4
1:      addi    a0, a0, 1           /* never returns by mret: enables interrupts and goes on, as a kernel kills a task */
        csrsi   mstatus, 8
        li      a4, 40000
3:      addi    a4, a4, -1
        bnez    a4, 3b
        li      a5, 12
        bne     a0, a5, 2b
        csrci   mstatus, 8
        wfi
        STOP
PROGRAM handler_spins_with_interrupts
        HANDLER 1f
        BAD_LOAD handler_spins_with_interrupts
        .balign 4
1:      csrsi   mstatus, 8
2:      j       2b

/* -- counting, sleeping, interrupts -- */
PROGRAM count
        csrr    a1, mcycle
        .rept   10
        addi    a3, a3, 1
        .endr
        csrr    a2, mcycle
        sub     a0, a2, a1
        csrr    a1, minstret
        li      a4, 100
1:      addi    a4, a4, -1
        bnez    a4, 1b
        csrr    a2, minstret
        sub     a1, a2, a1
        STOP
PROGRAM user_counters
        rdcycle a1
        nop
        nop
        rdinstret a2
        rdcycle a3
        sub     a0, a3, a1
        STOP
PROGRAM stopped_counters
        li      t0, 5
        csrw    mcountinhibit, t0
        csrr    a1, mcycle
        nop
        csrr    a2, mcycle
        sub     a0, a2, a1
        li      t0, 1000
        csrw    minstret, t0
        csrr    a3, minstret
        csrw    mcountinhibit, zero
        csrr    a4, minstret
        STOP
PROGRAM spin
        HANDLER 1f
        csrsi   mstatus, 8
        li      t0, 0x888
        csrw    mie, t0
2:      addi    a0, a0, 1
        j       2b
        .balign 4
1:      csrr    s0, mcause          /* the first interrupt's cause ends the run */
        mv      a0, s0
        STOP
PROGRAM sleep
        HANDLER 1f
        li      t0, 0x888
        csrw    mie, t0
        csrsi   mstatus, 8
2:      wfi
        addi    a0, a0, 1
        j       2b
        .balign 4
1:      csrr    s0, mcause
        csrr    s1, mepc
        li      t0, PLIC + 0x200004
        lw      s2, 0(t0)
        beqz    s2, 3f
        sw      s2, 0(t0)
3:      li      t0, CLINT + 0x4000
        li      t1, -1
        sw      t1, 4(t0)
        li      t0, CLINT
        sw      zero, 0(t0)
        mret
PROGRAM timed_sleep                 /* sleeps until mtime 1000, then reports mtime */
        li      t0, CLINT + 0x4000
        li      t1, 1000
        sw      zero, 4(t0)
        sw      t1, 0(t0)
        csrwi   mie, 0
        li      t1, 0x80
        csrw    mie, t1
        wfi
        csrr    a0, time
        STOP
PROGRAM order                       /* all three interrupts pend: which one comes first, second, third? */
        HANDLER 1f
        li      a0, 0
        li      t0, CLINT
        li      t1, 1
        sw      t1, 0(t0)
        li      t0, CLINT + 0x4000
        sw      zero, 4(t0)
        sw      zero, 0(t0)
        li      t0, PLIC
        li      t1, 1
        sw      t1, 20*4(t0)
        li      t0, PLIC + 0x2000
        li      t1, 1 << 20
        sw      t1, 0(t0)
        li      t0, 0x888
        csrw    mie, t0
        csrsi   mstatus, 8
        nop
        STOP
        .balign 4
1:      slli    a0, a0, 4           /* collects the causes, 4 bits each, and masks each */
        csrr    t0, mcause
        andi    t0, t0, 15
        or      a0, a0, t0
        li      t1, 1
        sll     t1, t1, t0
        csrc    mie, t1
        mret
PROGRAM atomic_causes
        HANDLER 1f
        li      a0, 0
        la      a1, word + 2
        li      a2, NOWHERE
        .option push
        .option norvc
        amoadd.w a3, a3, (a1)
        lr.w    a3, (a1)
        amoadd.w a3, a3, (a2)
        lr.w    a3, (a2)
        .option pop
        STOP
        .balign 4
1:      slli    a0, a0, 4
        csrr    t0, mcause
        or      a0, a0, t0
        csrr    t0, mepc
        addi    t0, t0, 4
        csrw    mepc, t0
        mret
PROGRAM reservation                 /* a trap between lr and sc makes sc fail */
        HANDLER 1f
        la      a1, word
        lr.w    a2, (a1)
        ecall
        sc.w    a0, a2, (a1)
        STOP
        .balign 4
1:      csrr    t0, mepc
        addi    t0, t0, 4
        csrw    mepc, t0
        mret
PROGRAM semihost
        li      a0, 4
        la      a1, text
        .option push
        .option norvc
        .balign 16
        slli    zero, zero, 31
        ebreak
        srai    zero, zero, 7
        .option pop
        STOP
PROGRAM call_generated              /* calls what the host wrote to `generated` */
        la      t1, generated
        jalr    t1
        STOP
PROGRAM crossing                    /* a load over the end of memory */
        li      a1, 0x8007fffe
        lw      a0, 0(a1)
PROGRAM user_mode_crash
        HANDLER 1f
        la      t0, 2f
        csrw    mepc, t0
        li      t0, 3 << 11
        csrc    mstatus, t0
        mret
2:      csrr    a0, mstatus
        .balign 4
1:      j       1b

        .balign 16
generated:
        .globl generated
        .word   0, 0, 0, 0

        .data
        .balign 16
word:   .word   1, 2, 3, 4
text:   .asciz  "hello"
        .bss
        .balign 16
        .globl  zeros
zeros:  .skip   64
