/* Reset, trap entry and vector table of the RISC-V test firmware; fits RV32 and RV64. */
#if __riscv_xlen == 64
#define SX sd
#define LX ld
#define W 8
#else
#define SX sw
#define LX lw
#define W 4
#endif

        .section .text.start, "ax"
        .globl _start
_start:
        la      sp, _stack_top
        la      t0, trap_entry
        csrw    mtvec, t0
        la      t0, _bss_start
        la      t1, _bss_end
1:      bgeu    t0, t1, 2f
        SX      zero, 0(t0)
        addi    t0, t0, W
        j       1b
2:      call    main
3:      csrci   mstatus, 8
        wfi
        j       3b

/* Saves x1..x31 and the trap registers into a frame on the stack, calls trap(frame), goes back by mret. */
        .text
        .balign 4
        .globl trap_entry
trap_entry:
        addi    sp, sp, -40*W
        SX      t0, 5*W(sp)
        li      t0, -1
common: SX      x1, 1*W(sp)
        SX      t0, 36*W(sp)
        addi    t0, sp, 40*W
        SX      t0, 2*W(sp)
        SX      x3, 3*W(sp)
        SX      x4, 4*W(sp)
        .irp    n, 6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        SX      x\n, \n*W(sp)
        .endr
        csrr    t0, mepc
        SX      t0, 32*W(sp)
        csrr    t0, mcause
        SX      t0, 33*W(sp)
        csrr    t0, mtval
        SX      t0, 34*W(sp)
        csrr    t0, mstatus
        SX      t0, 35*W(sp)
        mv      a0, sp
        call    trap
        LX      t0, 32*W(sp)
        csrw    mepc, t0
        LX      t0, 35*W(sp)
        csrw    mstatus, t0
        .irp    n, 1,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        LX      x\n, \n*W(sp)
        .endr
        LX      x2, 2*W(sp)
        mret

/* Vectored mode: entry n notes n and joins the common path. */
        .macro  VECTOR n
vector\n:
        addi    sp, sp, -40*W
        SX      t0, 5*W(sp)
        li      t0, \n
        j       common
        .endm
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11
        VECTOR  \n
        .endr

        .balign 256
        .option push
        .option norvc
        .globl vectors
vectors:
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11
        j       vector\n
        .endr
        .option pop

/* run_state(code, state): loads x5..x31 and f0..f31 from the state, runs the code, which ends with jr t0, and
 * stores x9..x31 and f0..f31 back. */
        .option arch, +f, +d
        .text
        .globl run_state
run_state:
        addi    sp, sp, -16*W
        SX      ra, 0*W(sp)
        SX      s0, 1*W(sp)
        SX      s1, 2*W(sp)
        .irp    n, 18,19,20,21,22,23,24,25,26,27
        SX      x\n, (\n-14)*W(sp)
        .endr
        SX      a1, 14*W(sp)
        mv      t1, a0
        mv      s0, a1
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        fld     f\n, 32*W+8*\n(s0)
        .endr
        la      t0, 1f
        .irp    n, 9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        LX      x\n, \n*W(s0)
        .endr
        jr      t1
1:      LX      s0, 14*W(sp)
        .irp    n, 9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        SX      x\n, \n*W(s0)
        .endr
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        fsd     f\n, 32*W+8*\n(s0)
        .endr
        LX      ra, 0*W(sp)
        LX      s0, 1*W(sp)
        LX      s1, 2*W(sp)
        .irp    n, 18,19,20,21,22,23,24,25,26,27
        LX      x\n, (\n-14)*W(sp)
        .endr
        addi    sp, sp, 16*W
        ret
